//! A client with a cookie jar.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A client that keeps cookies as a browser does, one jar for all nodes.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    /// What it has, by name.
    pub cookies: BTreeMap<String, String>,
    /// Headers that it sends with every request.
    pub headers: Vec<(String, String)>,
    /// What a proxy between it and the nodes says at the start of a connection.
    pub greeting: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The backend that answered.
    #[must_use]
    pub fn backend(&self) -> String {
        self.headers.get("x-backend").and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned()
    }
}

impl Browser {
    /// A browser that sends this header with every request.
    #[must_use]
    pub fn with_header(name: &str, value: &str) -> Self {
        Self { headers: vec![(name.to_owned(), value.to_owned())], ..Self::default() }
    }

    /// A browser that has this cookie.
    #[must_use]
    pub fn with_cookie(name: &str, value: &str) -> Self {
        Self { cookies: BTreeMap::from([(name.to_owned(), value.to_owned())]), ..Self::default() }
    }

    /// A browser behind a proxy that says this at the start of each connection.
    #[must_use]
    pub fn with_greeting(greeting: &[u8]) -> Self {
        Self { greeting: greeting.to_owned(), ..Self::default() }
    }

    /// GETs a path on a new connection, and keeps the cookies that come back.
    ///
    /// # Errors
    /// Whatever broke.
    pub async fn get(
        &mut self,
        node: SocketAddr,
        path: &str,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        self.send(node, Method::GET, path, "").await
    }

    /// As [`Browser::get`], with another method and a body.
    ///
    /// # Errors
    /// Whatever broke.
    pub async fn send(
        &mut self,
        node: SocketAddr,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let mut stream = TcpStream::connect(node).await?;
        stream.write_all(&self.greeting).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "shop.test");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", cookies.join("; "));
        }
        let response = sender.send_request(request.body(Full::<Bytes>::from(body))?).await?;
        let (parts, body) = response.into_parts();
        let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
        driving.abort();
        for line in parts.headers.get_all("set-cookie") {
            self.keep(line.to_str()?);
        }
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    fn keep(&mut self, line: &str) {
        let pair = line.split(';').next().unwrap_or_default();
        let Some((name, value)) = pair.split_once('=') else { return };
        if line.contains("Max-Age=0") {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// A connection that is kept open for many requests.
pub struct KeptConnection {
    sender: hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
}

impl KeptConnection {
    /// Connects to a node.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(node: SocketAddr) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(node).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// GETs `/` with one header.
    ///
    /// # Errors
    /// Whatever broke.
    pub async fn get(
        &mut self,
        header: &str,
        value: &str,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        self.sender.ready().await?;
        let request = Request::get("/").header("host", "shop.test").header(header, value);
        let response = self.sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
        let (parts, body) = response.into_parts();
        let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }
}
