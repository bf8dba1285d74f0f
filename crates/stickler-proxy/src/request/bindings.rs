//! Steps 4 and 5: what a request has the cluster do about its session before it can go on.

use stickler_core::document::cluster::WhenFull;
use stickler_core::ids::BackendId;
use stickler_core::routing::{ChosenFor, Held, choose};
use stickler_core::state::{
    BindOutcome, BindRefusal, Binding, Located, MoveReason, Origin, Rebind, RebindOutcome, RebindRefusal,
    SessionKey,
};

use super::answers::{no_backend, not_proposed, unavailable};
use super::node::ProxyCounters;
use super::steps::{Router, Routing};
use crate::responses::Answer;

/// What came of binding a session before its request goes on.
pub(super) enum Placed {
    /// It has a binding.
    Bound(Located),
    /// The session that the token names has ended.
    NotThere,
    /// There is no room for it, and the affinity says that its request goes without a session.
    WithoutRoom,
}

impl Router {
    /// Step 4: binds a key that nobody has seen, where it is said to be held already or where this node chooses.
    pub(super) async fn place(
        &self,
        routing: &Routing<'_>,
        session: SessionKey,
        held: Held,
        failed: Option<BackendId>,
    ) -> Result<Placed, Answer> {
        let adopt = match held {
            Held::Named(backend) if failed != Some(backend) => Some(Origin::Adopt { backend }),
            Held::Named(_) | Held::Unknown => None,
            Held::Token { backend, issued } => {
                Some(Origin::Return { pool: routing.pools.drawn, backend, issued })
            }
        };
        let Some(origin) = adopt else { return self.place_anywhere(routing, session, failed).await };
        match self.bind(session, origin).await? {
            Ok(located) => Ok(Placed::Bound(located)),
            Err(refusal @ (BindRefusal::AffinityFull | BindRefusal::TableFull)) => {
                without_room(routing, refusal)
            }
            Err(BindRefusal::Ended) if matches!(held, Held::Token { .. }) => Ok(Placed::NotThere),
            // Its session is still to be had, by and by: a new one would take it from the client.
            Err(refusal) if matches!(held, Held::Token { .. }) => Err(bind_refused(refusal)),
            Err(_) => self.place_anywhere(routing, session, failed).await,
        }
    }

    async fn place_anywhere(
        &self,
        routing: &Routing<'_>,
        session: SessionKey,
        failed: Option<BackendId>,
    ) -> Result<Placed, Answer> {
        let chosen =
            self.choose(routing, &self.proxy.cluster.view(), ChosenFor::Session(session.key), failed);
        let pool = chosen.map_or(routing.pools.drawn, |(pool, _)| pool);
        let candidate = chosen.map(|(_, backend)| backend);
        let mut ended_before = false;
        loop {
            match self.bind(session, Origin::Place { pool, candidate }).await? {
                Ok(located) => return Ok(Placed::Bound(located)),
                // The session ended after this node looked; it looks again and starts another.
                Err(BindRefusal::Ended) if !ended_before => ended_before = true,
                Err(refusal @ (BindRefusal::AffinityFull | BindRefusal::TableFull)) => {
                    return without_room(routing, refusal);
                }
                Err(refusal) => return Err(bind_refused(refusal)),
            }
        }
    }

    async fn bind(
        &self,
        session: SessionKey,
        origin: Origin,
    ) -> Result<Result<Located, BindRefusal>, Answer> {
        match self.proxy.binder.place(session, origin).await.map_err(not_proposed)? {
            BindOutcome::Bound { session: under, binding, created } => {
                if created {
                    ProxyCounters::count(&self.proxy.counters.bound);
                }
                Ok(Ok(Located { session: under, binding, usable_from: binding.usable_from }))
            }
            BindOutcome::Refused(refusal) => Ok(Err(refusal)),
        }
    }

    /// Step 5: moves a session whose backend is gone. `None` when it has ended meanwhile.
    pub(super) async fn rebind(
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
            let pool = view.catalog.pool(own).map_or(routing.pools.drawn, |_| own);
            let now = view.time.max(self.proxy.cluster.standing().time);
            let chosen_for = ChosenFor::Session(located.session.key);
            choose((&view, now), pool, chosen_for, except, &mut *self.chooser.borrow_mut())
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
            // No room at home any more: it stays, and this node is about to see why.
            RebindOutcome::Refused(_) if reason == MoveReason::BackendBack => Ok(None),
            // The others are answers to operators alone.
            RebindOutcome::Refused(_) => Err(no_backend()),
        }
    }
}

fn without_room(routing: &Routing<'_>, refusal: BindRefusal) -> Result<Placed, Answer> {
    match routing.policy.map(|policy| policy.affinity.when_full) {
        Some(WhenFull::Hash) => Ok(Placed::WithoutRoom),
        _ => Err(bind_refused(refusal)),
    }
}

pub(super) fn bind_refused(refusal: BindRefusal) -> Answer {
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
