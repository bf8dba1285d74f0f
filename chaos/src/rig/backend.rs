//! A backend: keeps sessions as applications do, says who it is, and reports to the witness by which epoch
//! each request came.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, SET_COOKIE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use stickler_rt::{BindOptions, BoxedStream, Listener, Outside, Shutdown};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::backend_process::BackendProcess;
use super::carts::{Carts, EXPORT, Shelf};
use super::health;
use super::occupancy::Occupancy;
use crate::identifier::Door;
use crate::oracle::revealed::CREATED_BY;
use crate::oracle::witness::Witness;

/// Connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 4096;

/// Pause after a connection could not be accepted, since that is mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Bytes of a request's body.
const LARGEST_BODY: usize = 4096;

/// A backend inside this process, unless it is [`apart`](Self::apart). Killing it closes its listener and cuts off its
/// connections at once, which is what a balancer sees of a killed process.
#[derive(Debug)]
pub(crate) struct Backend {
    /// What it calls itself, and what the cluster document calls it.
    pub name: String,
    address: SocketAddr,
    application: Arc<Application>,
    serving: Option<Serving>,
    /// A process of its own, when it is started.
    apart: bool,
}

#[derive(Debug)]
enum Serving {
    Here { task: JoinHandle<()>, life: Shutdown },
    Apart(BackendProcess),
}

/// What the backends of one rig have in common.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// Tells the identifiers of one run from those of another.
    pub run: u64,
    pub witness: Arc<Witness>,
    pub shelf: Arc<Shelf>,
}

/// How a backend that runs goes about its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It answers at once.
    #[default]
    Usual,
    /// It accepts connections and answers nothing: a process that was stopped.
    Stopped,
    /// It answers after so long.
    Slow(Duration),
    /// It answers as usual, and says of itself that it is not well.
    Unwell,
    /// It answers as usual, and its page for checks, with 200, does not say the [`WORDS`](health::WORDS).
    Wordless,
    /// It answers as usual, and drains itself: its page for checks is gone, with 404.
    Draining,
    /// It says of itself that it is well, and answers everybody else with 500.
    Failing,
    /// It says of itself that it is well, and ends everybody else's connection instead of an answer.
    BreakingOff,
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
    pace: watch::Sender<Pace>,
    /// In this backend's memory alone, until they are exported.
    carts: Carts,
    occupancy: Occupancy,
    /// How often it was started.
    lives: AtomicU64,
}

/// A header of every answer: which of its lives the backend is in.
pub(crate) const LIFE: &str = "x-life";
/// A request with this header puts a thing into the cart of that name; the answer's header [`ITEMS`] says how many
/// there are now.
pub(crate) const CART: &str = "x-cart";
/// See [`CART`].
pub(crate) const ITEMS: &str = "x-items";
/// A request's header whose name begins like this is in the answer, without it. `{backend}` in its value becomes the
/// backend's name.
pub(crate) const ANSWER: &str = "x-answer-";

impl Backend {
    pub(super) fn new(name: String, address: SocketAddr, shared: Shared) -> Self {
        let Shared { run, witness, shelf } = shared;
        let name_header = HeaderValue::from_str(&name).expect("the plan's names are letters and digits");
        let application = Application {
            name: name.clone(),
            name_header,
            created: AtomicU64::new(0),
            run,
            witness,
            pace: watch::Sender::default(),
            carts: Carts::beside(shelf),
            occupancy: Occupancy::default(),
            lives: AtomicU64::new(0),
        };
        Self { name, address, application: Arc::new(application), serving: None, apart: false }
    }

    /// The same as a process of its own, which tells the witness nothing and always goes at the usual pace.
    pub(super) fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Listens and answers.
    pub(super) async fn start(&mut self, outside: &Outside) -> io::Result<()> {
        if self.apart {
            self.serving = Some(Serving::Apart(BackendProcess::start(&self.name, self.address).await?));
            return Ok(());
        }
        let listener = outside.network.bind(self.address, BindOptions::default()).await?;
        self.application.lives.fetch_add(1, Ordering::Relaxed);
        let life = Shutdown::new();
        let task = tokio::spawn(serve(listener, Arc::clone(&self.application), life.clone()));
        self.serving = Some(Serving::Here { task, life });
        Ok(())
    }

    /// It dies; what it was doing is not answered.
    pub(crate) async fn kill(&mut self) {
        self.application.pace.send_replace(Pace::Usual);
        match self.serving.take() {
            Some(Serving::Here { task, life }) => {
                life.trigger();
                task.abort();
                // Its port is free once the task is gone.
                drop(task.await);
            }
            Some(Serving::Apart(process)) => process.kill().await,
            None => {}
        }
    }

    /// What it has had to do so far, as long as it is not [`apart`](Self::apart).
    pub(super) fn occupancy(&self) -> &Occupancy {
        &self.application.occupancy
    }

    /// How it goes about its work from now on.
    pub(crate) fn set_pace(&self, pace: Pace) {
        self.application.pace.send_replace(pace);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(Serving::Here { task, life }) = self.serving.take() {
            life.trigger();
            task.abort();
        }
    }
}

