//! A worker that forwards everything to one backend, and clients and backends that speak raw bytes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use stickler_core::client_address::Greeting;
use stickler_core::document::cluster::Retry;
use stickler_core::ids::BackendId;
use stickler_proxy::backend_connections::{BackendConnections, IdleLimits};
use stickler_proxy::body::Body;
use stickler_proxy::exchange::{Destination, Exchanges, Timeouts};
use stickler_proxy::hold::Hold;
use stickler_proxy::hop_by_hop::{ClientSide, prepare_request};
use stickler_proxy::in_flight::InFlight;
use stickler_proxy::responses::Answer;
use stickler_proxy::worker::{ClientRequest, Handler, Worker, WorkerSettings};
use stickler_rt::{BindOptions, Clock, Network, Seed, Shutdown, TcpNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const BACKEND: BackendId = BackendId(1);

/// No wait in a test is longer; one that is means that the promise was broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test as a worker runs: one thread, a `LocalSet`.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, test).await.expect("the test ends in time");
    });
}

/// Waits until `condition` holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE / 2, waited).await.unwrap_or_else(|_| panic!("in time: {what}"));
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// What the handler does with each request; changed by tests.
pub struct Plan {
    pub exchanges: Exchanges,
    pub destination: Cell<Destination>,
    /// Where an unsent request is sent next.
    pub second: Cell<Option<Destination>>,
    pub valid: Cell<bool>,
    pub validations: Cell<u32>,
    pub hold: RefCell<Option<Hold>>,
    /// What failed exchanges said: the cause, whether the backend is suspected, whether nothing was sent.
    pub failures: RefCell<Vec<(String, bool, bool)>>,
    /// How connections begin from now on.
    pub greeting: Cell<Greeting>,
    /// Connections that did not begin so.
    pub refused: Cell<u32>,
}

struct Forward(Rc<Plan>);

impl Handler for Forward {
    async fn handle(&self, client: ClientRequest) -> Response<Body> {
        let plan = &self.0;
        let mut request = client.request;
        prepare_request(&mut request, &ClientSide { address: client.peer.ip(), scheme: "http" });
        let mut destination = plan.destination.get();
        loop {
            let hold = plan.hold.borrow_mut().take().unwrap_or_default();
            let validate = || {
                plan.validations.set(plan.validations.get() + 1);
                if plan.valid.get() { Ok(()) } else { Err("not valid") }
            };
            let failed = match plan.exchanges.exchange(&destination, hold, request, validate).await {
                Ok(response) => return response,
                Err(failed) => failed,
            };
            let (cause, unsent) = (failed.cause, failed.unsent);
            plan.failures.borrow_mut().push((cause.to_string(), cause.suspects_backend(), unsent.is_some()));
            match (unsent, plan.second.take()) {
                (Some(unsent), Some(second)) => {
                    request = *unsent;
                    destination = second;
                    plan.valid.set(true);
                }
                _ => {
                    let invalid = Answer::new(StatusCode::SERVICE_UNAVAILABLE, "not-valid", "not valid");
                    return cause.answer().unwrap_or(invalid).into_response();
                }
            }
        }
    }

    fn greeting(&self, _listener: &str, _peer: IpAddr) -> Greeting {
        self.0.greeting.get()
    }

    fn refused_connection(&self) {
        self.0.refused.set(self.0.refused.get() + 1);
    }
}

pub struct Proxy {
    pub address: SocketAddr,
    pub plan: Rc<Plan>,
    pub ending: Shutdown,
    worker: Rc<Worker<Forward>>,
}

pub fn destination(address: SocketAddr) -> Destination {
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        response: Duration::from_secs(5),
        request_body: Duration::from_secs(5),
        tunnel: Duration::from_secs(5),
    };
    Destination { backend: BACKEND, address, timeouts, retry: Retry::Unsent, only_new: false }
}

impl Proxy {
    pub async fn start(backend: SocketAddr) -> Self {
        Self::start_with(backend, WorkerSettings::default()).await
    }

    pub async fn start_with(backend: SocketAddr, settings: WorkerSettings) -> Self {
        let ending = Shutdown::new();
        let connections = BackendConnections::new(
            Arc::new(TcpNetwork),
            Clock::start(),
            IdleLimits::default(),
            ending.clone(),
        );
        let plan = Rc::new(Plan {
            exchanges: Exchanges::new(connections, InFlight::new()),
            destination: Cell::new(destination(backend)),
            second: Cell::new(None),
            valid: Cell::new(true),
            validations: Cell::new(0),
            hold: RefCell::new(None),
            failures: RefCell::default(),
            greeting: Cell::new(Greeting::Request),
            refused: Cell::new(0),
        });
        let seed = Seed::from_number(1);
        let worker = Worker::new(Forward(Rc::clone(&plan)), settings, &seed, ending.clone());
        let listener = TcpNetwork.bind(loopback(), BindOptions::default()).await.unwrap();
        let address = listener.local_address().unwrap();
        // The worker keeps the signal; the test ends by `finish` or with its runtime.
        let _stop = worker.listen(Arc::from("web"), listener);
        Self { address, plan, ending, worker }
    }

    pub async fn connect(&self) -> Raw {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    pub fn in_flight(&self) -> u32 {
        self.plan.exchanges.in_flight().count(BACKEND)
    }

    pub fn idle(&self) -> usize {
        self.plan.exchanges.connections().idle(self.plan.destination.get().address)
    }

    pub fn clients(&self) -> usize {
        self.worker.connections()
    }

    pub async fn finish(&self) {
        self.worker.finish().await;
    }
}

/// A backend that runs `script` on each connection, with the connection's number from 1.
pub struct Backend {
    pub address: SocketAddr,
    pub accepted: Rc<Cell<u32>>,
}

impl Backend {
    pub async fn start<F, S>(script: S) -> Self
    where
        S: Fn(Raw, u32) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Rc::new(Cell::new(0));
        let count = Rc::clone(&accepted);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _peer) = listener.accept().await.unwrap();
                count.set(count.get() + 1);
                tokio::task::spawn_local(script(Raw(stream), count.get()));
            }
        });
        Self { address, accepted }
    }

    /// Answers each request with its head, as text, and its body of known length behind it.
    pub async fn echo() -> Self {
        Self::start(|mut raw, _number| async move {
            while let Some((head, body)) = raw.message().await {
                let echoed = head + &String::from_utf8(body).unwrap();
                let length = echoed.len();
                raw.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{echoed}")).await;
            }
        })
        .await
    }
}

/// One end of a connection, as bytes.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next head with its empty line; `None` when the other end closed before one.
    pub async fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_closed) if head.is_empty() => return None,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        Some(String::from_utf8(head).unwrap())
    }

    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// The next head, and its body of known length.
    pub async fn message(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head().await?;
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.bytes(length).await;
        Some((head, body))
    }

    /// Sends a request and reads its answer of known length: status line, head, body.
    pub async fn ask(&mut self, request: &str) -> (String, String, String) {
        self.send(request).await;
        let (head, body) = self.message().await.expect("an answer");
        let status = head.lines().next().unwrap().to_owned();
        (status, head, String::from_utf8(body).unwrap())
    }

    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.unwrap();
        String::from_utf8(rest).unwrap()
    }
}

/// A header's value in the text of a head, by its lower-case name.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
