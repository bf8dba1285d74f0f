//! Where clients are sent while the backend of their session is away: an address with places for the path and the query
//! that they asked for.

use std::fmt::Write as _;

/// Stands for the request's path.
const PATH: &str = "{path}";
/// Stands for the request's query.
const QUERY: &str = "{query}";

/// Why a text is not such an address. The message goes on after the key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// Without a scheme and a host of its own, a request's path could say where to go.
    #[error("does not begin with http:// or https:// and a host")]
    NoHost,
    /// Something in braces that is none of the two places.
    #[error("has something in braces that is neither {{path}} nor {{query}}")]
    UnknownPlace,
    /// It could not stand in a header.
    #[error("has characters that no address has")]
    BadCharacters,
}

/// Whether requests can be sent to where `template` says.
///
/// # Errors
/// [`BadTemplate`].
pub fn check(template: &str) -> Result<(), BadTemplate> {
    let rest = template.strip_prefix("https://").or_else(|| template.strip_prefix("http://"));
    let rest = rest.ok_or(BadTemplate::NoHost)?;
    let host = rest.split(['/', '?', '#', '{']).next().unwrap_or_default();
    if host.is_empty() || host.contains('@') {
        return Err(BadTemplate::NoHost);
    }
    // Right behind the host, only a path or a query can't become a part of it.
    let plain = rest.replace(PATH, "").replace(QUERY, "");
    if rest[host.len()..].starts_with('{') && !rest[host.len()..].starts_with(PATH) {
        return Err(BadTemplate::NoHost);
    }
    if plain.contains(['{', '}']) {
        return Err(BadTemplate::UnknownPlace);
    }
    let fit = plain.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`|".contains(&byte));
    if fit { Ok(()) } else { Err(BadTemplate::BadCharacters) }
}

/// Where a request of this path and query is sent. In front of a `?` the path goes as it is, and the query with a `?` of
/// its own; behind one they are a form's values (WHATWG URL, application/x-www-form-urlencoded).
#[must_use]
pub fn fill(template: &str, path: &str, query: Option<&str>) -> String {
    let mut filled = String::with_capacity(template.len() + path.len());
    let mut rest = template;
    while let Some(brace) = rest.find('{') {
        let (before, place) = rest.split_at(brace);
        filled.push_str(before);
        let as_value = filled.contains('?');
        let (text, length) = if place.starts_with(PATH) {
            (Some(path), PATH.len())
        } else if place.starts_with(QUERY) {
            (query, QUERY.len())
        } else {
            (Some("{"), 1)
        };
        match text {
            Some(text) if as_value => encode(&mut filled, text, |byte| byte == b'/'),
            Some(text) => {
                if place.starts_with(QUERY) {
                    filled.push('?');
                }
                encode(&mut filled, text, |byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
            }
            None => {}
        }
        rest = &place[length..];
    }
    filled.push_str(rest);
    filled
}

/// Writes `text` with everything percent-encoded but letters, digits, `-._~`, and what `keep` says.
fn encode(to: &mut String, text: &str, keep: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep(byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_names_its_host_itself() {
        for good in
            ["https://sorry.example", "http://a:8080/x?y={path}&z={query}", "https://b.example{path}{query}"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "{path}",
            "/sorry",
            "https://",
            "https://{path}",
            "https://a{query}",
            "ftp://a",
            "https://u@a/",
        ] {
            assert_eq!(check(bad), Err(BadTemplate::NoHost), "{bad}");
        }
        assert_eq!(check("https://a/{host}"), Err(BadTemplate::UnknownPlace));
        assert_eq!(check("https://a/ b"), Err(BadTemplate::BadCharacters));
    }

    #[test]
    fn path_and_query_go_where_they_belong() {
        let filled = |template: &str| fill(template, "/shop/a%20b", Some("c=d&e"));
        assert_eq!(filled("https://s.example{path}{query}"), "https://s.example/shop/a%20b?c=d&e");
        assert_eq!(filled("https://s.example/?from={path}"), "https://s.example/?from=/shop/a%2520b");
        assert_eq!(filled("https://s.example/?q={query}"), "https://s.example/?q=c%3Dd%26e");
        assert_eq!(fill("https://s.example{path}{query}", "/", None), "https://s.example/");
    }

    proptest! {
        /// Whatever is asked for, the answer leads to the template's host and fits into a header.
        #[test]
        fn no_request_says_which_host_it_is(path in "/\\PC{0,40}", query in proptest::option::of("\\PC{0,40}")) {
            for template in ["https://s.example{path}{query}", "https://s.example/a?b={path}&c={query}"] {
                prop_assert_eq!(check(template), Ok(()));
                let filled = fill(template, &path, query.as_deref());
                prop_assert!(filled.bytes().all(|byte| byte.is_ascii_graphic()));
                let rest = filled.strip_prefix("https://s.example").map(|rest| rest.chars().next());
                prop_assert_eq!(rest, Some(Some('/')));
            }
        }
    }
}
