//! Steps 1 to 5: from a checked request to a ticket, and the handler that goes through all of them.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Response, StatusCode};
use stickler_core::affinity::key::Identifier;
use stickler_core::affinity::recognise::{Carried, PassedOver, Recognised, recognise};
use stickler_core::affinity::source::MaskedAddress;
use stickler_core::document::cluster::{Affinity, Pool, WhenIsolated};
use stickler_core::ids::{AffinityId, BackendId, KeyHash, PoolId};
use stickler_core::lease::Footing;
use stickler_core::routing::{Plan, Refusal, Step, Ticket, Until, choose, decide, decide_located};
use stickler_core::state::{
    BindOutcome, BindRefusal, Binding, Located, MoveReason, Origin, Rebind, RebindOutcome, RebindRefusal,
    SessionKey,
};
use stickler_raft::ProposeError;
use stickler_rt::{Moment, Seed, Shutdown};

use super::chooser::WorkerChooser;
use super::node::{PATIENCE, Proxy, ProxyCounters};
use super::uses::OpenUses;
use super::waiting::wait;
use crate::backend_connections::{BackendConnections, IdleLimits};
use crate::body::Body;
use crate::exchange::Exchanges;
use crate::responses::Answer;
use crate::worker::{ClientRequest, Handler};

/// How soon a client that was refused may try again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// One worker's router: goes through the steps of a request.
pub struct Router {
    pub(super) proxy: Proxy,
    pub(super) exchanges: Exchanges,
    pub(super) chooser: RefCell<WorkerChooser>,
    pub(super) open: Rc<OpenUses>,
    plan: RefCell<Option<Rc<Plan>>>,
}

/// What is fixed about a request once it has a route.
pub(super) struct Routing<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pool_id: PoolId,
    pub(super) pool: &'a Pool,
    pub(super) affinity: Option<(AffinityId, &'a Affinity)>,
    pub(super) recognised: &'a Recognised,
    pub(super) source: IpAddr,
    /// When the request stops waiting for the cluster.
    pub(super) deadline: Moment,
}

impl Routing<'_> {
    pub(super) fn when_isolated(&self) -> WhenIsolated {
        Plan::when_isolated(self.affinity.map(|(_, affinity)| affinity))
    }
}

/// Where a request goes, as steps 1 to 5 found it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decided {
    /// By its session, or without one.
    Ticket(Ticket),
    /// To a chosen backend, which is about to create a session with Stickler's cookie.
    Mint(Ticket),
}

impl Router {
    /// A router for one worker, inside its `LocalSet`. Its connections end with `ending`.
    #[must_use]
    pub fn new(proxy: Proxy, seed: &Seed, ending: Shutdown) -> Self {
        let outside = proxy.cluster.outside();
        let connections = BackendConnections::new(
            Arc::clone(&outside.network),
            outside.clock.clone(),
            IdleLimits::default(),
            ending,
        );
        let tidy = connections.clone();
        tokio::task::spawn_local(async move { tidy.keep_tidy().await });
        let open = OpenUses::new(proxy.uses.clone());
        tokio::task::spawn_local(Rc::clone(&open).watch());
        Self {
            exchanges: Exchanges::new(connections, proxy.in_flight.clone()),
            chooser: RefCell::new(WorkerChooser::new(proxy.in_flight.clone(), seed.child("choice").rng())),
            open,
            plan: RefCell::new(None),
            proxy,
        }
    }

    /// The plan of the current document, made anew when that has changed.
    fn plan(&self) -> Option<Rc<Plan>> {
        let view = self.proxy.cluster.view();
        let mut plan = self.plan.borrow_mut();
        if plan.as_ref().is_none_or(|plan| plan.revision != view.catalog.revision) {
            *plan = Plan::of(&view.catalog).map(Rc::new);
        }
        plan.clone()
    }

    async fn answer(&self, client: ClientRequest) -> Result<Response<Body>, Answer> {
        let plan = self.plan().ok_or_else(no_document)?;
        // Step 1: route.
        let route = plan.route(&client.host, client.request.uri().path()).ok_or_else(no_route)?;
        let (pool_id, pool) = plan.pool(route);
        let affinity = plan.affinity(route);
        // Step 2: affinity key.
        let source = client.peer.ip();
        let recognised = affinity.map_or_else(Recognised::default, |(id, policy)| {
            let request = &client.request;
            let carried = Carried { headers: request.headers(), query: request.uri().query(), source };
            recognise(id, policy, &plan.hasher, &plan.ring, plan.cluster, carried)
        });
        self.count_passed_over(&recognised);
        let deadline = self.proxy.cluster.outside().clock.now() + PATIENCE;
        let routing =
            Routing { plan: &plan, pool_id, pool, affinity, recognised: &recognised, source, deadline };
        self.forward(&routing, client).await
    }

