//! A client's side of HTTP: one request on one connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;

use super::document::PUBLIC;
use super::ledger::now;

/// What a client waits for a whole exchange. Longer than anything that a node waits for.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// What a client that would like to be another session sends as its fencing handle.
pub const FORGED: &str = "forged";

/// In which a client says its request's number: no two have the same.
pub const REQUEST: &str = "x-request";

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// When it had come.
    pub at: Duration,
}

impl Reply {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The cookies that it sets: names and values.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.headers.iter().filter(|(name, _)| name == "set-cookie");
        lines.filter_map(|(_, line)| line.split(';').next()?.split_once('='))
    }
}

/// Asks a node.
///
/// # Errors
/// Whatever broke; the outcome is unknown then.
pub async fn ask(
    node: IpAddr,
    method: &str,
    path: &str,
    headers: &[(&'static str, String)],
) -> io::Result<Reply> {
    let exchange = async {
        let mut stream = TcpStream::connect(SocketAddr::new(node, PUBLIC)).await?;
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        parse(&answer).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    tokio::time::timeout(PATIENCE, exchange).await?
}

/// Reads a whole response; `None` when it was cut off.
fn parse(answer: &str) -> Option<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let reply = Reply { status, headers, body: body.to_owned(), at: now() };
    let length: usize = reply.header("content-length")?.parse().ok()?;
    (body.len() == length).then_some(reply)
}
