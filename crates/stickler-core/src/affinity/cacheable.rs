//! Whether shared caches may keep a response (RFC 9111), and how they are kept from it: one client's cookie must not
//! reach all.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, EXPIRES, HeaderValue};

use super::cookie_date::parse_cookie_date;

/// Whether the response says that a shared cache may keep it: `public`, `s-maxage` or `max-age` above zero, or an
/// `Expires` after `now` (in seconds since 1970) where nothing else is said. `private`, `no-store` and `no-cache`
/// forbid it. A response that says nothing is for its client alone as far as Stickler goes.
#[must_use]
pub fn is_cacheable(headers: &HeaderMap, now: i64) -> bool {
    let (mut allowed, mut said) = (false, false);
    for directive in directives(headers) {
        said = true;
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "private" | "no-store" | "no-cache" => return false,
            "public" => allowed = true,
            "max-age" | "s-maxage" => allowed |= lasts(value),
            _ => {}
        }
    }
    if said {
        return allowed;
    }
    let expires = headers.get(EXPIRES).and_then(|value| parse_cookie_date(value.as_bytes()));
    expires.is_some_and(|expires| expires > now)
}

/// Says that no shared cache may keep the response. What else the response says about caching stays, as far as it
/// holds for the client's own cache.
pub fn make_private(headers: &mut HeaderMap) {
    let kept = directives(headers).filter(|directive| {
        let name = directive.split('=').next().unwrap_or_default().trim();
        !["public", "private", "s-maxage"].iter().any(|dropped| name.eq_ignore_ascii_case(dropped))
    });
    let mut line = String::from("private");
    for directive in kept {
        line.push_str(", ");
        line.push_str(directive);
    }
    let value = HeaderValue::try_from(line).unwrap_or_else(|_| HeaderValue::from_static("private"));
    headers.insert(CACHE_CONTROL, value);
}

/// The directives of all lines. A quoted list of header names comes apart at its commas, which harms nobody: no part of
/// one is a directive that counts here.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|directive| !directive.is_empty())
}

/// A number of seconds above zero. Caches take what is too large for a number to mean "very long".
fn lasts(seconds: &str) -> bool {
    let digits = seconds.trim().trim_matches('"');
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 784_111_777;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_response_is_cacheable_when_it_says_so() {
        for lines in [
            [("cache-control", "public")].as_slice(),
            &[("cache-control", "max-age=60")],
            &[("cache-control", "S-MaxAge=99999999999999999999999")],
            &[("cache-control", "must-revalidate"), ("cache-control", "max-age=\"1\"")],
            &[("expires", "Sun, 06 Nov 1994 08:49:38 GMT")],
        ] {
            assert!(is_cacheable(&headers(lines), NOW), "{lines:?}");
        }
    }

    #[test]
    fn and_not_otherwise() {
        for lines in [
            [].as_slice(),
            &[("cache-control", "max-age=0")],
            &[("cache-control", "public, max-age=60"), ("cache-control", "private")],
            &[("cache-control", "max-age=60, no-store")],
            &[("cache-control", "no-cache=\"set-cookie\", max-age=60")],
            &[("cache-control", "max-age=-1")],
            &[("expires", "0")],
            &[("expires", "Sun, 06 Nov 1994 08:49:37 GMT")],
            &[("cache-control", "must-revalidate"), ("expires", "Sun, 06 Nov 2094 08:49:37 GMT")],
        ] {
            assert!(!is_cacheable(&headers(lines), NOW), "{lines:?}");
        }
    }

    #[test]
    fn a_private_response_is_not_cacheable_and_keeps_what_its_client_may_do() {
        let mut response =
            headers(&[("cache-control", "public, max-age=60"), ("cache-control", "s-maxage=5, immutable")]);
        make_private(&mut response);
        assert_eq!(
            response.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(),
            ["private, max-age=60, immutable"]
        );
        assert!(!is_cacheable(&response, NOW));
        let mut silent = HeaderMap::new();
        make_private(&mut silent);
        assert_eq!(silent.get(CACHE_CONTROL).unwrap(), "private");
    }
}
