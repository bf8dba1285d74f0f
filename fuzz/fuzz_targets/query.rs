//! A parameter of the query is found wherever it stands, and one that a form would write is read as it was meant.
//!
//! The first line is the parameter's name, what follows is the query.
#![no_main]

use form_urlencoded::Serializer;
use libfuzzer_sys::fuzz_target;
use stickler_core::affinity::query::parameter;
use stickler_fuzz::first_line;

fuzz_target!(|input: &[u8]| {
    let Some((name, rest)) = first_line(input) else { return };
    let Ok(query) = std::str::from_utf8(rest) else { return };
    let found = parameter(query, name);
    assert!(found.as_deref() != Some(""), "an empty value names no session");

    let encode = |name: &str, value: &str| Serializer::new(String::new()).append_pair(name, value).finish();
    assert_eq!(
        parameter(&format!("{}&{query}", encode(name, "")), name),
        found,
        "an empty one stands before it"
    );
    let other = encode(&format!("{name}x"), "other");
    assert_eq!(parameter(&format!("{other}&{query}"), name), found, "another one stands before it");
    if let Some(value) = &found {
        let first = encode(name, value);
        assert_eq!(parameter(&format!("{first}&{name}=later"), name).as_ref(), Some(value));
    }
    if !query.is_empty() {
        assert_eq!(parameter(&encode(name, query), name).as_deref(), Some(query), "a value of any text");
    }
});
