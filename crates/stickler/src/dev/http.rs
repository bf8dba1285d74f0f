//! One HTTP/1.1 connection to a node, for the requests that `dev` makes itself.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use stickler_rt::Network;
use tokio::task::AbortHandle;

/// A cart of the demo shop is far smaller.
const LARGEST_BODY: usize = 1024 * 1024;

/// Why a request got no whole answer. Another node may give one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// Nothing listens there, or the machine can't be reached.
    #[error("can't connect: {0}")]
    Connect(std::io::Error),
    /// The connection broke before the answer was there.
    #[error("no answer: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer's body broke off, or is larger than anything the demo says.
    #[error("no whole body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// It took longer than the client waits.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Connection {
    /// Connects.
    pub async fn open(network: &dyn Network, address: SocketAddr) -> Result<Self, ExchangeError> {
        let stream = network.connect(address).await.map_err(ExchangeError::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // What breaks the connection is told to whoever waits for the answer.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, driver })
    }

    /// Whether the other side has not closed it yet.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(ExchangeError::Body)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// GETs a path over a new connection.
pub(super) async fn get(
    network: &dyn Network,
    address: SocketAddr,
    path: &str,
    timeout: Duration,
) -> Result<Response<Bytes>, ExchangeError> {
    let request = Request::get(path)
        .header(http::header::HOST, address.to_string())
        .body(Bytes::new())
        .expect("a path of the demo makes a valid request");
    let exchange = async { Connection::open(network, address).await?.exchange(request).await };
    let answer = tokio::time::timeout(timeout, exchange).await;
    answer.unwrap_or(Err(ExchangeError::TimedOut(timeout)))
}

/// A response as a message shows it: the status, and the first line of what it says.
pub(super) fn describe(response: &Response<Bytes>) -> String {
    const SHOWN: usize = 120;
    let body = String::from_utf8_lossy(response.body());
    let line: String = body.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
    format!("{} {line}", response.status())
}
