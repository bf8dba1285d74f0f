//! The request's `Cookie` headers.

use http::header::{COOKIE, HeaderMap, HeaderValue};

use super::cookie_pair::parse_pair;

/// Every cookie of a request, in order, over all its `Cookie` headers, as slices of them. Pairs end at `;`
/// whatever quotes say, as browsers see it; pairs without `=` or without a name are skipped.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(COOKIE).into_iter().flat_map(|line| segments(line.as_bytes()).filter_map(parse_pair))
}

/// The values of the cookies called `name`, in order; names are compared with regard to case.
pub fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    cookies(headers).filter_map(move |(found, value)| (found == name.as_bytes()).then_some(value))
}

/// Takes every cookie called `name` out of the request, so that the backend doesn't see it. Other bytes
/// stay as they are; a header in which nothing is left goes. Says whether there was anything to take.
pub fn remove_cookie(headers: &mut HeaderMap, name: &str) -> bool {
    if values(headers, name).next().is_none() {
        return false;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(COOKIE).into_iter().filter_map(|line| without(line, name.as_bytes())).collect();
    headers.remove(COOKIE);
    for line in kept {
        headers.append(COOKIE, line);
    }
    true
}

fn segments(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b';')
}

/// `None` when nothing but separators would be left.
fn without(line: &HeaderValue, name: &[u8]) -> Option<HeaderValue> {
    let is_named = |segment: &&[u8]| parse_pair(segment).is_some_and(|(found, _)| found == name);
    if !segments(line.as_bytes()).any(|segment| is_named(&segment)) {
        return Some(line.clone());
    }
    let rest: Vec<&[u8]> = segments(line.as_bytes()).filter(|segment| !is_named(segment)).collect();
    if rest.iter().all(|segment| segment.trim_ascii().is_empty()) {
        return None;
    }
    let bytes = rest.join(&b';');
    let mut value = HeaderValue::from_bytes(bytes.trim_ascii_start())
        .expect("parts of a valid header value make a valid one");
    value.set_sensitive(line.is_sensitive());
    Some(value)
}
