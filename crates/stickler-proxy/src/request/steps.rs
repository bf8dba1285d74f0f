//! Steps 1 to 5: from a checked request to a ticket, and the handler that goes through all of them.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Response, Uri};
use stickler_core::affinity::ignore::ignores;
use stickler_core::affinity::recognise::{Carried, PassedOver, Policy, Recognised};
use stickler_core::client_address::Greeting;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::{Mode, Route, WhenIsolated};
use stickler_core::ids::{BackendId, PoolId};
use stickler_core::lease::Footing;
use stickler_core::routing::{
    ChooseBy, Chooser, ChosenFor, Mint, Plan, Pools, Refusal, Routed, Step, Ticket, Until, choose,
    choose_by_hash, decide, decide_located,
};
use stickler_core::state::{Located, SessionKey, Unbind, View};
use stickler_rt::{Moment, Seed, Shutdown};

use super::answers::{held_too_long, no_backend, no_document, no_route, no_secrets, refused};
use super::bindings::Placed;
use super::chooser::WorkerChooser;
use super::node::{PATIENCE, Proxy, ProxyCounters};
use super::source::believed_source;
use super::uses::OpenUses;
use super::waiting::wait;
use super::weights::WorkerWeights;
use crate::backend_connections::{BackendConnections, IdleLimits};
use crate::body::Body;
use crate::exchange::Exchanges;
use crate::responses::Answer;
use crate::worker::{ClientRequest, Handler};

/// One worker's router: goes through the steps of a request.
pub struct Router {
    pub(super) proxy: Proxy,
    pub(super) exchanges: Exchanges,
    pub(super) chooser: RefCell<WorkerChooser>,
    pub(super) open: Rc<OpenUses>,
    pub(super) weights: Rc<WorkerWeights>,
    plan: RefCell<Option<Rc<Plan>>>,
}

/// What is fixed about a request once it has a route.
pub(super) struct Routing<'a> {
    pub(super) plan: &'a Plan,
    pub(super) route: &'a Route,
    pub(super) pools: &'a Pools,
    pub(super) policy: Option<Policy<'a>>,
    pub(super) recognised: &'a Recognised,
    /// The request needs no session.
    pub(super) ignored: bool,
    pub(super) source: IpAddr,
    /// The request may begin a session, as far as its client's rate goes.
    pub(super) admitted: Cell<bool>,
    /// When the request stops waiting for the cluster.
    pub(super) deadline: Cell<Moment>,
    /// What the client asks for, where it may be told to go elsewhere.
    pub(super) asked: &'a Uri,
}

impl Routing<'_> {
    /// Whether the affinity only looks on.
    pub(super) fn observes(&self) -> bool {
        !self.ignored && self.policy.is_some_and(|policy| policy.affinity.mode == Mode::Observe)
    }

    pub(super) fn when_isolated(&self) -> WhenIsolated {
        Plan::when_isolated(self.policy.map(|policy| policy.affinity))
    }
}

/// Where a request goes, as steps 1 to 5 found it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decided {
    /// By its session, or without one.
    Ticket(Ticket),
    /// To a chosen backend, with a session by Stickler's cookie that is bound meanwhile.
    Mint(Ticket),
    /// To a chosen backend, with a session by Stickler's cookie that has no record yet.
    MintUnrecorded(Ticket),
    /// To a chosen backend, whatever its session says: the affinity only observes.
    Observed(Ticket, Routed),
}

