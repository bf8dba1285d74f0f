//! The form in which paths are compared is its own form, and nothing in it leads anywhere else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickler_core::routes::matching_form;

fuzz_target!(|path: &str| {
    let form = matching_form(path).into_owned();
    assert_eq!(matching_form(&form), form.as_str(), "the form of {path:?} has another form");
    assert_eq!(matching_form(&format!("{form}?{path}")), form.as_str(), "the query matters");
    assert_eq!(matching_form(&format!("{form}/")), form.as_str(), "a slash at the end matters");
    assert_eq!(matching_form(&format!("{form}/x/..")), form.as_str(), "a detour matters");
    if path.starts_with('/') {
        assert_eq!(matching_form(&format!("/..//.{path}")), form.as_str(), "the root has a parent");
    }

    let segments = form.strip_prefix('/').expect("a path begins with a slash").split('/');
    for segment in segments.clone() {
        assert!(!matches!(segment, "." | ".."), "{form:?} is not resolved");
        assert!(!segment.contains(['?', '#', ';']), "{form:?} holds a query or a parameter");
    }
    assert!(
        form == "/" || segments.clone().all(|segment| !segment.is_empty()),
        "{form:?} has an empty segment"
    );
});
