//! One check of one backend.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::{CheckAnswer, HealthCheck};
use stickler_core::state::{Finding, MAX_INSTANCE};
use stickler_rt::Network;

/// The largest response head read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// How much of the response's body is looked at, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// What the backend at `address` says of itself, within the check's time-out.
pub(super) async fn check(network: &dyn Network, address: SocketAddr, check: &HealthCheck) -> Finding {
    let found = async {
        match &check.path {
            None => {
                let accepts = network.connect(address).await.is_ok();
                (accepts || deliberate::active(Fault::RefusalPasses)).then_some(Finding::UP)
            }
            Some(path) => ask(network, address, path, &check.answer).await,
        }
    };
    tokio::time::timeout(check.timeout, found).await.ok().flatten().unwrap_or(Finding::DOWN)
}

/// What the backend answers to a GET of `path`; `None` when that does not pass.
async fn ask(
    network: &dyn Network,
    address: SocketAddr,
    path: &str,
    wanted: &CheckAnswer,
) -> Option<Finding> {
    let stream = network.connect(address).await.ok()?;
    let (mut sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .ok()?;
    let request = request(address, path, wanted)?;
    let answered = async {
        let response = sender.send_request(request).await.ok()?;
        read(response, wanted).await
    };
    tokio::pin!(answered, connection);
    let mut driven = false;
    loop {
        tokio::select! {
            biased;
            finding = &mut answered => return finding,
            _ended = &mut connection, if !driven => driven = true,
        }
    }
}

/// The document was checked, so that its header fields are fit to be sent.
fn request(address: SocketAddr, path: &str, wanted: &CheckAnswer) -> Option<Request<Empty<Bytes>>> {
    let host = wanted.host.clone().unwrap_or_else(|| address.to_string());
    let mut request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "stickler-probe")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .ok()?;
    for (name, value) in &wanted.headers {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        request.headers_mut().insert(name, HeaderValue::try_from(value.as_str()).ok()?);
    }
    Some(request)
}

async fn read(response: Response<Incoming>, wanted: &CheckAnswer) -> Option<Finding> {
    let status = response.status().as_u16();
    let drains_by_status = wanted.drain_status == Some(status);
    if !drains_by_status && !wanted.expect.iter().any(|(from, to)| (*from..=*to).contains(&status)) {
        return None;
    }
    let has = |name: &String| response.headers().contains_key(name.as_str());
    let says_so = drains_by_status || wanted.drain_header.as_ref().is_some_and(has);
    let drains = says_so && !deliberate::active(Fault::OverlookDrain);
    let instance = wanted.instance_header.as_ref().and_then(|name| response.headers().get(name.as_str()));
    let instance = instance.map(|value| instance_of(value.as_bytes()));
    let asks = !drains_by_status && !deliberate::active(Fault::CheckWithoutBody);
    let body = wanted.body.as_ref().filter(|_| asks);
    if let Some(text) = body
        && !contains(response.into_body(), text.as_bytes()).await
    {
        return None;
    }
    Some(Finding { up: true, drains, instance })
}

/// The name of a backend's life, cut to what the state keeps, so that a report is what will stand there.
pub(crate) fn instance_of(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut end = text.len().min(MAX_INSTANCE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Whether the text is in the beginning of a body. A longer body is not read to its end.
async fn contains(body: Incoming, text: &[u8]) -> bool {
    let mut body = Limited::new(body, MAX_BODY);
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
        if read.windows(text.len()).any(|window| window == text) {
            return true;
        }
    }
    false
}
