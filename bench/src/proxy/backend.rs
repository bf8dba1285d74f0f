//! The backends behind both proxies: as little work for a request as there can be.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::failure::Failure;

/// The application's session cookie.
pub const COOKIE: &str = "SHOPSESSION";

/// A path under which the application begins a session: what follows is its identifier.
pub const BEGIN: &str = "/cookie/begin/";

/// The largest request head; proxies add a few headers to what the benchmark sends.
const LARGEST_HEAD: usize = 8 * 1024;

/// Headers of a request, at most.
const HEADERS: usize = 32;

/// Where the backends listen.
#[derive(Clone, Debug, clap::Args)]
pub struct BackendOptions {
    /// One backend for each address
    #[arg(long = "address", required = true)]
    addresses: Vec<SocketAddr>,
}

/// Serves until the process is killed. Every answer has a small body, and names its backend.
///
/// # Errors
/// [`Failure::System`].
pub fn serve_backends(options: &BackendOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("starting the runtime"))?;
    runtime.block_on(async {
        for (number, address) in (1..).zip(&options.addresses) {
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(Failure::system(format!("listening at {address}")))?;
            tokio::spawn(accept(listener, Arc::new(Answers::of(number))));
        }
        std::future::pending().await
    })
}

/// What a backend answers.
struct Answers {
    usual: Vec<u8>,
    beginning: String,
}

impl Answers {
    fn of(number: usize) -> Self {
        let body = format!("{:<64}", format!("backend {number}"));
        let rest = format!(
            "Content-Type: text/plain\r\nContent-Length: {}\r\nX-Backend: {number}\r\n\r\n{body}",
            body.len()
        );
        let usual = format!("HTTP/1.1 200 OK\r\n{rest}").into_bytes();
        Self { usual, beginning: rest }
    }

    /// The answer to a request for this path.
    fn to(&self, path: &str, send: &mut Vec<u8>) {
        match path.strip_prefix(BEGIN) {
            Some(session) => {
                let head = format!("HTTP/1.1 200 OK\r\nSet-Cookie: {COOKIE}={session}; Path=/\r\n");
                send.extend_from_slice(head.as_bytes());
                send.extend_from_slice(self.beginning.as_bytes());
            }
            None => send.extend_from_slice(&self.usual),
        }
    }
}

async fn accept(listener: TcpListener, answers: Arc<Answers>) {
    while let Ok((stream, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // A client that goes away ends its connection, nothing else.
            let _ = converse(stream, &answers).await;
        });
    }
}

async fn converse(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(LARGEST_HEAD);
    let mut send = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 || received.len() > LARGEST_HEAD {
            return Ok(());
        }
        while let Some((length, path)) = request(&received)? {
            answers.to(path, &mut send);
            received.drain(..length);
        }
        if !send.is_empty() {
            stream.write_all(&send).await?;
            send.clear();
        }
    }
}

/// The length of a request without a body, and its path, once all of it is there.
fn request(received: &[u8]) -> std::io::Result<Option<(usize, &str)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(received).map_err(std::io::Error::other)? {
        httparse::Status::Complete(length) => Ok(Some((length, request.path.unwrap_or_default()))),
        httparse::Status::Partial => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_begins_with_a_cookie_and_goes_on_without_one() {
        let answers = Answers::of(2);
        let answer = |path| {
            let mut send = Vec::new();
            answers.to(path, &mut send);
            String::from_utf8(send).unwrap()
        };
        let begun = answer("/cookie/begin/abc");
        assert!(begun.contains("\r\nSet-Cookie: SHOPSESSION=abc; Path=/\r\n"), "{begun}");
        assert!(!answer("/cookie").contains("Set-Cookie"), "{begun}");
        for answer in [begun, answer("/header")] {
            assert!(answer.contains("\r\nX-Backend: 2\r\n"), "{answer}");
            assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 64, "{answer}");
        }
    }

    #[test]
    fn a_request_is_answered_when_all_of_it_is_there() {
        let text = b"GET /header HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
        assert_eq!(request(text).unwrap(), Some((text.len() - 9, "/header")));
        assert_eq!(request(&text[..20]).unwrap(), None);
        assert!(request(b"\x00").is_err());
    }
}
