//! The response's `Set-Cookie` lines, read as far as a session needs: a name, a value, and whether the line
//! makes a cookie or ends one. Reading follows RFC 6265 section 5.2, because browsers do.

use std::fmt;

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};

use super::cookie_date::parse_cookie_date;
use super::cookie_pair::parse_pair;

/// What a response says about a cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Learned<'a> {
    /// The client will send this value from now on; never empty.
    Value(&'a [u8]),
    /// The client will send nothing from now on.
    Deleted,
}

impl fmt::Debug for Learned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value(redacted)",
            Self::Deleted => "Deleted",
        })
    }
}

/// What is left of the cookie called `name` once the client has read all the lines of this response;
/// `None` when no line names it. `now` is in seconds since 1970 and decides about `Expires` alone.
///
/// A line ends the cookie when its `Max-Age` is 0 or less, when it has no `Max-Age` and its `Expires` is
/// not after `now`, or when its value is empty: an empty value names no session. The last line wins, with
/// one exception: a line that ends the cookie of *another* domain or path leaves an earlier value standing,
/// because the client then holds that value (frameworks clear a cookie's old path so).
#[must_use]
pub fn find_application_cookie<'a>(headers: &'a HeaderMap, name: &str, now: i64) -> Option<Learned<'a>> {
    let lines: Vec<SetCookie<'a>> = headers
        .get_all(SET_COOKIE)
        .into_iter()
        .filter(|line| is_named(line, name))
        .filter_map(|line| SetCookie::parse(line.as_bytes(), now))
        .collect();
    let survivor = lines.iter().enumerate().rev().find(|(index, line)| {
        !line.ended && !lines[index + 1..].iter().any(|later| later.ended && later.has_scope_of(line))
    });
    match survivor {
        Some((_, line)) => Some(Learned::Value(line.value)),
        None => (!lines.is_empty()).then_some(Learned::Deleted),
    }
}

/// Takes every `Set-Cookie` line for `name` out of the response, so that it leaves without the identifier
/// (I6). Says whether there was anything to take.
pub fn remove_set_cookie(headers: &mut HeaderMap, name: &str) -> bool {
    if !headers.get_all(SET_COOKIE).into_iter().any(|line| is_named(line, name)) {
        return false;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(SET_COOKIE).into_iter().filter(|line| !is_named(line, name)).cloned().collect();
    headers.remove(SET_COOKIE);
    for line in kept {
        headers.append(SET_COOKIE, line);
    }
    true
}

fn is_named(line: &HeaderValue, name: &str) -> bool {
    let pair = line.as_bytes().split(|&byte| byte == b';').next().and_then(parse_pair);
    pair.is_some_and(|(found, _)| found == name.as_bytes())
}

/// One line that names a cookie.
struct SetCookie<'a> {
    value: &'a [u8],
    ended: bool,
    domain: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
}

impl<'a> SetCookie<'a> {
    fn parse(line: &'a [u8], now: i64) -> Option<Self> {
        let mut segments = line.split(|&byte| byte == b';');
        let (_, value) = parse_pair(segments.next()?)?;
        let mut cookie = Self { value, ended: false, domain: None, path: None };
        let (mut ended_by_age, mut ended_by_date) = (None, None);
        // Of an attribute that comes twice, the last that can be read counts.
        for (name, text) in segments.map(attribute) {
            if name.eq_ignore_ascii_case(b"Max-Age") {
                ended_by_age = is_age_over(text).or(ended_by_age);
            } else if name.eq_ignore_ascii_case(b"Expires") {
                ended_by_date = parse_cookie_date(text).map(|expires| expires <= now).or(ended_by_date);
            } else if name.eq_ignore_ascii_case(b"Domain") {
                let domain = text.strip_prefix(b".").unwrap_or(text);
                cookie.domain = (!domain.is_empty()).then_some(domain);
            } else if name.eq_ignore_ascii_case(b"Path") {
                cookie.path = text.starts_with(b"/").then_some(text);
            }
        }
        cookie.ended = value.is_empty() || ended_by_age.or(ended_by_date).unwrap_or(false);
        Some(cookie)
    }

    /// Whether a client keeps both in one place, so that one replaces the other. A path that is left out
    /// depends on the request, so it is taken for the same only as another one left out: to remember a
    /// session that nobody uses costs less than to forget one that is in use.
    fn has_scope_of(&self, other: &Self) -> bool {
        let same_domain = match (self.domain, other.domain) {
            (Some(one), Some(another)) => one.eq_ignore_ascii_case(another),
            (one, another) => one == another,
        };
        same_domain && self.path == other.path
    }
}

fn attribute(segment: &[u8]) -> (&[u8], &[u8]) {
    match segment.iter().position(|&byte| byte == b'=') {
        Some(equals) => (segment[..equals].trim_ascii(), segment[equals + 1..].trim_ascii()),
        None => (segment.trim_ascii(), b""),
    }
}

/// Whether a `Max-Age` is 0 or less; `None` when it is no number. Only the sign counts, so that a number
/// of any length is fine.
fn is_age_over(text: &[u8]) -> Option<bool> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(negative || digits.iter().all(|&digit| digit == b'0'))
}