async fn serve(listener: Box<dyn Listener>, application: Arc<Application>, life: Shutdown) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(stream) => {
                let (application, life) = (Arc::clone(&application), life.clone());
                connections.spawn(async move {
                    serve_connection(stream, application, life).await;
                    drop(place);
                });
            }
            Err(_about_that_connection) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: BoxedStream, application: Arc<Application>, life: Shutdown) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (application, life) = (Arc::clone(&application), life.clone());
        async move {
            let is_client = request.uri().path() != health::PATH;
            let _stay = is_client.then(|| application.occupancy.enter());
            application.keep_pace().await;
            if is_client && application.breaks_off() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if request.method() == Method::POST {
                application.witness.began();
                let Ok(body) = Limited::new(request.body_mut(), LARGEST_BODY).collect().await else {
                    return Ok(status(StatusCode::BAD_REQUEST));
                };
                if request.uri().path() == EXPORT {
                    return Ok(status(application.export(request.headers(), &body.to_bytes())));
                }
            }
            let answer = application.answer(&request);
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                let application = Arc::clone(&application);
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        () = life.wait() => {}
                        () = application.echo(&mut request) => {}
                    }
                });
            }
            Ok::<_, io::Error>(answer)
        }
    });
    // A connection that breaks concerns the node, which sees it.
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

impl Application {
    async fn keep_pace(&self) {
        let mut pace = self.pace.subscribe();
        // The backend itself owns the sender.
        let now = pace.wait_for(|pace| *pace != Pace::Stopped).await.map_or(Pace::Usual, |pace| *pace);
        if let Pace::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
    }

    fn breaks_off(&self) -> bool {
        *self.pace.borrow() == Pace::BreakingOff
    }

    /// A WebSocket whose messages are lines: says who it is, again and again.
    async fn echo(&self, request: &mut Request<Incoming>) {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let (read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(_line)) = lines.next_line().await {
            self.keep_pace().await;
            if write.write_all(format!("{}\n", self.name).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::new(Bytes::from_static(b"served\n")));
        answer.headers_mut().insert("x-backend", self.name_header.clone());
        answer.headers_mut().insert(LIFE, HeaderValue::from(self.lives.load(Ordering::Relaxed)));
        if request.uri().path() == health::PATH {
            health::fill(&mut answer, *self.pace.borrow(), request.headers());
            return answer;
        }
        let key = request.headers().get("stickler-session");
        let epoch =
            request.headers().get("stickler-epoch").and_then(|epoch| epoch.to_str().ok()?.parse().ok());
        if let Some(key) = key {
            answer.headers_mut().insert("x-key", key.clone());
            if let (Ok(key), Some(epoch)) = (key.to_str(), epoch) {
                let overtaken = self.witness.saw(key, epoch, &self.name);
                // What has a body changes something, and is fenced: all backends share what the witness knows.
                if overtaken && request.method() == Method::POST {
                    *answer.status_mut() = StatusCode::PRECONDITION_FAILED;
                    return answer;
                }
            }
        }
        if *self.pace.borrow() == Pace::Failing {
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return answer;
        }
        let headers = answer.headers_mut();
        self.do_as_asked(request.headers(), headers);
        let door = Door::of_path(request.uri().path());
        if door == Door::Socket && request.headers().contains_key(UPGRADE) {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *answer.body_mut() = Full::default();
            return answer;
        }
        if request.uri().path() == Door::Own.path() && !carries_session(request.headers()) {
            let number = self.created.fetch_add(1, Ordering::Relaxed);
            let cookie =
                format!("SHOPSESSION={}{CREATED_BY}{:x}-{number}; Path=/; HttpOnly", self.name, self.run);
            headers.insert(SET_COOKIE, cookie.try_into().expect("names and numbers can stand in a header"));
        }
        answer
    }

    /// The hook of jobs that move sessions.
    fn export(&self, headers: &HeaderMap, told: &[u8]) -> StatusCode {
        let told: Option<serde_json::Value> = serde_json::from_slice(told).ok();
        let session = told.as_ref().and_then(|told| told.get("session")?.as_str());
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        let (Some(session), Some(key)) = (session, key) else { return StatusCode::BAD_REQUEST };
        self.carts.export(session, key);
        StatusCode::NO_CONTENT
    }

    fn do_as_asked(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        if let Some(cart) = asked.get(CART).and_then(|cart| cart.to_str().ok()) {
            let session = asked.get("stickler-session").and_then(|session| session.to_str().ok());
            headers.insert(ITEMS, HeaderValue::from(self.carts.put(cart, session)));
        }
        for (name, value) in asked {
            let wanted = name.as_str().strip_prefix(ANSWER).and_then(|name| name.parse::<HeaderName>().ok());
            let value = value.to_str().map(|value| value.replace("{backend}", &self.name));
            let value = value.ok().and_then(|value| HeaderValue::try_from(value).ok());
            if let (Some(name), Some(value)) = (wanted, value) {
                headers.append(name, value);
            }
        }
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// An application that takes up identifiers it doesn't know, so that what the balancer makes of an unknown
/// one is seen by itself.
fn carries_session(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).any(|pair| pair.trim_start().starts_with("SHOPSESSION="))
}
