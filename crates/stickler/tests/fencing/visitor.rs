//! One connection of a visitor: requests are written as they are, so that they can stop in the middle.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest wait for an answer. A node gives up sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a node, or to a shop itself.
pub struct Visitor {
    session: String,
    stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The shop that answered; empty when a node did.
    pub backend: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Visitor {
    pub async fn at(address: SocketAddr, session: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { session: session.to_owned(), stream: BufReader::new(stream) }
    }

    /// Sends a whole request and does not wait for the answer.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) {
        self.begin(method, path, "", body.len()).await;
        self.go_on(body).await;
    }

    /// Sends a request and reads the answer.
    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, path, body).await;
        self.answer().await.unwrap()
    }

    /// Sends the head of a request, and waits until the other side asks for its body, which a node does once it
    /// has sent the head to a shop.
    pub async fn upload(&mut self, path: &str, length: usize) {
        self.begin("POST", path, "Expect: 100-continue\r\n", length).await;
        let (status, _) = self.head().await.unwrap();
        assert_eq!(status, 100);
    }

    async fn begin(&mut self, method: &str, path: &str, more: &str, length: usize) {
        let session = &self.session;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: shop\r\nX-Session: {session}\r\n{more}Content-Length: {length}\r\n\r\n"
        );
        self.go_on(&head).await;
    }

    /// Sends a piece of the body.
    pub async fn go_on(&mut self, piece: &str) {
        self.stream.write_all(piece.as_bytes()).await.unwrap();
    }

    /// Waits for the answer; an error when the connection ends without one.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let whole = async {
            let (status, head) = self.head().await?;
            let value =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let length = value("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await?;
            let backend = value("x-backend").unwrap_or_default().to_owned();
            Ok(Answer { status, backend, body: String::from_utf8_lossy(&body).into_owned() })
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("an answer, or the end of the connection")
    }

    async fn head(&mut self) -> io::Result<(u16, String)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), head))
    }
}
