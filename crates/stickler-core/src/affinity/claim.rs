//! A claim of a JSON Web Token (RFC 7519) in its compact form. The signature is not looked at: a claim can route
//! only the client that sends it, and the application behind checks it anyway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The claim `name` of `token`, as bytes: a text as it is, a whole number in digits. Anything else, an empty
/// text, or a token that isn't one, is `None`. Of a claim that comes twice, the last counts (RFC 7519 section 4).
#[must_use]
pub fn claim(token: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        // Five parts are an encrypted token (RFC 7516), whose claims nobody here can read.
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let mut claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    match claims.remove(name)? {
        Value::String(text) if !text.is_empty() => Some(text.into_bytes()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> Vec<u8> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part("{\"alg\":\"none\"}"), part(payload), part("signature")).into_bytes()
    }

    #[test]
    fn texts_and_whole_numbers_are_read() {
        let token = token(r#"{"sub":"j\u00e4rv","sid":-17,"big":18446744073709551615,"sub ":"no"}"#);
        assert_eq!(claim(&token, "sub"), Some("järv".as_bytes().to_vec()));
        assert_eq!(claim(&token, "sid"), Some(b"-17".to_vec()));
        assert_eq!(claim(&token, "big"), Some(b"18446744073709551615".to_vec()));
    }

    #[test]
    fn the_last_of_two_counts() {
        assert_eq!(claim(&token(r#"{"sub":"a","sub":"b"}"#), "sub"), Some(b"b".to_vec()));
    }

    #[test]
    fn nothing_else_names_a_session() {
        let payload = r#"{"a":"","b":1.5,"c":true,"d":null,"e":["x"],"f":{"g":"x"},"h":1e400}"#;
        for name in ["a", "b", "c", "d", "e", "f", "g", "h", ""] {
            assert_eq!(claim(&token(payload), name), None, "{name}");
        }
        let deep = format!("{{\"sub\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(claim(&token(&deep), "sub"), None);
    }

    #[test]
    fn what_is_no_token_has_no_claims() {
        let whole = String::from_utf8(token(r#"{"sub":"a"}"#)).unwrap();
        assert!(claim(whole.as_bytes(), "sub").is_some());
        for junk in
            ["", ".", "..", "a.b", &format!("{whole}.x"), &whole.replace('.', ".="), "a.e30=.c", "a.W10.c"]
        {
            assert_eq!(claim(junk.as_bytes(), "sub"), None, "{junk}");
        }
    }
}