impl Decided {
    pub(super) const fn ticket(&self) -> Ticket {
        match self {
            Self::Ticket(ticket)
            | Self::Mint(ticket)
            | Self::MintUnrecorded(ticket)
            | Self::Observed(ticket, _) => *ticket,
        }
    }
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
        let quiet = proxy.quiet.join();
        tokio::task::spawn_local(quiet.watch(proxy.cluster.clone(), Rc::clone(&open)));
        let weights = WorkerWeights::new(proxy.weights.clone());
        tokio::task::spawn_local(Rc::clone(&weights).gather());
        Self {
            exchanges: Exchanges::new(connections, proxy.in_flight.clone()),
            chooser: RefCell::new(WorkerChooser::new(&proxy, seed.child("choice").rng())),
            open,
            weights,
            plan: RefCell::new(None),
            proxy,
        }
    }

    /// The plan of the current document and ring, made anew when either has changed.
    pub(super) fn plan(&self) -> Result<Rc<Plan>, Answer> {
        let view = self.proxy.cluster.view();
        let mut plan = self.plan.borrow_mut();
        if plan.as_ref().is_none_or(|plan| !plan.is_of(&view.catalog)) {
            *plan = None;
            *plan = Plan::of(&view.catalog, self.proxy.cluster.secrets()).map_err(no_secrets)?.map(Rc::new);
        }
        plan.clone().ok_or_else(no_document)
    }

    async fn answer(&self, mut client: ClientRequest) -> Result<Response<Body>, Answer> {
        let deadline = self.proxy.cluster.outside().clock.now() + PATIENCE;
        loop {
            // Read before the ring is. A key seals once the stable index has passed it, so that a node which
            // holds a lease when a token comes has the token's key: one that it does not know is forged or
            // retired, and the client a new one.
            let footing = self.proxy.cluster.standing().footing;
            let plan = self.plan()?;
            // Step 1: route.
            let route = plan.route(&client.host, client.request.uri().path()).ok_or_else(no_route)?;
            let policy = plan.policy(route);
            // Step 2: affinity key.
            let source = believed_source(&plan, &mut client);
            let uri = client.request.uri().clone();
            let headers = client.request.headers();
            let ignored = policy.is_some_and(|policy| ignores(policy.affinity, uri.path()));
            let recognised = policy.filter(|_| !ignored).map_or_else(Recognised::default, |policy| {
                let carried = Carried { headers, path: uri.path(), query: uri.query(), source };
                plan.recognise(&policy, carried)
            });
            // A node that is behind looks again with the ring that it has then.
            if footing == Footing::CatchingUp && recognised.has_unknown_key() {
                self.hold(Until::Footing, deadline).await?;
                continue;
            }
            self.count_passed_over(&recognised);
            let draw = plan.draw(policy.as_ref(), &recognised, source);
            let pools = plan.pools(route, draw.unwrap_or_else(|| self.chooser.borrow_mut().random()));
            let routing = Routing {
                plan: &plan,
                route,
                pools: &pools,
                policy,
                recognised: &recognised,
                ignored,
                source,
                admitted: Cell::new(false),
                deadline: Cell::new(deadline),
                asked: &uri,
            };
            return self.forward(&routing, client).await;
        }
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
        if routing.observes() {
            return self.observe(routing, failed);
        }
        let mut recognised = Cow::Borrowed(routing.recognised);
        let mut known: Option<(Located, SessionKey)> = None;
        loop {
            let step = self.next_step(routing, &recognised, known.as_ref());
            match step {
                Step::Forward(ticket) => {
                    if deliberate::active(Fault::CountKnownSessions) {
                        self.admit(routing)?;
                    }
                    if deliberate::active(Fault::MoveEjected) && self.proxy.is_ejected(ticket.backend) {
                        let elsewhere = self.choose_unbound(routing, ChooseBy::Algorithm, failed)?;
                        return Ok(Decided::Ticket(Ticket { session: ticket.session, ..elsewhere }));
                    }
                    return Ok(Decided::Ticket(ticket));
                }
                Step::Unbound { by, mint, .. } => {
                    if mint == Mint::Recorded {
                        self.admit(routing)?;
                    }
                    let ticket = self.choose_unbound(routing, by, failed)?;
                    return Ok(match mint {
                        Mint::No => Decided::Ticket(ticket),
                        Mint::Recorded => Decided::Mint(ticket),
                        Mint::Unrecorded => Decided::MintUnrecorded(ticket),
                    });
                }
                Step::Refuse(refusal) => return Err(refused(routing, refusal)),
                Step::End { located } => {
                    let epoch = located.binding.epoch;
                    self.proxy.binder.unbind(Unbind { session: located.session, epoch });
                    return Err(refused(routing, Refusal::SessionLost));
                }
                Step::Hold(Until::Back { backend, until }) => {
                    self.wait_for_backend(routing, backend, until).await?;
                    known = None;
                }
                // Recognised on a footing that is gone. With the next one comes a ring that may have the key.
                Step::Hold(until @ Until::Footing) if routing.recognised.has_unknown_key() => {
                    return Err(held_too_long(until));
                }
                Step::Hold(until) => {
                    self.hold(until, routing.deadline.get()).await?;
                    // What was known may have passed while it waited; the table is at its newest.
                    if let Some((located, asked)) = known {
                        known =
                            self.proxy.cluster.view().locate(asked).map_or(Some((located, asked)), |_| None);
                    }
                }
                Step::Place { session, held, .. } => {
                    self.admit(routing)?;
                    known = match self.place(routing, session, held, failed).await? {
                        Placed::Bound(located) => Some((located, session)),
                        // The token brings nothing back: whoever sent it is a new client.
                        Placed::NotThere => {
                            recognised = Cow::Owned(recognised.without_unrecorded());
                            None
                        }
                        Placed::WithoutRoom => {
                            let by = ChooseBy::Key(session.key);
                            return Ok(Decided::Ticket(self.choose_unbound(routing, by, failed)?));
                        }
                    };
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
    pub(super) fn next_step(
        &self,
        routing: &Routing<'_>,
        recognised: &Recognised,
        known: Option<&(Located, SessionKey)>,
    ) -> Step {
        let view = self.proxy.cluster.view();
        let standing = self.proxy.cluster.standing();
        let Some(policy) = routing.policy.filter(|_| !routing.ignored) else {
            return Step::Unbound { pool: routing.pools.drawn, by: ChooseBy::WithoutCounts, mint: Mint::No };
        };
        match known {
            Some((located, asked)) => {
                let newest = view.locate(*asked).filter(|found| found.binding.epoch >= located.binding.epoch);
                decide_located(&view, &standing, policy.affinity, &newest.unwrap_or(*located), *asked)
            }
            None => {
                let affinity = (policy.id, policy.affinity);
                decide(&view, &standing, routing.pools, affinity, recognised)
            }
        }
    }

    /// A backend for a request without a session.
    pub(super) fn choose_unbound(
        &self,
        routing: &Routing<'_>,
        by: ChooseBy,
        failed: Option<BackendId>,
    ) -> Result<Ticket, Answer> {
        let view = self.proxy.cluster.view();
        let (key, chosen_for) = match by {
            ChooseBy::Algorithm => (None, ChosenFor::NewSession),
            ChooseBy::WithoutCounts => (None, ChosenFor::Request),
            ChooseBy::Source => (routing.plan.source_key(routing.source), ChosenFor::Request),
            ChooseBy::Key(key) => (Some(key), ChosenFor::Request),
        };
        let now = view.time.max(self.proxy.cluster.standing().time);
        let by_hash = |pool, key| choose_by_hash((&view, now), pool, key, failed, &*self.chooser.borrow());
        let backend = match key {
            Some(key) => routing.pools.for_new().find_map(|pool| by_hash(pool, key)),
            None => self.choose(routing, &view, chosen_for, failed).map(|(_, backend)| backend),
        };
        let backend = backend.ok_or_else(no_backend)?;
        let address = view.catalog.backends.get(&backend).ok_or_else(no_backend)?.address;
        Ok(Ticket { backend, address, session: None, unrecorded: None })
    }

    /// A backend of the pool that was drawn, or of the next one that has any.
    pub(super) fn choose(
        &self,
        routing: &Routing<'_>,
        view: &View,
        chosen_for: ChosenFor,
        failed: Option<BackendId>,
    ) -> Option<(PoolId, BackendId)> {
        let chooser = &mut *self.chooser.borrow_mut();
        let now = view.time.max(self.proxy.cluster.standing().time);
        routing
            .pools
            .for_new()
            .find_map(|pool| Some((pool, choose((view, now), pool, chosen_for, failed, chooser)?)))
    }

    async fn hold(&self, until: Until, deadline: Moment) -> Result<(), Answer> {
        ProxyCounters::count(&self.proxy.counters.held);
        if wait(&self.proxy.cluster, until, deadline).await { Ok(()) } else { Err(held_too_long(until)) }
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

    fn greeting(&self, listener: &str, peer: IpAddr) -> Greeting {
        self.greeting_at(listener, peer)
    }

    fn refused_connection(&self) {
        ProxyCounters::count(&self.proxy.counters.refused_connections);
    }
}
