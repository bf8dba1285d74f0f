//! One `name=value`, read the same way in requests and in responses: what was learned from a `Set-Cookie`
//! has to be found again in the `Cookie` that comes back.

/// Splits at the first `=` and trims; `None` without `=` or without a name. Quotes around the whole value
/// go, because some clients keep them and some don't.
pub(super) fn parse_pair(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = segment.iter().position(|&byte| byte == b'=')?;
    let name = segment[..equals].trim_ascii();
    (!name.is_empty()).then(|| (name, unquoted(segment[equals + 1..].trim_ascii())))
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_trimmed_and_loses_one_pair_of_quotes() {
        let read = |text: &'static str| parse_pair(text.as_bytes());
        assert_eq!(read("a=b"), Some((b"a".as_slice(), b"b".as_slice())));
        assert_eq!(read(" \ta = b c\t"), Some((b"a".as_slice(), b"b c".as_slice())));
        assert_eq!(read("a=b=c="), Some((b"a".as_slice(), b"b=c=".as_slice())));
        assert_eq!(read("a=\"b\""), Some((b"a".as_slice(), b"b".as_slice())));
        assert_eq!(read("a=\"\"b\"\""), Some((b"a".as_slice(), b"\"b\"".as_slice())));
        assert_eq!(read("a=\"\""), Some((b"a".as_slice(), b"".as_slice())));
        assert_eq!(read("a=\""), Some((b"a".as_slice(), b"\"".as_slice())));
        assert_eq!(read("a="), Some((b"a".as_slice(), b"".as_slice())));
    }

    #[test]
    fn a_segment_without_a_name_is_no_pair() {
        for junk in ["", " ", "a", "=", "=b", " = b"] {
            assert_eq!(parse_pair(junk.as_bytes()), None, "{junk:?}");
        }
    }
}
