//! One check of one backend.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use stickler_core::document::cluster::HealthCheck;
use stickler_rt::Network;

/// The largest response head read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Whether the backend at `address` passes, within the check's time-out.
pub(super) async fn passes(network: &dyn Network, address: SocketAddr, check: &HealthCheck) -> bool {
    let answer = async {
        match &check.path {
            None => network.connect(address).await.is_ok(),
            Some(path) => status(network, address, path)
                .await
                .is_some_and(|status| (200..400).contains(&status.as_u16())),
        }
    };
    tokio::time::timeout(check.timeout, answer).await.unwrap_or(false)
}

/// What the backend answers to a GET of `path`; `None` when nothing that can be read.
async fn status(network: &dyn Network, address: SocketAddr, path: &str) -> Option<StatusCode> {
    let stream = network.connect(address).await.ok()?;
    let (mut sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .ok()?;
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, "stickler-probe")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .ok()?;
    let response = sender.send_request(request);
    tokio::pin!(response, connection);
    let mut driven = false;
    loop {
        tokio::select! {
            biased;
            response = &mut response => return response.ok().map(|response| response.status()),
            _ended = &mut connection, if !driven => driven = true,
        }
    }
}
