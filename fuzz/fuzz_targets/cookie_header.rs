//! A cookie that is taken out of a request is gone, and everything else stays byte for byte.
//!
//! The first line is the cookie's name, each other line a `Cookie` header.
#![no_main]

use http::header::{COOKIE, HOST, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use stickler_core::affinity::cookie_header::{cookies, remove_cookie, values};
use stickler_fuzz::{first_line, headers, values_of};

fuzz_target!(|input: &[u8]| {
    let Some((name, rest)) = first_line(input) else { return };
    let mut request = headers(&COOKIE, rest);
    request.insert(HOST, HeaderValue::from_static("shop.example"));
    let before = values_of(&request, &COOKIE);
    let others = pairs(&request, |found| found != name.as_bytes());
    let named = pairs(&request, |found| found == name.as_bytes());
    assert!(values(&request, name).eq(named.iter().map(|(_, value)| value.as_slice())));

    assert_eq!(remove_cookie(&mut request, name), !named.is_empty());
    assert_eq!(values(&request, name).next(), None, "the cookie is still there");
    assert_eq!(pairs(&request, |_| true), others, "another cookie has changed");
    assert_eq!(request[HOST], "shop.example");

    let expected: Vec<Vec<u8>> = before.iter().filter_map(|line| without(line, name.as_bytes())).collect();
    assert_eq!(values_of(&request, &COOKIE), expected);
    assert!(!remove_cookie(&mut request, name), "there was nothing left to take");
});

fn pairs(request: &HeaderMap, wanted: impl Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let wanted = cookies(request).filter(|(name, _)| wanted(name));
    wanted.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// A header as it must be afterwards. The name is compared the plain way, without the product's parser.
fn without(line: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let is_named = |segment: &[u8]| {
        let equals = segment.iter().position(|byte| *byte == b'=');
        equals.is_some_and(|equals| !name.is_empty() && segment[..equals].trim_ascii() == name)
    };
    let segments: Vec<&[u8]> = line.split(|byte| *byte == b';').collect();
    let kept: Vec<&[u8]> = segments.iter().copied().filter(|segment| !is_named(segment)).collect();
    if kept.len() == segments.len() {
        return Some(line.to_vec());
    }
    let something = kept.iter().any(|segment| !segment.trim_ascii().is_empty());
    something.then(|| kept.join(&b';').trim_ascii_start().to_vec())
}
