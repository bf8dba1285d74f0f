//! A request that is written piece by piece, and whose answer is read whenever it is wanted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use stickler_rt::{BoxedStream, Outside};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Answer, read_answer};
use crate::identifier::{Door, SESSION_HEADER};

/// Longest wait for an answer. A node itself gives up sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// What its body consists of. It means nothing.
const BODY: &str = "a body in two pieces";

/// A POST of a session by header, on a connection of its own.
pub(crate) struct SlowRequest {
    stream: BoxedStream,
    unsent: &'static str,
}

impl SlowRequest {
    /// Connects and sends the head and half of the body. It does not wait for the other side to read it.
    pub(crate) async fn begin(outside: &Outside, node: SocketAddr, session: &str) -> io::Result<Self> {
        let mut stream = outside.network.connect(node).await?;
        let (first, unsent) = BODY.split_at(BODY.len() / 2);
        let (path, length) = (Door::Header.path(), BODY.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {node}\r\n{SESSION_HEADER}: {session}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{first}"
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(Self { stream, unsent })
    }

    /// The same, with all of its body.
    pub(crate) async fn send(outside: &Outside, node: SocketAddr, session: &str) -> io::Result<Self> {
        let mut request = Self::begin(outside, node, session).await?;
        request.finish().await?;
        Ok(request)
    }

    /// Sends the rest of the body, if that was not done before.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.stream.write_all(std::mem::take(&mut self.unsent).as_bytes()).await
    }

    /// Reads the answer to its end.
    pub(crate) async fn answer(mut self) -> io::Result<Answer> {
        let mut text = Vec::new();
        let reading = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut text)).await;
        reading.map_err(|_| io::ErrorKind::TimedOut)??;
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, _) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let (status, headers) = read_head(head).ok_or(io::ErrorKind::InvalidData)?;
        Ok(read_answer(Door::Header.cookie(), status, &headers))
    }
}

fn read_head(head: &str) -> Option<(StatusCode, HeaderMap)> {
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
    }
    Some((status, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let (status, headers) = read_head("HTTP/1.1 412 Precondition Failed\r\nx-backend: web-1").unwrap();
        let answer = read_answer(Door::Header.cookie(), status, &headers);
        assert_eq!((answer.status, answer.backend.as_str()), (412, "web-1"));
        assert!(read_head("HTTP/1.1").is_none() && read_head("HTTP/1.1 200 OK\r\nodd").is_none());
    }
}
