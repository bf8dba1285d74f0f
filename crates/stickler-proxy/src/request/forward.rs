//! Step 6: sends the request to the backend that was decided on, and decides again where that is safe.

use std::cell::Cell;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use stickler_core::affinity::cookie_header::remove_cookie;
use stickler_core::affinity::mint::{Minted, mint, own_cookie};
use stickler_core::affinity::recognise::Policy;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::Affinity;
use stickler_core::ids::{AffinityId, BackendId, Epoch, KeyHash, LogIndex};
use stickler_core::lease::Footing;
use stickler_core::routing::{Stale, Ticket, validate};
use stickler_core::state::{BindOutcome, Origin, SessionKey};
use stickler_raft::ProposeError;

use super::answers::no_backend;
use super::node::ProxyCounters;
use super::own_cookie::Minting;
use super::queue::{InFlightPlace, Turn};
use super::retries::Tries;
use super::steps::{Decided, Router, Routing};
use super::uses::{OpenBy, OpenPlace};
use crate::body::Body;
use crate::exchange::{Destination, Timeouts};
use crate::exchange_error::{ExchangeCause, ExchangeError};
use crate::hop_by_hop::{ClientSide, prepare_request};
use crate::responses::Answer;
use crate::worker::ClientRequest;

/// Fencing: the session's opaque handle, and the epoch by which the request was routed. A backend that
/// remembers the highest epoch of a handle can refuse a request that was overtaken.
const SESSION: HeaderName = HeaderName::from_static("stickler-session");
const EPOCH: HeaderName = HeaderName::from_static("stickler-epoch");

/// Longest wait for the next piece of a client's request body.
const REQUEST_BODY: Duration = Duration::from_secs(60);

/// Longest silence on an upgraded connection.
const TUNNEL: Duration = Duration::from_secs(3600);

/// Pause before a bound session's backend is tried again, while the voters probe it.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What came of the bind of a session with Stickler's cookie; `None` where none was asked for.
pub(super) type Bound = Option<Result<BindOutcome, ProposeError>>;

/// One attempt to send a request.
pub(super) struct Attempt {
    /// Goes with the exchange until it ends.
    in_flight: Cell<Option<InFlightPlace>>,
    /// The request was sent before: no connection that may be closing gets it again.
    only_new: bool,
    /// It has waited for room at its backend.
    waited: bool,
}

/// What came of an exchange, with the bind that ran beside it.
pub(super) struct Exchanged {
    pub(super) response: Response<Body>,
    pub(super) ticket: Ticket,
    pub(super) minting: Option<(Minting, Bound)>,
    /// The applied index before the request was sent.
    pub(super) seen: LogIndex,
    /// For a session that is known only now.
    pub(super) place: OpenPlace,
}

impl Router {
    /// Decides and sends, again and again while that is safe: nothing was sent, or nothing is done twice by it; and a
    /// session goes to another backend only by a committed move.
    pub(super) async fn forward(
        &self,
        routing: &Routing<'_>,
        client: ClientRequest,
    ) -> Result<Response<Body>, Answer> {
        let mut request = client.request;
        prepare_request(&mut request, &ClientSide { address: client.peer.ip(), scheme: "http" });
        if let Some((_, attributes)) = routing.policy.and_then(|policy| own_cookie(policy.affinity)) {
            remove_cookie(request.headers_mut(), &attributes.name);
        }
        let (mut failed, mut queue_until, mut tries) = (None, None, Tries::default());
        loop {
            let went_elsewhere = failed.is_some();
            let decided = self.decide(routing, failed).await?;
            let ticket = decided.ticket();
            let pool = self.pool_of(ticket.backend).unwrap_or(routing.pools.drawn);
            self.count_request(&mut tries, pool);
            let attempt = match self.wait_for_turn(routing, &ticket, &mut queue_until).await? {
                Turn::Taken(in_flight) => Attempt {
                    in_flight: Cell::new(in_flight),
                    only_new: tries.was_sent(),
                    waited: queue_until.is_some(),
                },
                Turn::DecideAgain => continue,
            };
            let came = self.send(routing, &decided, request, &attempt).await;
            self.note_exchange(routing, ticket.backend, came.as_ref());
            let error = match came {
                Ok(exchanged) => return self.reveal(routing, exchanged).await,
                Err(error) => error,
            };
            let answer = error.cause.answer();
            let stale = matches!(error.cause, ExchangeCause::Invalid(Stale));
            let settings = routing.plan.pool_settings(routing.route, Some(pool));
            let Some(again) = self.again(routing, (pool, settings), &mut tries, error) else {
                return Err(answer.unwrap_or_else(no_backend));
            };
            request = *again;
            if !stale {
                failed = self.after_failure(&ticket, went_elsewhere).await;
            }
        }
    }

