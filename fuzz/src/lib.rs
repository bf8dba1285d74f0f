//! What several fuzz targets share.

pub mod memory;
pub mod sample;
pub mod snapshot_bytes;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Cuts an input at its line ends, which stand in no header, name or path: so that an input of several parts
/// can be read and written by people.
pub fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == b'\n')
}

/// The first line as text, and what follows it; `None` when the first line is no text.
pub fn first_line(input: &[u8]) -> Option<(&str, &[u8])> {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let rest = input.get(end + 1..).unwrap_or_default();
    Some((std::str::from_utf8(&input[..end]).ok()?, rest))
}

/// Headers of one name, one for each line that can be one.
pub fn headers(name: &HeaderName, input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in lines(input).filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(name, value);
    }
    headers
}

/// The values of all headers of a name, byte for byte.
pub fn values_of(headers: &HeaderMap, name: &HeaderName) -> Vec<Vec<u8>> {
    headers.get_all(name).into_iter().map(|value| value.as_bytes().to_vec()).collect()
}
