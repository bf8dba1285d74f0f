//! What is learned from a response is what a browser would send back; what is taken out of it is gone.
//!
//! The first line is the cookie's name, each other line a `Set-Cookie` header.
#![no_main]

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use libfuzzer_sys::fuzz_target;
use stickler_core::affinity::cookie_header::values;
use stickler_core::affinity::set_cookie::{Learned, find_application_cookie, remove_set_cookie};
use stickler_fuzz::{first_line, headers, values_of};

/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000;

fuzz_target!(|input: &[u8]| {
    let Some((name, rest)) = first_line(input) else { return };
    let mut response = headers(&SET_COOKIE, rest);
    let before = values_of(&response, &SET_COOKIE);
    let (named, others): (Vec<_>, Vec<_>) =
        before.into_iter().partition(|line| sent_back(line, name).is_some());

    let learned = find_application_cookie(&response, name, NOW);
    assert_eq!(learned.is_some(), !named.is_empty());
    if let Some(Learned::Value(value)) = learned {
        assert!(!value.is_empty());
        let mut sent = named.iter().filter_map(|line| sent_back(line, name));
        assert!(sent.any(|sent| sent == value), "no browser would send what was learned");
        let earlier = find_application_cookie(&response, name, i64::MIN);
        assert!(matches!(earlier, Some(Learned::Value(_))), "a cookie that is alive was dead before");
    }

    assert_eq!(remove_set_cookie(&mut response, name), !named.is_empty());
    assert_eq!(find_application_cookie(&response, name, NOW), None);
    assert_eq!(values_of(&response, &SET_COOKIE), others, "another cookie has changed");
    assert!(!remove_set_cookie(&mut response, name), "there was nothing left to take");
});

/// The value that comes with the next request of a browser that was handed this line alone, if the line is of
/// this name.
fn sent_back(line: &[u8], name: &str) -> Option<Vec<u8>> {
    let pair = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let mut request = HeaderMap::new();
    request.insert(COOKIE, HeaderValue::from_bytes(pair).expect("a part of a header's value is one"));
    let value = values(&request, name).next().map(<[u8]>::to_vec);
    value
}
