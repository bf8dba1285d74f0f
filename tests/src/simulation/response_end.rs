//! Where a shop's response ends on its connection.

/// What has come of a response so far. Shops give each its length.
#[derive(Debug, Default)]
pub struct ResponseEnd {
    come: Vec<u8>,
}

impl ResponseEnd {
    /// Takes in what has come; whether that was the last of it.
    pub fn takes(&mut self, bytes: &[u8]) -> bool {
        self.come.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(&self.come);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
        });
        length.is_some_and(|length| body.len() >= length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_ends_with_the_last_byte_of_its_body() {
        let mut end = ResponseEnd::default();
        assert!(!end.takes(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r"));
        assert!(!end.takes(b"\n\r\nab"));
        assert!(end.takes(b"cd"));
        assert!(ResponseEnd::default().takes(b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n"));
    }
}
