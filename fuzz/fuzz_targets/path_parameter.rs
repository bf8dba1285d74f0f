//! A parameter of the path is found as it was sent, whatever stands before it, and does not change the route.
//!
//! The first line is the parameter's name, what follows is the path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickler_core::affinity::path_parameter::path_parameter;
use stickler_core::routes::matching_form;
use stickler_fuzz::first_line;

fuzz_target!(|input: &[u8]| {
    let Some((name, rest)) = first_line(input) else { return };
    let Ok(path) = std::str::from_utf8(rest) else { return };
    let is_name = !name.is_empty() && !name.contains(['/', ';', '=', '?', '#']);
    let found = path_parameter(path, name);
    if let Some(value) = found {
        assert!(!value.is_empty() && !value.contains(['/', ';']));
        assert!(path.contains(&format!(";{name}={value}")), "it does not stand in the path");
    }
    if !is_name {
        return;
    }
    assert_eq!(path_parameter(&format!("/a;{name}=/b;{name}x=c{path}"), name), first_of(path, name));
    if let Some(value) = found {
        assert_eq!(path_parameter(&format!("/;{name}={value}/{path}"), name), Some(value));
        if !value.contains(['?', '#']) {
            assert_eq!(matching_form(&format!("/a;{name}={value}/b")), "/a/b");
        }
    }
});

/// What is found in a path that follows on a segment's last parameter: what comes before its first separator belongs
/// to that.
fn first_of<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let start = path.find(['/', ';'])?;
    path_parameter(&path[start..], name)
}
