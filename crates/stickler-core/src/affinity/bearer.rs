//! Identifiers in request headers of any name.

use http::HeaderMap;

/// The first value of the header `name` that isn't empty. A header that comes twice is no list here: a
/// client has one session, and the first line is the one that most applications read.
#[must_use]
pub fn header_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get_all(name).into_iter().map(|line| line.as_bytes().trim_ascii()).find(|value| !value.is_empty())
}

/// The first bearer token in the header `name`: what stands behind the scheme `Bearer` (in any case) and
/// one or more spaces. Another scheme is no token, and neither is anything with white space or a comma in
/// it. Characters outside RFC 6750's set pass otherwise, because issuers use them.
#[must_use]
pub fn bearer_token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get_all(name).into_iter().find_map(|line| token_of(line.as_bytes().trim_ascii()))
}

/// A token as the application gives it out, with or without the scheme `Bearer` before it.
#[must_use]
pub fn without_scheme(value: &[u8]) -> &[u8] {
    token_of(value).unwrap_or(value)
}

fn token_of(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = credentials.split_at_checked(b"Bearer".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer") || rest.first() != Some(&b' ') {
        return None;
    }
    let token = rest.trim_ascii_start();
    let one_word = !token.iter().any(|&byte| byte == b',' || byte.is_ascii_whitespace());
    (!token.is_empty() && one_word).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn lines(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (http::header::AUTHORIZATION, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn the_token_behind_the_scheme_is_found() {
        for line in ["Bearer abc.d-e_f~g+h/i==", "bearer abc.d-e_f~g+h/i==", "BEARER   abc.d-e_f~g+h/i== "] {
            let headers = lines(&[line]);
            assert_eq!(
                bearer_token(&headers, "Authorization"),
                Some(b"abc.d-e_f~g+h/i==".as_slice()),
                "{line}"
            );
        }
        assert_eq!(bearer_token(&lines(&["Bearer 7|secret"]), "authorization"), Some(b"7|secret".as_slice()));
        assert_eq!(bearer_token(&lines(&["Basic eA==", "Bearer x"]), "authorization"), Some(b"x".as_slice()));
    }

    #[test]
    fn nothing_else_is_a_token() {
        for line in
            ["", "Bearer", "Bearer ", "Bearerx", "Bearer\tx", "Basic eA==", "x", "Bearer a b", "Bearer a,b"]
        {
            assert_eq!(bearer_token(&lines(&[line]), "authorization"), None, "{line:?}");
        }
    }

    #[test]
    fn a_header_is_its_first_line_with_anything_in_it() {
        assert_eq!(
            header_value(&lines(&["", " one two ", "three"]), "AUTHORIZATION"),
            Some(b"one two".as_slice())
        );
        assert_eq!(header_value(&lines(&[""]), "authorization"), None);
        assert_eq!(header_value(&lines(&["x"]), "not a header name"), None);
    }
}
