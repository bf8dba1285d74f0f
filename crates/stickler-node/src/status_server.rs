//! What machines ask of a node: `/livez`, `/readyz` and `/metrics`. A small HTTP server of its own, apart
//! from clients' listeners, so that it answers when those don't.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use stickler_raft::Cluster;
use stickler_rt::{BoxedStream, Listener, Shutdown};
use tokio::sync::Semaphore;

use crate::metrics::{self, MetricsRegistry};
use crate::readiness::{Readiness, Ready};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// Longest wait for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest life of a connection: it carries one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// Largest request head, in bytes.
const LARGEST_HEAD: usize = 16 * 1024;

/// Pause after a connection could not be accepted, since that is mostly for want of descriptors.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

/// What is served.
#[derive(Clone)]
pub struct StatusPages {
    cluster: Cluster,
    readiness: Readiness,
    metrics: MetricsRegistry,
}

impl StatusPages {
    /// The pages of a node; `metrics` is where its parts count.
    #[must_use]
    pub fn new(cluster: Cluster, readiness: Readiness, metrics: MetricsRegistry) -> Self {
        Self { cluster, readiness, metrics }
    }

    /// Serves on `listener` until `shutdown`. A page that is being sent then is cut off.
    pub async fn serve(self, listener: Box<dyn Listener>, shutdown: Shutdown) {
        let pages = Arc::new(self);
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let permit = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                permit = Arc::clone(&connections).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the status address was not accepted");
                    tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                    continue;
                }
            };
            let (pages, shutdown) = (Arc::clone(&pages), shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = shutdown.wait() => {}
                    _ = tokio::time::timeout(CONNECTION_TIMEOUT, pages.talk(stream)) => {}
                }
                drop(permit);
            });
        }
    }

    async fn talk(self: Arc<Self>, stream: BoxedStream) {
        let service = service_fn(|request| {
            let pages = Arc::clone(&self);
            async move { Ok::<_, Infallible>(pages.answer(&request).await) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(LARGEST_HEAD)
            .keep_alive(false);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a connection to the status address broke");
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" => ready(&self.readiness.now()),
            "/metrics" => self.metrics().await,
            _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
        }
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        /// What Prometheus calls the format.
        const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        match metrics::render(&self.cluster, &self.readiness, &self.metrics).await {
            Ok(rendered) => {
                let mut page = text(StatusCode::OK, rendered);
                page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
                page
            }
            Err(error) => {
                tracing::error!(%error, "the metrics could not be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n")
            }
        }
    }
}

fn ready(ready: &Ready) -> Response<Full<Bytes>> {
    let status = if ready.answers() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, format!("{ready}\n"))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // A cache in between would tell of a moment that is over.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
