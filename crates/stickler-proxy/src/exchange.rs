//! Forwarding one request to one backend: connect or reuse, validate, send, and pass the response on as it
//! comes.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::Retry;
use stickler_core::ids::BackendId;

use crate::backend_connections::{BackendConnections, Ready, Reuse};
use crate::body::{BackendBody, Body};
use crate::client_body::{ClientBody, ClientFailure, Progress};
use crate::exchange_error::{ExchangeCause, ExchangeError};
use crate::hold::Hold;
use crate::hop_by_hop::{clean_response, wants_websocket};
use crate::in_flight::{InFlight, InFlightGuard};
use crate::upgrade::Tunnel;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Counts as busy with the exchange until it ends.
    pub backend: BackendId,
    /// Where it accepts connections.
    pub address: SocketAddr,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Which requests are given back when the exchange fails.
    pub retry: Retry,
    /// Goes by a new connection, whatever idle ones there are.
    pub only_new: bool,
}

/// How long an exchange waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to the backend.
    pub connect: Duration,
    /// For the response head, from the last piece of the request on.
    pub response: Duration,
    /// For the client's next piece of its request body.
    pub request_body: Duration,
    /// For a byte in either direction of an upgraded connection.
    pub tunnel: Duration,
}

/// One worker's means to forward requests.
#[derive(Clone, Debug)]
pub struct Exchanges {
    connections: BackendConnections,
    in_flight: InFlight,
}

impl Exchanges {
    /// Forwards over this worker's `connections` and counts in the node's `in_flight`.
    #[must_use]
    pub fn new(connections: BackendConnections, in_flight: InFlight) -> Self {
        Self { connections, in_flight }
    }

    /// The worker's connections to backends.
    #[must_use]
    pub fn connections(&self) -> &BackendConnections {
        &self.connections
    }

    /// The node's counts of exchanges in flight.
    #[must_use]
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Sends `request` (prepared by `hop_by_hop::prepare_request`) to `destination` and answers with the
    /// backend's response, whose body streams. An upgrade that the backend grants is tunnelled from here on.
    ///
    /// `validate` is called right before the request is handed to a connection that is ready, with nothing
    /// to wait for in between; it is called again when the request is sent again. It is sent again, to the
    /// same backend, when a reused connection turns out to have been closed: always if nothing was sent, and
    /// once on a new connection if the request is safe and has no body (RFC 9110, 9.2.2). With `Retry::Idempotent`, what
    /// may be sent once more after that is given back.
    ///
    /// `hold` is kept until the response's body or the tunnel has ended. Dropping the future or the body
    /// ends the exchange with the backend, too.
    pub async fn exchange<E>(
        &self,
        destination: &Destination,
        hold: Hold,
        mut request: Request<Incoming>,
        mut validate: impl FnMut() -> Result<(), E>,
    ) -> Result<Response<Body>, ExchangeError<E>> {
        let in_flight = self.in_flight.begin(destination.backend);
        let upgrade = wants_websocket(&request).then(|| hyper::upgrade::on(&mut request));
        name_host(&mut request, destination.address);
        let (mut only_new, mut sent_again) = (destination.only_new, false);
        loop {
            let ready = match self.ready(destination, only_new).await {
                Ok(ready) => ready,
                Err(cause) => return Err(unsent(cause, request, upgrade, sent_again)),
            };
            if let Err(error) = validate() {
                return Err(unsent(ExchangeCause::Invalid(error), request, upgrade, sent_again));
            }
            let reused = ready.reused;
            match self.send(destination, ready, request).await {
                Ok((response, reuse)) => {
                    return finish(destination, response, reuse, upgrade, hold, in_flight);
                }
                Err(Failed { again: Some(Again { request: back, was_sent }), .. }) if reused => {
                    request = *back;
                    only_new |= was_sent;
                    sent_again |= was_sent;
                }
                Err(Failed { cause, again: Some(Again { request: back, was_sent: false }) }) => {
                    return Err(unsent(cause, *back, upgrade, sent_again));
                }
                Err(Failed { cause, again }) => {
                    let swallowed = again.map(|again| with_upgrade(again.request, upgrade));
                    return Err(ExchangeError { cause, unsent: None, swallowed, sent_again });
                }
            }
        }
    }

