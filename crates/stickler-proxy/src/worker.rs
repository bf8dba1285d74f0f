//! One worker: accepts clients on its own sockets and serves them, all on one thread.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngCore;
use stickler_core::client_address::Greeting;
use stickler_rt::{BoxedStream, Listener, Seed, Shutdown};
use tokio::io::AsyncWriteExt;

use crate::body::Body;
use crate::client_stream::ClientStream;
use crate::framing;
use crate::places::{Place, Places};
use crate::proxy_header::{self, Greeted, GreetingError};
use crate::responses::Answer;

/// Ceilings of one worker. Changed ones hold for new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// Connections of clients at one time, WebSockets included; one more is answered 503 and closed.
    pub max_connections: usize,
    /// The largest request head, in bytes; a larger one is answered 431 and its connection closed.
    pub max_request_head: usize,
    /// Longest wait for a whole PROXY header, where connections begin with one.
    pub greeting_timeout: Duration,
    /// Longest wait for a whole request head, from the end of the response before it on. So it is also how
    /// long an idle connection is kept.
    pub head_timeout: Duration,
    /// At the end: how long exchanges in flight may go on.
    pub drain_timeout: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            max_connections: 16 * 1024,
            max_request_head: 16 * 1024,
            greeting_timeout: Duration::from_secs(3),
            head_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Names one request in logs and headers. Unique on its node for all practical purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A request whose framing is sound and whose target is in origin form.
#[derive(Debug)]
pub struct ClientRequest {
    /// The request as it came, with the headers of the client's connection still in it.
    pub request: Request<Incoming>,
    /// The host that it is for: lower case, without port; empty for HTTP/1.0 without `Host`.
    pub host: String,
    /// The other end of the connection, or who the connection's PROXY header names.
    pub peer: SocketAddr,
    /// The listener's name in the cluster document.
    pub listener: Arc<str>,
    /// Its name in logs.
    pub id: RequestId,
}

/// Answers checked requests. Routing is behind it.
pub trait Handler: 'static {
    /// Answers one request. The future is dropped when the client goes away.
    fn handle(&self, request: ClientRequest) -> impl Future<Output = Response<Body>>;

    /// How a connection that was just accepted from `peer` begins, by what holds for its listener now.
    fn greeting(&self, _listener: &str, _peer: IpAddr) -> Greeting {
        Greeting::Request
    }

    /// Takes note of a connection that was closed since it did not begin so.
    fn refused_connection(&self) {}
}

/// One worker. Lives on one thread, inside a `LocalSet`.
pub struct Worker<H> {
    handler: H,
    settings: Cell<WorkerSettings>,
    /// Requests are numbered from a random start, so that ids of two workers don't meet.
    next_request: Cell<u64>,
    places: Places,
    stopping: Shutdown,
    ending: Shutdown,
}

/// After a failed accept, mostly for want of descriptors: trying again at once would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The smallest read buffer that hyper takes, and one that bodies stream well through, in bytes.
const READ_BUFFER: usize = 64 * 1024;

impl<H: Handler> Worker<H> {
    /// A worker without listeners. `ending` is the signal shared with the worker's backend connections: it is
    /// triggered by [`Worker::finish`] once exchanges had their time.
    #[must_use]
    pub fn new(handler: H, settings: WorkerSettings, seed: &Seed, ending: Shutdown) -> Rc<Self> {
        Rc::new(Self {
            handler,
            settings: Cell::new(settings),
            next_request: Cell::new(seed.rng().next_u64()),
            places: Places::default(),
            stopping: Shutdown::new(),
            ending,
        })
    }

    /// Replaces the settings, for connections that come from now on.
    pub fn set_settings(&self, settings: WorkerSettings) {
        self.settings.set(settings);
    }

