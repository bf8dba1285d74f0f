//! Step 7: the response that first reveals a session leaves only after its bind is committed (I6); what
//! can't be bound is not revealed.

use std::time::UNIX_EPOCH;

use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use stickler_core::affinity::learn::withhold_all;
use stickler_core::affinity::mint::own_cookie;
use stickler_core::affinity::recognise::Policy;
use stickler_core::affinity::set_cookie::remove_set_cookie;
use stickler_core::ids::Epoch;
use stickler_core::routing::Ticket;
use stickler_core::state::{BindOutcome, SessionKey, Unbind};
use stickler_rt::wall_clock;

use super::forward::Exchanged;
use super::steps::{Router, Routing};
use crate::body::Body;
use crate::responses::Answer;

/// Shown when `debug_headers` is on.
const NODE: HeaderName = HeaderName::from_static("stickler-node");
const BACKEND: HeaderName = HeaderName::from_static("stickler-backend");
const EPOCH: HeaderName = HeaderName::from_static("stickler-epoch");
const AFFINITY: HeaderName = HeaderName::from_static("stickler-affinity");

/// What the affinity did for a request, for people who debug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Did {
    None,
    Found,
    Bound,
    /// A token without a record was handed out.
    Begun,
    Withheld,
    Ended,
}

impl Did {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Found => "found",
            Self::Bound => "bound",
            Self::Begun => "begun",
            Self::Withheld => "withheld",
            Self::Ended => "ended",
        }
    }
}

/// What was done, and the epoch that the session has since, if that is known.
pub(super) type Revealed = (Did, Option<Epoch>);

impl Router {
    /// Lets the response go once what it reveals is committed.
    pub(super) async fn reveal(
        &self,
        routing: &Routing<'_>,
        mut exchanged: Exchanged,
    ) -> Result<Response<Body>, Answer> {
        let ticket = exchanged.ticket;
        let found = if ticket.session.is_some() { Did::Found } else { Did::None };
        let mut revealed = (found, ticket.session.map(|routed| routed.epoch));
        if let Some(policy) = routing.policy {
            if let Some((_, attributes)) = own_cookie(policy.affinity) {
                // A backend that sets a cookie of this name would take the session's place.
                remove_set_cookie(exchanged.response.headers_mut(), &attributes.name);
            }
            if routing.ignored {
                // What needs no session begins none: its backend knows nothing of the client's own.
                withhold_all(policy.affinity, exchanged.response.headers_mut());
            } else {
                let (did, epoch) = self.reveal_session(routing, &policy, &mut exchanged).await?;
                revealed = (did.unwrap_or(found), epoch.or(revealed.1));
            }
        }
        if routing.plan.document.limits.debug_headers {
            self.explain(&mut exchanged.response, &ticket, revealed);
        }
        Ok(exchanged.response)
    }

    /// What the response says about its session, done.
    async fn reveal_session(
        &self,
        routing: &Routing<'_>,
        policy: &Policy<'_>,
        exchanged: &mut Exchanged,
    ) -> Result<(Option<Did>, Option<Epoch>), Answer> {
        let ended = self.end_if_told(policy, exchanged);
        let mut did = ended.then_some((Did::Ended, None));
        if !ended {
            did = self.reveal_own(routing, policy, exchanged)?;
        }
        let learned = self.reveal_learned(routing, policy, ended, exchanged).await?;
        let revealed = learned.or(did);
        Ok((revealed.map(|(did, _)| did), revealed.and_then(|(_, epoch)| epoch)))
    }

    /// Ends the session by which the request went, or that it was about to begin, when the application says so in a
    /// header. The header is for us alone.
    fn end_if_told(&self, policy: &Policy<'_>, exchanged: &mut Exchanged) -> bool {
        let Some(name) = &policy.affinity.end_header else { return false };
        let headers = exchanged.response.headers_mut();
        if headers.remove(name).is_none() {
            return false;
        }
        self.take_own_away(policy, headers);
        if let Some(routed) = &exchanged.ticket.session {
            self.end(routed.session, routed.epoch);
        }
        if let Some((minting, Some(Ok(BindOutcome::Bound { binding, .. })))) = exchanged.minting.take() {
            self.end(minting.session, binding.epoch);
        }
        true
    }

    /// Ends a session; nobody waits for it.
    pub(super) fn end(&self, session: SessionKey, epoch: Epoch) {
        self.proxy.binder.unbind(Unbind { session, epoch });
    }

    /// For dates in a backend's headers, which are in wall-clock time like the backend's own clock.
    pub(super) fn seconds_since_1970(&self) -> i64 {
        let now = wall_clock(&self.proxy.cluster.outside().clock);
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    fn explain(&self, response: &mut Response<Body>, ticket: &Ticket, (did, epoch): Revealed) {
        let view = self.proxy.cluster.view();
        let backend = view.catalog.backends.get(&ticket.backend);
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(NODE, HeaderValue::from(self.proxy.cluster.node().0));
        if let Some(name) = backend.and_then(|backend| HeaderValue::try_from(backend.name.as_str()).ok()) {
            headers.insert(BACKEND, name);
        }
        if let Some(epoch) = epoch {
            headers.insert(EPOCH, HeaderValue::from(epoch.0));
        }
        headers.insert(AFFINITY, HeaderValue::from_static(did.name()));
    }
}