    /// A bound session waits for the voters' verdict. Anything else goes elsewhere at once, and only then
    /// waits: where no backend can be reached, it must not run from one to the other as fast as they refuse.
    async fn after_failure(&self, ticket: &Ticket, went_elsewhere: bool) -> Option<BackendId> {
        if ticket.session.is_some() || went_elsewhere {
            let mut changes = self.proxy.cluster.changes();
            changes.borrow_and_update();
            let _ = tokio::time::timeout(RETRY_PAUSE, changes.changed()).await;
        }
        ticket.session.is_none().then_some(ticket.backend)
    }

    async fn send(
        &self,
        routing: &Routing<'_>,
        decided: &Decided,
        mut request: Request<Incoming>,
        attempt: &Attempt,
    ) -> Result<Exchanged, ExchangeError<Stale>> {
        let seen = self.proxy.cluster.view().applied;
        let place = OpenPlace::default();
        let by = (&place, attempt);
        match decided {
            Decided::Ticket(ticket) => {
                match (&ticket.session, ticket.unrecorded) {
                    (Some(routed), _) => fence(&mut request, routed.session.key, Some(routed.epoch)),
                    (None, Some(key)) => fence(&mut request, key, None),
                    (None, None) if deliberate::active(Fault::PassForgedFence) => {}
                    (None, None) => unfence(&mut request),
                }
                let response = self.exchange(routing, ticket, request, by, || ()).await?;
                Ok(Exchanged { response, ticket: *ticket, minting: None, seen, place })
            }
            Decided::Mint(ticket) => {
                let Some(policy) = routing.policy else {
                    let response = self.exchange(routing, ticket, request, by, || ()).await?;
                    return Ok(Exchanged { response, ticket: *ticket, minting: None, seen, place });
                };
                let (response, minting, bound) =
                    self.send_minting(routing, ticket, request, by, policy.id, seen).await?;
                let minting = Some((minting, Some(bound)));
                Ok(Exchanged { response, ticket: *ticket, minting, seen, place })
            }
            Decided::Observed(ticket, routed) => {
                if let Some(policy) = &routing.policy {
                    self.proxy.uses.used(routed, policy.affinity.idle_timeout);
                }
                unfence(&mut request);
                let response = self.exchange(routing, ticket, request, by, || ()).await?;
                Ok(Exchanged { response, ticket: *ticket, minting: None, seen, place })
            }
            Decided::MintUnrecorded(ticket) => {
                let minting = routing.policy.map(|policy| self.mint(routing, policy.id));
                match &minting {
                    Some(minting) => fence(&mut request, minting.session.key, None),
                    None => unfence(&mut request),
                }
                let response = self.exchange(routing, ticket, request, by, || ()).await?;
                let minting = minting.map(|minting| (minting, None));
                Ok(Exchanged { response, ticket: *ticket, minting, seen, place })
            }
        }
    }

    /// Sends the first request of a session with Stickler's cookie, and binds the session beside the
    /// backend's work: from the moment at which the request leaves, so that a backend that can't be
    /// reached costs no record.
    async fn send_minting(
        &self,
        routing: &Routing<'_>,
        ticket: &Ticket,
        mut request: Request<Incoming>,
        by: (&OpenPlace, &Attempt),
        affinity_id: AffinityId,
        seen: LogIndex,
    ) -> Result<(Response<Body>, Minting, Result<BindOutcome, ProposeError>), ExchangeError<Stale>> {
        let minting = self.mint(routing, affinity_id);
        fence(&mut request, minting.session.key, None);
        let bind = self.proxy.binder.bind(minting.session, Origin::Adopt { backend: ticket.backend }, seen);
        let (leaves, left) = tokio::sync::oneshot::channel::<()>();
        let mut leaves = Some(leaves);
        let bound = async {
            // Dropped unsent when the exchange fails before anything was sent.
            if left.await.is_err() {
                return Err(ProposeError::Unavailable);
            }
            bind.await
        };
        let sent = self.exchange(routing, ticket, request, by, || {
            if let Some(leaves) = leaves.take() {
                let _ = leaves.send(());
            }
        });
        tokio::pin!(bound, sent);
        let mut outcome = None;
        let response = loop {
            tokio::select! {
                biased;
                response = &mut sent => break response?,
                bound = &mut bound, if outcome.is_none() => outcome = Some(bound),
            }
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => bound.await,
        };
        Ok((response, minting, outcome))
    }

