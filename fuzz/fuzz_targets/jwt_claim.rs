//! A claim is what a plain reader of JSON finds in a token's payload, and nothing else in the token matters.
//!
//! The first line is the claim's name; what follows is taken as a token, and as the payload of one.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use stickler_core::affinity::claim::claim;
use stickler_fuzz::first_line;

fuzz_target!(|input: &[u8]| {
    let Some((name, rest)) = first_line(input) else { return };
    if claim(rest, name).is_some() {
        assert_eq!(rest.iter().filter(|byte| **byte == b'.').count(), 2, "a token has three parts");
    }

    let payload = URL_SAFE_NO_PAD.encode(rest);
    let found = claim(format!("{payload}.{payload}.{payload}").as_bytes(), name);
    assert_eq!(found, expected(rest, name));
    assert_eq!(claim(format!(".{payload}.").as_bytes(), name), found, "more than the payload was read");
    assert_eq!(claim(format!("{payload}.{payload}").as_bytes(), name), None);
    assert_eq!(claim(format!("{payload}.{payload}.a.a.a").as_bytes(), name), None, "an encrypted token");
});

fn expected(payload: &[u8], name: &str) -> Option<Vec<u8>> {
    let read: Value = serde_json::from_slice(payload).ok()?;
    let text = match read.as_object()?.get(name)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => format!("{number}"),
            (None, Some(number)) => format!("{number}"),
            (None, None) => return None,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then(|| text.into_bytes())
}