    fn count_passed_over(&self, recognised: &Recognised) {
        for passed_over in &recognised.passed_over {
            if !matches!(passed_over, PassedOver::OversizeIdentifier | PassedOver::TooManyCookies) {
                ProxyCounters::count(&self.proxy.counters.bad_tokens);
            }
        }
    }

    /// Steps 3 to 5: reads the binding, binds, moves and waits, until there is somewhere to go. `failed`
    /// is a backend that could just not be reached.
    pub(super) async fn decide(
        &self,
        routing: &Routing<'_>,
        failed: Option<BackendId>,
    ) -> Result<Decided, Answer> {
        let mut known: Option<(Located, SessionKey)> = None;
        loop {
            let step = self.next_step(routing, known.as_ref());
            match step {
                Step::Forward(ticket) => {
                    self.note_isolated(&ticket);
                    return Ok(Decided::Ticket(ticket));
                }
                Step::Unbound { pool, by_source, mint } => {
                    let ticket = self.choose_unbound(routing, pool, by_source, failed)?;
                    return Ok(if mint { Decided::Mint(ticket) } else { Decided::Ticket(ticket) });
                }
                Step::Refuse(refusal) => return Err(refused(refusal)),
                Step::Hold(until) => {
                    self.hold(until, routing.deadline).await?;
                    // What was known may have passed while it waited; the table is at its newest.
                    if let Some((located, asked)) = known {
                        known =
                            self.proxy.cluster.view().locate(asked).map_or(Some((located, asked)), |_| None);
                    }
                }
                Step::Place { session, pool } => {
                    known = Some(self.place(session, pool, failed).await?);
                }
                Step::Move { located, reason } => {
                    let asked = known.map_or(located.session, |(_, asked)| asked);
                    known = self.rebind(routing, &located, reason).await?.map(|moved| (moved, asked));
                }
            }
        }
    }

    /// Step 3: what to do, by the state at this moment. `known` is what the leader has just answered, which
    /// this node may have yet to apply.
    fn next_step(&self, routing: &Routing<'_>, known: Option<&(Located, SessionKey)>) -> Step {
        let view = self.proxy.cluster.view();
        let standing = self.proxy.cluster.standing();
        let Some((affinity_id, affinity)) = routing.affinity else {
            return Step::Unbound { pool: routing.pool_id, by_source: false, mint: false };
        };
        match known {
            Some((located, asked)) => {
                let newest = view.locate(*asked).filter(|found| found.binding.epoch >= located.binding.epoch);
                decide_located(&view, &standing, affinity, &newest.unwrap_or(*located), *asked)
            }
            None => decide(&view, &standing, routing.pool_id, (affinity_id, affinity), routing.recognised),
        }
    }

    fn note_isolated(&self, ticket: &Ticket) {
        if ticket.session.is_some() && self.proxy.cluster.standing().footing == Footing::Isolated {
            ProxyCounters::count(&self.proxy.counters.isolated);
        }
    }

    /// A backend for a request without a session.
    fn choose_unbound(
        &self,
        routing: &Routing<'_>,
        pool: PoolId,
        by_source: bool,
        failed: Option<BackendId>,
    ) -> Result<Ticket, Answer> {
        let view = self.proxy.cluster.view();
        let key = by_source.then(|| self.source_key(routing)).flatten();
        let mut chooser = self.chooser.borrow_mut();
        let backend = choose(&view, pool, key, failed, &mut *chooser).ok_or_else(no_backend)?;
        let address = view.catalog.backends.get(&backend).ok_or_else(no_backend)?.address;
        Ok(Ticket { backend, address, session: None })
    }

    /// The client's address as a key, for choosing by hash without a session.
    fn source_key(&self, routing: &Routing<'_>) -> Option<KeyHash> {
        let identifier = Identifier::Source(MaskedAddress::of(routing.source, 32, 128));
        routing.plan.hasher.key(AffinityId(0), &identifier).ok()
    }

    async fn hold(&self, until: Until, deadline: Moment) -> Result<(), Answer> {
        ProxyCounters::count(&self.proxy.counters.held);
        if wait(&self.proxy.cluster, until, deadline).await { Ok(()) } else { Err(held_too_long(until)) }
    }

    /// Step 4: binds a key that nobody has seen.
    async fn place(
        &self,
        session: SessionKey,
        pool: PoolId,
        failed: Option<BackendId>,
    ) -> Result<(Located, SessionKey), Answer> {
        let candidate = {
            let view = self.proxy.cluster.view();
            choose(&view, pool, Some(session.key), failed, &mut *self.chooser.borrow_mut())
        };
        let mut ended_before = false;
        loop {
            let origin = Origin::Place { pool, candidate };
            match self.proxy.binder.place(session, origin).await.map_err(not_proposed)? {
                BindOutcome::Bound { session: under, binding, created } => {
                    if created {
                        ProxyCounters::count(&self.proxy.counters.bound);
                    }
                    let located = Located { session: under, binding, usable_from: binding.usable_from };
                    return Ok((located, session));
                }
                // The session ended after this node looked; it looks again and starts another.
                BindOutcome::Refused(BindRefusal::Ended) if !ended_before => ended_before = true,
                BindOutcome::Refused(refusal) => return Err(bind_refused(refusal)),
            }
        }
    }

