//! Tells an application something over HTTP, outside of any client's request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use stickler_rt::Network;

/// The largest response head read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// What is told, and how often it may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The path and the query.
    pub path: String,
    /// Tells one telling from another: the same thing told twice has the same key.
    pub idempotency_key: String,
    /// JSON.
    pub body: String,
}

/// POSTs it to `address`; whether a status from 200 to 299 came within `timeout`.
pub async fn tell(network: &dyn Network, address: SocketAddr, told: Told, timeout: Duration) -> bool {
    tokio::time::timeout(timeout, post(network, address, told)).await.ok().flatten().unwrap_or(false)
}

async fn post(network: &dyn Network, address: SocketAddr, told: Told) -> Option<bool> {
    let stream = network.connect(address).await.ok()?;
    let (mut sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .ok()?;
    let request = Request::post(told.path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, "stickler-hook")
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .header(HeaderName::from_static("idempotency-key"), HeaderValue::try_from(told.idempotency_key).ok()?)
        .body(Full::from(told.body))
        .ok()?;
    let response = sender.send_request(request);
    tokio::pin!(response, connection);
    let mut driven = false;
    loop {
        tokio::select! {
            biased;
            response = &mut response => return response.ok().map(|response| response.status().is_success()),
            _ended = &mut connection, if !driven => driven = true,
        }
    }
}
