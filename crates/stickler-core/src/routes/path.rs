use std::borrow::Cow;

/// The form of a request's path in which it is compared with path prefixes, and in which a path prefix has
/// to be written.
///
/// - The query is left out. A path that does not start with `/` (as in `OPTIONS *`) counts as `/`.
/// - Percent-encoded letters, digits, `-`, `.`, `_` and `~` are decoded, once; the digits of other
///   encodings are in upper case. An encoded slash (`%2F`) stays encoded: it does not part segments. A `%` that
///   begins no encoding counts as `%25`, or with what is decoded behind it (`%%361`) it would begin one.
/// - The segments `.` and `..` are resolved, and never lead above `/`. Empty segments (`//`) are left out.
/// - Parameters of segments (`;name=value`) are left out, so that `/cart;jsessionid=…` is `/cart`, and `/x/..;/admin`,
///   which some backends resolve, is `/admin`.
/// - No `/` at the end, unless the path is `/`.
///
/// These are the readings on which RFC 3986 and common backends agree. A backend that reads more into a
/// path (`%2F` or `\` as a slash) has to guard its own paths.
#[must_use]
pub fn matching_form(path: &str) -> Cow<'_, str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return Cow::Borrowed("/");
    }
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    if trimmed.is_empty() {
        return Cow::Borrowed("/");
    }
    if trimmed.split('/').skip(1).all(is_plain) {
        return Cow::Borrowed(trimmed);
    }
    Cow::Owned(resolve(trimmed))
}

/// Whether a segment is in its matching form already.
fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && !segment.contains(';')
        && segment.match_indices('%').all(|(place, _)| {
            let digits = segment.as_bytes().get(place + 1..place + 3).unwrap_or_default();
            match decode(digits) {
                Some(byte) => !is_unreserved(byte) && !digits.iter().any(u8::is_ascii_lowercase),
                None => false,
            }
        })
}

/// The path with its segments decoded and resolved.
fn resolve(path: &str) -> String {
    let mut resolved = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        let start = resolved.len();
        resolved.push('/');
        push_decoded(&mut resolved, segment.split(';').next().unwrap_or_default());
        match &resolved[start..] {
            "/" | "/." => resolved.truncate(start),
            "/.." => {
                let parent = resolved[..start].rfind('/').unwrap_or(0);
                resolved.truncate(parent);
            }
            _ => {}
        }
    }
    if resolved.is_empty() {
        resolved.push('/');
    }
    resolved
}

fn push_decoded(resolved: &mut String, segment: &str) {
    let mut rest = segment;
    while let Some(place) = rest.find('%') {
        resolved.push_str(&rest[..place]);
        let encoded = &rest.as_bytes()[place..];
        match encoded.get(1..3).and_then(decode) {
            Some(byte) if is_unreserved(byte) => resolved.push(char::from(byte)),
            // the digits are ASCII, so that slicing behind them is sound
            Some(_) => resolved.push_str(&rest[place..place + 3].to_ascii_uppercase()),
            None => {
                resolved.push_str("%25");
                rest = &rest[place + 1..];
                continue;
            }
        }
        rest = &rest[place + 3..];
    }
    resolved.push_str(rest);
}

/// The byte that two hexadecimal digits stand for.
fn decode(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let value = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Characters that mean the same encoded or not (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