    /// Step 5: moves a session whose backend is gone. `None` when it has ended meanwhile.
    async fn rebind(
        &self,
        routing: &Routing<'_>,
        located: &Located,
        reason: MoveReason,
    ) -> Result<Option<Located>, Answer> {
        let candidate = {
            let view = self.proxy.cluster.view();
            let except = Some(located.binding.backend);
            // A session whose pool was removed goes to the pool of its route.
            let own = located.binding.pool;
            let pool = view.catalog.pool(own).map_or(routing.pool_id, |_| own);
            choose(&view, pool, Some(located.session.key), except, &mut *self.chooser.borrow_mut())
        };
        let epoch = located.binding.epoch;
        let rebind = Rebind { session: located.session, epoch, reason, candidate };
        let found = |binding: Binding| Located {
            session: located.session,
            binding,
            usable_from: binding.usable_from,
        };
        match self.proxy.binder.rebind(rebind).await.map_err(not_proposed)? {
            RebindOutcome::Moved(binding) => {
                ProxyCounters::count(&self.proxy.counters.moved);
                Ok(Some(found(binding)))
            }
            RebindOutcome::Superseded(binding) => Ok(Some(found(binding))),
            // The backend came back, or the session ended, while this was on its way.
            RebindOutcome::NotBound | RebindOutcome::Refused(RebindRefusal::ReasonDoesNotHold) => Ok(None),
            RebindOutcome::Refused(RebindRefusal::NoBackend | RebindRefusal::BackendFull) => {
                Err(no_backend())
            }
        }
    }
}

impl Handler for Router {
    async fn handle(&self, client: ClientRequest) -> Response<Body> {
        let counters = Arc::clone(&self.proxy.counters);
        ProxyCounters::count(&counters.requests);
        let id = client.id;
        let described = tracing::enabled!(target: "access", tracing::Level::DEBUG)
            .then(|| (client.request.method().clone(), client.request.uri().path().to_owned()));
        let response = Box::pin(self.answer(client)).await.unwrap_or_else(|answer| {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(request = %id, status = answer.status().as_u16(), name = answer.name(), "answered here");
            answer.into_response()
        });
        // Step 8: log.
        if let Some((method, path)) = described {
            let status = response.status().as_u16();
            tracing::debug!(target: "access", request = %id, %method, path, status, "request");
        }
        response
    }
}

fn unavailable(name: &'static str, text: &'static str) -> Answer {
    Answer::new(StatusCode::SERVICE_UNAVAILABLE, name, text).retry_after(TRY_AGAIN)
}

fn no_document() -> Answer {
    unavailable("no-document", "this node has no cluster document yet")
}

fn no_route() -> Answer {
    Answer::new(StatusCode::NOT_FOUND, "no-route", "no route matches this host and path")
}

pub(super) fn no_backend() -> Answer {
    unavailable("no-backend", "no backend takes this request")
}

fn held_too_long(until: Until) -> Answer {
    match until {
        Until::Stable(_) => unavailable("moving", "the session is being moved"),
        Until::Epoch(_) | Until::Footing => unavailable("catching-up", "this node is catching up"),
    }
}

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::NoIdentifier => {
            Answer::new(StatusCode::FORBIDDEN, "no-identifier", "the request names no session")
        }
        Refusal::BackendGone => unavailable("backend-gone", "the backend of this session is away"),
        Refusal::Isolated => unavailable("isolated", "this node can't reach the cluster"),
        Refusal::NoQuorum => unavailable("no-quorum", "the cluster can't take new sessions right now"),
    }
}

fn bind_refused(refusal: BindRefusal) -> Answer {
    match refusal {
        BindRefusal::NoBackend => no_backend(),
        BindRefusal::BackendFull => unavailable("backends-full", "no backend has room for another session"),
        BindRefusal::AffinityFull => unavailable("affinity-full", "there is no room for another session"),
        BindRefusal::TableFull => unavailable("table-full", "there is no room for another session"),
        BindRefusal::BackendUnusable
        | BindRefusal::OnAnotherBackend
        | BindRefusal::Ended
        | BindRefusal::Late
        | BindRefusal::Unknown => unavailable("bind-refused", "the session could not be bound"),
    }
}

pub(super) fn not_proposed(error: ProposeError) -> Answer {
    match error {
        ProposeError::Unavailable | ProposeError::Stopped => {
            unavailable("no-quorum", "the cluster can't take new sessions right now")
        }
        ProposeError::Unknown => {
            unavailable("unknown-outcome", "it is not known whether the session was bound")
        }
        ProposeError::Overloaded => unavailable("overloaded", "too many sessions are being bound"),
    }
}
