//! Step 7, identifiers that the application gives out: bound before the response leaves, or held back.

use http::Response;
use stickler_core::affinity::learn::{Lesson, learn, withhold};
use stickler_core::affinity::recognise::{Found, Policy};
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::Mode;
use stickler_core::routing::{Routed, Ticket};
use stickler_core::state::{BindOutcome, Origin, SessionKey};

use super::answers::not_proposed;
use super::forward::Exchanged;
use super::node::ProxyCounters;
use super::reveal::{Did, Revealed};
use super::steps::{Router, Routing};
use crate::body::Body;
use crate::responses::Answer;

impl Router {
    /// Binds the identifier that the application gave in this response, or ends the one it took back. When the
    /// session of the request has `ended`, a new identifier is a new session's.
    pub(super) async fn reveal_learned(
        &self,
        routing: &Routing<'_>,
        policy: &Policy<'_>,
        ended: bool,
        exchanged: &mut Exchanged,
    ) -> Result<Option<Revealed>, Answer> {
        let ticket = exchanged.ticket;
        let used = used(routing, &ticket);
        let now = self.seconds_since_1970();
        let lesson = learn(policy, used, exchanged.response.headers(), now);
        let from = ticket.session.filter(|_| !ended);
        match (policy.affinity.mode, lesson) {
            (Mode::Observe, Lesson::NewIdentifier { key, .. }) => {
                let origin = Origin::Adopt { backend: ticket.backend };
                self.note(SessionKey { affinity: policy.id, key }, origin, exchanged.seen);
                return Ok(None);
            }
            // Nothing new begins there; a session that is kept may change its identifier.
            (Mode::Observe, _) => return Ok(None),
            (Mode::Retire, Lesson::NewIdentifier { .. } | Lesson::Unkeepable { .. }) if from.is_none() => {
                return Ok(None);
            }
            (Mode::Keep | Mode::Retire, _) => {}
        }
        match lesson {
            Lesson::Nothing | Lesson::SameIdentifier => Ok(None),
            Lesson::Unkeepable { method } => {
                self.withhold(policy, method, &mut exchanged.response);
                Ok(Some((Did::Withheld, None)))
            }
            Lesson::Ended { key } => {
                if let Some(routed) = ticket.session.filter(|routed| routed.asked.key == key && !ended) {
                    self.end(routed.session, routed.epoch);
                }
                Ok(Some((Did::Ended, None)))
            }
            Lesson::NewIdentifier { method, key } => {
                let session = SessionKey { affinity: policy.id, key };
                let bound = self.bind_learned(routing, policy, exchanged, from, session).await?;
                if bound.0 == Did::Withheld {
                    self.withhold(policy, method, &mut exchanged.response);
                }
                Ok(Some(bound))
            }
        }
    }

    async fn bind_learned(
        &self,
        routing: &Routing<'_>,
        policy: &Policy<'_>,
        exchanged: &Exchanged,
        from: Option<Routed>,
        session: SessionKey,
    ) -> Result<Revealed, Answer> {
        let (backend, seen) = (exchanged.ticket.backend, exchanged.seen);
        // The response is there already: it leaves without what its client may not have.
        if from.is_none() && self.admit(routing).is_err() {
            return Ok((Did::Withheld, None));
        }
        let origin = from.map_or(Origin::Adopt { backend }, |routed| Origin::Inherit {
            from: routed.session.key,
            epoch: routed.epoch,
            backend,
        });
        if deliberate::active(Fault::RevealBeforeCommit) {
            drop(tokio::spawn(self.proxy.binder.bind(session, origin, seen)));
            return Ok((Did::Bound, None));
        }
        // An unknown outcome drops the response, and with it the identifier that it would have revealed.
        match self.proxy.binder.bind(session, origin, seen).await.map_err(not_proposed)? {
            BindOutcome::Bound { session, binding, created } => {
                if created {
                    ProxyCounters::count(&self.proxy.counters.bound);
                }
                self.open_by(policy.affinity, (session, binding.epoch), backend, &exchanged.place);
                Ok((Did::Bound, Some(binding.epoch)))
            }
            BindOutcome::Refused(refusal) => {
                tracing::debug!(%refusal, session = %session.key, "identifier held back");
                Ok((Did::Withheld, None))
            }
        }
    }

    fn withhold(&self, policy: &Policy<'_>, method: usize, response: &mut Response<Body>) {
        ProxyCounters::count(&self.proxy.counters.withheld);
        if !deliberate::active(Fault::KeepRefusedCookie) {
            withhold(policy.affinity, method, response.headers_mut());
        }
    }
}

/// What the request was recognised by, if its session was bound when it was sent.
fn used<'a>(routing: &'a Routing<'_>, ticket: &Ticket) -> Option<&'a Found> {
    let routed = ticket.session?;
    routing.recognised.found.iter().find(|found| found.key == routed.asked.key)
}