    /// Connections of clients now, upgraded ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.taken()
    }

    /// Serves what comes in on `listener` until the signal that this returns is given, or the worker
    /// finishes. Then its socket is closed, and its connections end after the exchanges they are in.
    #[must_use]
    pub fn listen(self: &Rc<Self>, name: Arc<str>, listener: Box<dyn Listener>) -> Shutdown {
        let stop = self.stopping.child();
        tokio::task::spawn_local(Rc::clone(self).accept(name, listener, stop.clone()));
        stop
    }

    /// Closes all listeners, lets exchanges in flight end within `drain_timeout`, then ends what is left.
    pub async fn finish(&self) {
        self.stopping.trigger();
        let drain_timeout = self.settings.get().drain_timeout;
        if tokio::time::timeout(drain_timeout, self.places.all_free()).await.is_err() {
            tracing::warn!(connections = self.connections(), "exchanges did not end in time");
        }
        self.ending.trigger();
        self.places.all_free().await;
    }

    async fn accept(self: Rc<Self>, name: Arc<str>, listener: Box<dyn Listener>, stop: Shutdown) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.wait() => return,
                accepted = listener.accept() => accepted,
            };
            let known = accepted.and_then(|stream| Ok((stream.peer_address()?, stream)));
            match known {
                Ok((peer, stream)) => match self.places.take(self.settings.get().max_connections) {
                    Some(place) => {
                        let client = Client { name: Arc::clone(&name), peer };
                        tokio::task::spawn_local(Rc::clone(&self).greet(client, stream, place, stop.clone()));
                    }
                    None => turn_away(stream).await,
                },
                Err(error) => {
                    tracing::debug!(listener = %name, %error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// From an accepted connection to the client's first byte, and on. It takes its place meanwhile, so that
    /// connections that say nothing have the same limit as others.
    async fn greet(
        self: Rc<Self>,
        mut client: Client,
        mut stream: BoxedStream,
        place: Place,
        stop: Shutdown,
    ) {
        let greeted = match self.handler.greeting(&client.name, client.peer.ip()) {
            Greeting::Request => Ok(Greeted::default()),
            Greeting::Refused => Err(GreetingError::Stranger),
            Greeting::ProxyHeader => tokio::select! {
                biased;
                () = stop.wait() => return,
                greeted = proxy_header::read(&mut stream, self.settings.get().greeting_timeout) => greeted,
            },
        };
        match greeted {
            Ok(Greeted { source, ahead }) => {
                client.peer = source.unwrap_or(client.peer);
                self.serve(client, ClientStream::new(stream, ahead, place), stop).await;
            }
            Err(GreetingError::Unused) => {}
            Err(error) => {
                self.handler.refused_connection();
                tracing::debug!(listener = %client.name, peer = %client.peer, %error, "a connection was refused");
            }
        }
    }

    async fn serve(self: Rc<Self>, client: Client, stream: ClientStream, stop: Shutdown) {
        let settings = self.settings.get();
        let findings = stream.watch().findings();
        let number = Cell::new(0);
        let client = Rc::new(client);
        let service = service_fn(|request| {
            number.set(number.get() + 1);
            let (worker, client) = (Rc::clone(&self), Rc::clone(&client));
            let fault = findings.of_request(number.get());
            async move { Ok::<_, Infallible>(worker.answer(&client, request, fault).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.head_timeout)
            .max_header_size(settings.max_request_head)
            .max_buf_size(settings.max_request_head.max(READ_BUFFER))
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = stop.wait() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    served = connection.as_mut() => served,
                    () = self.ending.wait() => Ok(()),
                }
            }
        };
        if let Err(error) = served {
            // Clients that leave, stall or send what no parser takes are everyday life.
            tracing::debug!(listener = %client.name, peer = %client.peer, %error, "a client's connection broke");
        }
    }

    async fn answer(
        &self,
        client: &Client,
        mut request: Request<Incoming>,
        fault: Option<framing::Rejection>,
    ) -> Response<Body> {
        let id = RequestId(self.next_request.get());
        self.next_request.set(id.0.wrapping_add(1));
        match fault.map_or_else(|| framing::check(&mut request), Err) {
            Ok(host) => {
                let (peer, listener) = (client.peer, Arc::clone(&client.name));
                self.handler.handle(ClientRequest { request, host, peer, listener, id }).await
            }
            Err(rejection) => {
                tracing::debug!(listener = %client.name, peer = %client.peer, request = %id, %rejection, "refused");
                Answer::from(rejection).into_response()
            }
        }
    }
}

/// One connection of a client.
struct Client {
    name: Arc<str>,
    peer: SocketAddr,
}

/// One connection too many. The answer fits the socket's empty buffer, so nothing is waited for.
async fn turn_away(mut stream: BoxedStream) {
    let answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-connections", "too many connections")
        .retry_after(Duration::from_secs(1));
    let written = async {
        stream.write_all(&answer.into_bytes()).await?;
        stream.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(ACCEPT_PAUSE, written).await {
        tracing::trace!(%error, "a client turned away did not wait for its answer");
    }
}
