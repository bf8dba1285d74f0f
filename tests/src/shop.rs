//! A backend that keeps carts in its own memory, and can be made to wait in the middle of an answer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The cookie that the shop makes and goes by.
pub const COOKIE: &str = "SHOPSESSION";

/// A running shop.
pub struct Shop {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<JoinHandle<()>>,
}

struct Shared {
    name: String,
    /// How often the shop was started, as its answers say in `x-instance`.
    life: u64,
    /// What it answers to checks, and whether it says that it drains.
    health: Mutex<(StatusCode, bool)>,
    carts: Mutex<HashMap<String, u64>>,
    next: std::sync::atomic::AtomicU64,
    /// While this is false, answers to `/slow` wait.
    open: watch::Sender<bool>,
    /// Requests to `/slow` that wait now.
    waiting: watch::Sender<u64>,
    seen: Mutex<Vec<Seen>>,
    trouble: Mutex<Trouble>,
}

/// What is wrong with a shop, its checks aside.
#[derive(Clone, Copy, Default)]
struct Trouble {
    /// What it answers to everything.
    status: Option<StatusCode>,
    /// So many requests it breaks off, once it has got them.
    breaks_off: u64,
}

/// The end of a connection whose request is not answered.
#[derive(Debug)]
struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for BrokenOff {}

/// One request as the shop got it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
}

impl Shop {
    /// Starts a shop.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::serve(name, listener, 1)
    }

    fn serve(name: &str, listener: TcpListener, life: u64) -> Self {
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            life,
            health: Mutex::new((StatusCode::OK, false)),
            carts: Mutex::default(),
            next: std::sync::atomic::AtomicU64::new(1),
            open: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
            seen: Mutex::default(),
            trouble: Mutex::default(),
        });
        let serving = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, serving: Some(serving) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// From now on requests to `/slow` wait, with their work done, before they are answered.
    pub fn hold(&self) {
        self.shared.open.send_replace(false);
    }

    /// Answers what waits.
    pub fn release(&self) {
        self.shared.open.send_replace(true);
    }

    /// Waits until so many requests to `/slow` wait.
    pub async fn holds(&self, count: u64) {
        let mut waiting = self.shared.waiting.subscribe();
        let _ = waiting.wait_for(|waiting| *waiting >= count).await;
    }

    /// What it got so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it answers checks with this status, and says by `x-drain` whether it drains.
    pub fn set_health(&self, status: StatusCode, drains: bool) {
        *self.shared.health.lock().unwrap_or_else(PoisonError::into_inner) = (status, drains);
    }

    /// From now on it answers everything but checks with this status, or as it should.
    pub fn set_status(&self, status: Option<StatusCode>) {
        self.trouble().status = status;
    }

    /// Closes the connections of the next so many requests without an answer, once it has got them.
    pub fn break_off(&self, requests: u64) {
        self.trouble().breaks_off = requests;
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it at the same address, with nothing of what it knew: whether it was killed before or runs.
    ///
    /// # Panics
    /// When somebody else has taken its port meanwhile.
    pub async fn start_again(&mut self) {
        self.kill().await;
        let listener = TcpListener::bind(self.address).await.expect("its port is free");
        *self = Self::serve(&self.shared.name, listener, self.shared.life + 1);
    }

    /// Ends it: its port refuses connections, and open ones break.
    pub async fn kill(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    mut request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, BrokenOff> {
    let path = request.uri().path().to_owned();
    if path == "/health" {
        let (status, drains) = *shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        let mut response = Response::new(Full::from("ok").boxed_unsync());
        *response.status_mut() = status;
        response.headers_mut().insert("x-instance", HeaderValue::from(shared.life));
        if drains {
            response.headers_mut().insert("x-drain", HeaderValue::from_static("yes"));
        }
        return Ok(response);
    }
    let headers = request.headers().clone();
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen {
        method: request.method().clone(),
        path: path.clone(),
        headers: headers.clone(),
    });
    let trouble = {
        let mut trouble = shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let now = *trouble;
        trouble.breaks_off = now.breaks_off.saturating_sub(1);
        now
    };
    if trouble.breaks_off > 0 {
        return Err(BrokenOff);
    }
    let shown = cookie(&headers, COOKIE).or_else(|| header(&headers, "x-session"));
    let fresh = shown.is_none() || path == "/login";
    let session = match shown.clone().filter(|_| !fresh) {
        Some(shown) => shown,
        None => {
            let number = shared.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            format!("{}-{number}-{:p}", shared.name, Arc::as_ptr(&shared))
        }
    };
    let items = {
        let mut carts = shared.carts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shown.and_then(|shown| carts.get(&shown).copied()).unwrap_or(0);
        let items = carts.entry(session.clone()).or_insert(before);
        *items += 1;
        *items
    };
    if path == "/slow" {
        let mut open = shared.open.subscribe();
        shared.waiting.send_modify(|waiting| *waiting += 1);
        let _ = open.wait_for(|open| *open).await;
        shared.waiting.send_modify(|waiting| *waiting -= 1);
    }
    let said = Bytes::from(format!("{} {items}", shared.name));
    let mut response = match path.as_str() {
        "/stream" => Response::new(endless(said)),
        "/socket" => switch(&mut request),
        _ => Response::new(Full::from(said).boxed_unsync()),
    };
    if let Some(status) = trouble.status {
        *response.status_mut() = status;
    }
    let name = http::HeaderValue::from_str(&shared.name).expect("a shop's name is plain");
    response.headers_mut().insert("x-backend", name);
    response.headers_mut().insert("x-instance", HeaderValue::from(shared.life));
    let line = match path.as_str() {
        "/logout" => Some(format!("{COOKIE}=gone; Max-Age=0")),
        _ if fresh && !headers.contains_key("x-no-cookie") => Some(format!("{COOKIE}={session}; Path=/")),
        _ => None,
    };
    // What a test wants to see in the response.
    for (name, value) in &headers {
        if let Some(wanted) = name.as_str().strip_prefix("x-answer-") {
            let name = http::HeaderName::try_from(wanted).expect("a test asks for a header's name");
            response.headers_mut().append(name, value.clone());
        }
    }
    if let Some(line) = line {
        response.headers_mut().insert("set-cookie", line.parse().expect("a cookie line is plain"));
    }
    Ok(response)
}

/// Says something at once, and nothing more.
fn endless(said: Bytes) -> UnsyncBoxBody<Bytes, Infallible> {
    let said = futures::stream::once(std::future::ready(Ok(Frame::data(said))));
    StreamBody::new(said.chain(futures::stream::pending())).boxed_unsync()
}

/// Becomes a WebSocket that sends back what it gets, as far as a balancer can tell.
fn switch(request: &mut Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        // Its end is the other side's doing.
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("websocket"));
    response
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = header(headers, "cookie")?;
    cookies.split("; ").find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}
