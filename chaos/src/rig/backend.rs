//! A backend: keeps sessions as applications do, says who it is, and reports to the witness by which epoch
//! each request came.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use stickler_rt::{BindOptions, BoxedStream, Listener, Outside};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::identifier::Door;
use crate::oracle::witness::Witness;

/// Connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 4096;

/// Pause after a connection could not be accepted, since that is mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A backend inside this process. Killing it closes its listener and cuts off its connections at once, which
/// is what a balancer sees of a killed process.
#[derive(Debug)]
pub(crate) struct Backend {
    /// What it calls itself, and what the cluster document calls it.
    pub name: String,
    address: SocketAddr,
    application: Arc<Application>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Application {
    name: String,
    /// The name as a header.
    name_header: HeaderValue,
    /// Sessions that it has created; part of their identifiers.
    created: AtomicU64,
    /// Tells the identifiers of one run from those of another.
    run: u64,
    witness: Arc<Witness>,
}

impl Backend {
    pub(super) fn new(name: String, address: SocketAddr, run: u64, witness: Arc<Witness>) -> Self {
        let name_header = HeaderValue::from_str(&name).expect("the plan's names are letters and digits");
        let application =
            Application { name: name.clone(), name_header, created: AtomicU64::new(0), run, witness };
        Self { name, address, application: Arc::new(application), serving: None }
    }

    /// Listens and answers.
    pub(super) async fn start(&mut self, outside: &Outside) -> io::Result<()> {
        let listener = outside.network.bind(self.address, BindOptions::default()).await?;
        self.serving = Some(tokio::spawn(serve(listener, Arc::clone(&self.application))));
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

async fn serve(listener: Box<dyn Listener>, application: Arc<Application>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(stream) => {
                let application = Arc::clone(&application);
                connections.spawn(async move {
                    serve_connection(stream, application).await;
                    drop(place);
                });
            }
            Err(_about_that_connection) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: BoxedStream, application: Arc<Application>) {
    let service = service_fn(move |request| {
        let application = Arc::clone(&application);
        async move { Ok::<_, Infallible>(application.answer(&request)) }
    });
    // A connection that breaks concerns the node, which sees it.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Application {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::new(Bytes::from_static(b"served\n")));
        let headers = answer.headers_mut();
        headers.insert("x-backend", self.name_header.clone());
        if request.uri().path() == "/health" {
            return answer;
        }
        let key = request.headers().get("stickler-session");
        let epoch =
            request.headers().get("stickler-epoch").and_then(|epoch| epoch.to_str().ok()?.parse().ok());
        if let Some(key) = key {
            headers.insert("x-key", key.clone());
            if let (Ok(key), Some(epoch)) = (key.to_str(), epoch) {
                self.witness.saw(key, epoch, &self.name);
            }
        }
        let door = Door::of_path(request.uri().path());
        if door == Door::Own && !carries_session(request.headers()) {
            let number = self.created.fetch_add(1, Ordering::Relaxed);
            let cookie = format!("SHOPSESSION={}-{:x}-{number}; Path=/; HttpOnly", self.name, self.run);
            headers.insert(SET_COOKIE, cookie.try_into().expect("names and numbers can stand in a header"));
        }
        answer
    }
}

/// An application that takes up identifiers it doesn't know, so that what the balancer makes of an unknown
/// one is seen by itself.
fn carries_session(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).any(|pair| pair.trim_start().starts_with("SHOPSESSION="))
}