    async fn ready<E>(&self, to: &Destination, only_new: bool) -> Result<Ready, ExchangeCause<E>> {
        if !only_new && let Some(ready) = self.connections.take_idle(to.address) {
            return Ok(ready);
        }
        match tokio::time::timeout(to.timeouts.connect, self.connections.connect(to.address)).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ExchangeCause::Refused),
            Ok(Err(error)) => Err(ExchangeCause::Unreachable(error)),
            Err(_elapsed) => Err(ExchangeCause::ConnectTimedOut(to.timeouts.connect)),
        }
    }

    /// Hands the request to the connection before it first waits for anything.
    async fn send<E>(
        &self,
        to: &Destination,
        ready: Ready,
        request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, Reuse), Failed<E>> {
        let Ready { mut sender, reused } = ready;
        let progress = Rc::new(Progress::new(self.connections.clock().clone()));
        let (parts, incoming) = request.into_parts();
        let bodiless = incoming.is_end_stream();
        // A copy is only worth its price where it may be used.
        let repeatable = parts.method.is_safe() || deliberate::active(Fault::SendTwice);
        let harmless = parts.method.is_idempotent() || deliberate::active(Fault::RetrySent);
        let idempotent = to.retry == Retry::Idempotent && harmless;
        let spare = (bodiless && (reused && repeatable || idempotent)).then(|| parts.clone());
        let (body, mut aside) = if bodiless { (None, Some(incoming)) } else { (Some(incoming), None) };
        let body = ClientBody::new(body, Rc::clone(&progress), to.timeouts.request_body);
        let response = sender.try_send_request(Request::from_parts(parts, body));
        match self.response_head(response, &progress, to.timeouts.response).await {
            None => Err(Failed { cause: ExchangeCause::ResponseTimedOut(to.timeouts.response), again: None }),
            Some(Ok(response)) => {
                let reuse = Reuse { connections: self.connections.clone(), address: to.address, sender };
                Ok((response, reuse))
            }
            Some(Err(mut failed)) => {
                let given_back = failed.take_message().map(Request::into_parts);
                let cause = cause_of(failed.into_error(), &progress);
                let was_sent = given_back.is_none();
                let again = match given_back {
                    Some((parts, body)) => body.into_incoming().or(aside.take()).map(|body| (parts, body)),
                    None => spare.zip(aside.take()),
                };
                let again = again.map(|(parts, body)| Again {
                    request: Box::new(Request::from_parts(parts, body)),
                    was_sent,
                });
                Err(Failed { cause, again })
            }
        }
    }

    /// Waits for the response head; `None` once the backend has had its time since it got the last piece of
    /// the request.
    async fn response_head<T>(
        &self,
        response: impl Future<Output = T>,
        progress: &Progress,
        limit: Duration,
    ) -> Option<T> {
        let clock = self.connections.clock();
        let mut response = pin!(response);
        loop {
            let deadline = progress.backends_turn_since() + limit;
            tokio::select! {
                biased;
                response = &mut response => return Some(response),
                () = clock.sleep_until(deadline) => {
                    if clock.now() >= progress.backends_turn_since() + limit {
                        return None;
                    }
                }
            }
        }
    }
}

struct Failed<E> {
    cause: ExchangeCause<E>,
    again: Option<Again>,
}

/// A request that may be sent again.
struct Again {
    request: Box<Request<Incoming>>,
    was_sent: bool,
}

fn cause_of<E>(error: hyper::Error, progress: &Progress) -> ExchangeCause<E> {
    match progress.failed() {
        Some(ClientFailure::BrokeOff) => ExchangeCause::ClientBrokeOff,
        Some(ClientFailure::Stalled) => ExchangeCause::ClientStalled,
        None => ExchangeCause::BrokeOff(error),
    }
}

fn unsent<E>(
    cause: ExchangeCause<E>,
    request: Request<Incoming>,
    upgrade: Option<OnUpgrade>,
    sent_again: bool,
) -> ExchangeError<E> {
    let unsent = Some(with_upgrade(Box::new(request), upgrade));
    ExchangeError { cause, unsent, swallowed: None, sent_again }
}

/// As it was handed in.
fn with_upgrade(mut request: Box<Request<Incoming>>, upgrade: Option<OnUpgrade>) -> Box<Request<Incoming>> {
    if let Some(upgrade) = upgrade {
        request.extensions_mut().insert(upgrade);
    }
    request
}

/// A client of HTTP/1.0 may have named no host; the backend, spoken to in HTTP/1.1, must hear one.
fn name_host(request: &mut Request<Incoming>, address: SocketAddr) {
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&address.to_string())
    {
        request.headers_mut().insert(HOST, host);
    }
}

fn finish<E>(
    destination: &Destination,
    mut response: Response<Incoming>,
    reuse: Reuse,
    upgrade: Option<OnUpgrade>,
    hold: Hold,
    in_flight: InFlightGuard,
) -> Result<Response<Body>, ExchangeError<E>> {
    let version = std::mem::replace(response.version_mut(), Version::HTTP_11);
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    clean_response(response.headers_mut(), version, upgraded);
    if !upgraded {
        return Ok(response.map(|incoming| Body::Backend(BackendBody::new(incoming, reuse, hold, in_flight))));
    }
    let Some(client) = upgrade else {
        let cause = ExchangeCause::UnexpectedUpgrade;
        return Err(ExchangeError { cause, unsent: None, swallowed: None, sent_again: false });
    };
    let tunnel = Tunnel {
        client,
        backend: hyper::upgrade::on(&mut response),
        hold,
        in_flight,
        patience: destination.timeouts.tunnel,
        clock: reuse.connections.clock().clone(),
        ending: reuse.connections.ending().clone(),
    };
    tokio::task::spawn_local(tunnel.run());
    Ok(response.map(|_none| Body::Empty))
}
