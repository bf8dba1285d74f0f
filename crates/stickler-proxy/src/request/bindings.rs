//! Steps 4 and 5: what a request has the cluster do about its session before it can go on.

use stickler_core::ids::BackendId;
use stickler_core::routing::choose;
use stickler_core::state::{
    BindOutcome, BindRefusal, Binding, Located, MoveReason, Origin, Rebind, RebindOutcome, RebindRefusal,
    SessionKey,
};

use super::node::ProxyCounters;
use super::steps::{Router, Routing, no_backend, not_proposed, unavailable};
use crate::responses::Answer;

impl Router {
    /// Step 4: binds a key that nobody has seen to the backend that it names. `None` when that one can't have it.
    pub(super) async fn adopt(
        &self,
        session: SessionKey,
        origin: Origin,
    ) -> Result<Option<(Located, SessionKey)>, Answer> {
        match self.proxy.binder.place(session, origin).await.map_err(not_proposed)? {
            BindOutcome::Bound { session: under, binding, created } => {
                if created {
                    ProxyCounters::count(&self.proxy.counters.bound);
                }
                let located = Located { session: under, binding, usable_from: binding.usable_from };
                Ok(Some((located, session)))
            }
            BindOutcome::Refused(_) => Ok(None),
        }
    }

    /// Step 4: binds a key that nobody has seen.
    pub(super) async fn place(
        &self,
        routing: &Routing<'_>,
        session: SessionKey,
        failed: Option<BackendId>,
    ) -> Result<(Located, SessionKey), Answer> {
        let chosen = self.choose(routing, &self.proxy.cluster.view(), Some(session.key), failed);
        let pool = chosen.map_or(routing.pools.drawn, |(pool, _)| pool);
        let candidate = chosen.map(|(_, backend)| backend);
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
            // The others are answers to operators alone.
            RebindOutcome::Refused(_) => Err(no_backend()),
        }
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
