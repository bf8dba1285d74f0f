//! One keep-alive connection of a client: sends a prepared request, reads the answer.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Headers of an answer, at most.
const HEADERS: usize = 32;

/// The largest answer, head and body.
const LARGEST_ANSWER: usize = 16 * 1024;

/// What of an answer matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The backend that it names.
    pub backend: Option<String>,
    /// The cookie that it sets, as a client sends it back: name and value.
    pub cookie: Option<String>,
}

/// A connection to a proxy.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn open(proxy: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(LARGEST_ANSWER) })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the proxy closes the connection, or answers with something else than HTTP with a length.
    pub async fn ask(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        let length = self.exchange(request).await?;
        let (answer, _) = parse(&self.received)?.ok_or_else(|| std::io::Error::other("half an answer"))?;
        self.received.drain(..length);
        Ok(answer)
    }

    /// The same for requests by the hundred thousand, of which only the status matters.
    ///
    /// # Errors
    /// As [`Connection::ask`]; also when the status is not 200.
    pub async fn ask_quickly(&mut self, request: &[u8]) -> std::io::Result<()> {
        let length = self.exchange(request).await?;
        let well = self.received.starts_with(b"HTTP/1.1 200 ");
        if !well {
            let end = self.received.iter().position(|byte| *byte == b'\r').unwrap_or(0);
            return Err(std::io::Error::other(String::from_utf8_lossy(&self.received[..end]).into_owned()));
        }
        self.received.drain(..length);
        Ok(())
    }

    /// Sends a request and receives until the whole answer is there; returns its length.
    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<usize> {
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(std::io::Error::other("the proxy closed the connection"));
            }
            if let Some((head, body)) = lengths(&self.received)?
                && self.received.len() >= head + body
            {
                return Ok(head + body);
            }
            if self.received.len() > LARGEST_ANSWER {
                return Err(std::io::Error::other("the answer is too long"));
            }
        }
    }
}

/// The lengths of an answer's head and body, once its head is there.
fn lengths(received: &[u8]) -> std::io::Result<Option<(usize, usize)>> {
    Ok(parse(received)?.map(|(_, lengths)| lengths))
}

fn parse(received: &[u8]) -> std::io::Result<Option<(Answer, (usize, usize))>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(received).map_err(std::io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let body = value("content-length").and_then(|length| length.parse().ok());
    let body = body.ok_or_else(|| std::io::Error::other("an answer without a Content-Length"))?;
    let cookie = value("set-cookie").map(|cookie| cookie.split(';').next().unwrap_or_default().to_owned());
    let answer = Answer {
        status: response.code.unwrap_or_default(),
        backend: value("x-backend").map(str::to_owned),
        cookie,
    };
    Ok(Some((answer, (head, body))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_backend_and_cookie() {
        let text =
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nset-cookie: S=1; Path=/\r\nx-backend: 2\r\n\r\nabc";
        let (answer, (head, body)) = parse(text).unwrap().unwrap();
        assert_eq!((head + body, body), (text.len(), 3));
        assert_eq!(
            answer,
            Answer { status: 200, backend: Some("2".to_owned()), cookie: Some("S=1".to_owned()) }
        );
        assert!(parse(&text[..40]).unwrap().is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