    /// Names a new session.
    fn mint(&self, routing: &Routing<'_>, affinity: AffinityId) -> Minting {
        let random = self.chooser.borrow_mut().fill();
        let Minted { handle, key } = mint(affinity, &routing.plan.hasher, random);
        Minting { handle, session: SessionKey { affinity, key } }
    }

    /// One exchange; the ticket is validated right before a byte leaves, and `leaving` is told.
    async fn exchange(
        &self,
        routing: &Routing<'_>,
        ticket: &Ticket,
        request: Request<Incoming>,
        (place, attempt): (&OpenPlace, &Attempt),
        mut leaving: impl FnMut(),
    ) -> Result<Response<Body>, ExchangeError<Stale>> {
        let settings = routing.plan.pool_settings(routing.route, self.pool_of(ticket.backend));
        let destination = Destination {
            backend: ticket.backend,
            address: ticket.address,
            timeouts: Timeouts {
                connect: settings.connect_timeout,
                response: settings.response_timeout,
                request_body: REQUEST_BODY,
                tunnel: TUNNEL,
            },
            retry: settings.retry,
            only_new: attempt.only_new,
        };
        let hold = match attempt.in_flight.take() {
            Some(in_flight) => place.hold().with_guard(in_flight),
            None => place.hold(),
        };
        self.open_by_ticket(routing, ticket, place);
        let when_isolated = routing.when_isolated();
        let cluster = &self.proxy.cluster;
        let sent_at = Cell::new(cluster.outside().clock.now());
        let last_look = || {
            // The lease first: a snapshot may replace the table in between.
            let standing = cluster.standing();
            let valid = validate(ticket, &cluster.view(), &standing, when_isolated);
            let from_queue = attempt.waited && deliberate::active(Fault::SendStaleFromQueue);
            if !from_queue && !deliberate::active(Fault::SkipLastLook) {
                valid?;
            }
            if standing.footing == Footing::Isolated {
                self.note_isolated(routing, ticket);
            }
            leaving();
            sent_at.set(cluster.outside().clock.now());
            Ok(())
        };
        let response = self.exchanges.exchange(&destination, hold, request, last_look).await?;
        self.proxy.times.note(ticket.backend, cluster.outside().clock.now().since(sent_at.get()));
        self.notice_another_life(ticket.backend, settings, response.headers());
        Ok(response)
    }

    /// A request leaves without a lease: its session may be another one's business by now.
    fn note_isolated(&self, routing: &Routing<'_>, ticket: &Ticket) {
        if ticket.session.is_some() {
            ProxyCounters::count(&self.proxy.counters.isolated);
        }
        let affinity = routing.policy.map(|policy| policy.id);
        let unrecorded = || Some(SessionKey { affinity: affinity?, key: ticket.unrecorded? });
        self.proxy.isolated.note(ticket, unrecorded);
    }

    /// Counts the exchange as use of its session until it ends.
    fn open_by_ticket(&self, routing: &Routing<'_>, ticket: &Ticket, place: &OpenPlace) {
        if let (Some(routed), Some(Policy { affinity, .. })) = (&ticket.session, routing.policy) {
            self.proxy.uses.used(routed, affinity.idle_timeout);
            self.weights.count(routed.session);
            self.open_by(affinity, (routed.session, routed.epoch), ticket.backend, place);
        }
    }

    /// The exchange goes on as long as this epoch of a session does, and the affinity's grace.
    pub(super) fn open_by(
        &self,
        affinity: &Affinity,
        (session, epoch): (SessionKey, Epoch),
        backend: BackendId,
        place: &OpenPlace,
    ) {
        let (idle_timeout, grace) = (affinity.idle_timeout, affinity.alias_grace);
        place.take(&self.open, OpenBy { session, epoch, backend, idle_timeout, grace });
    }
}

fn fence(request: &mut Request<Incoming>, key: KeyHash, epoch: Option<Epoch>) {
    unfence(request);
    let headers = request.headers_mut();
    if let Ok(handle) = HeaderValue::try_from(key.to_string()) {
        headers.insert(SESSION, handle);
    }
    if let Some(epoch) = epoch {
        headers.insert(EPOCH, HeaderValue::from(epoch.0));
    }
}

/// An earlier attempt may have left its own.
fn unfence(request: &mut Request<Incoming>) {
    request.headers_mut().remove(SESSION);
    request.headers_mut().remove(EPOCH);
}
