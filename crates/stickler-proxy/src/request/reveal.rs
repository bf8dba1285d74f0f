//! Step 7: the response that first reveals a session leaves only after its bind is committed (I6); what
//! can't be bound is not revealed.

use std::time::UNIX_EPOCH;

use http::Response;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use stickler_core::affinity::key::Handle;
use stickler_core::affinity::learn::{Lesson, application_cookies, learn};
use stickler_core::affinity::mint::own_cookie;
use stickler_core::affinity::recognise::Found;
use stickler_core::affinity::set_cookie::remove_set_cookie;
use stickler_core::affinity::set_cookie_writer::write_set_cookie;
use stickler_core::affinity::token::Token;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::Affinity;
use stickler_core::ids::{AffinityId, Epoch, LogIndex};
use stickler_core::routing::Ticket;
use stickler_core::state::{BindOutcome, Origin, SessionKey, Unbind};
use stickler_raft::ProposeError;
use stickler_rt::wall_clock;

use super::forward::Exchanged;
use super::node::ProxyCounters;
use super::steps::{Router, Routing, not_proposed};
use crate::body::Body;
use crate::responses::Answer;

/// Shown when `debug_headers` is on.
const NODE: HeaderName = HeaderName::from_static("stickler-node");
const BACKEND: HeaderName = HeaderName::from_static("stickler-backend");
const EPOCH: HeaderName = HeaderName::from_static("stickler-epoch");
const AFFINITY: HeaderName = HeaderName::from_static("stickler-affinity");

/// A session that was made up with Stickler's cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minting {
    pub(super) handle: Handle,
    pub(super) session: SessionKey,
}

/// What the affinity did for a request, for people who debug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    None,
    Found,
    Bound,
    Withheld,
    Ended,
}

impl Did {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Found => "found",
            Self::Bound => "bound",
            Self::Withheld => "withheld",
            Self::Ended => "ended",
        }
    }
}

impl Router {
    /// Lets the response go once what it reveals is committed.
    pub(super) async fn reveal(
        &self,
        routing: &Routing<'_>,
        exchanged: Exchanged,
    ) -> Result<Response<Body>, Answer> {
        let Exchanged { mut response, ticket, minting, seen } = exchanged;
        let mut did = if ticket.session.is_some() { Did::Found } else { Did::None };
        let mut epoch = ticket.session.map(|routed| routed.epoch);
        if let Some((affinity_id, affinity)) = routing.affinity {
            if let Some((_, attributes)) = own_cookie(affinity) {
                // A backend that sets a cookie of this name would take the session's place.
                remove_set_cookie(response.headers_mut(), &attributes.name);
            }
            if let Some((minting, bound)) = minting {
                (did, epoch) =
                    self.reveal_own(routing, affinity_id, affinity, &minting, bound, &mut response)?;
            } else {
                self.refresh_own(routing, affinity_id, affinity, &ticket, &mut response);
            }
            let learned =
                self.reveal_learned(routing, affinity_id, affinity, &ticket, seen, &mut response).await?;
            if let Some((learned, at)) = learned {
                did = learned;
                epoch = at.or(epoch);
            }
        }
        if routing.plan.document.limits.debug_headers {
            self.explain(&mut response, &ticket, epoch, did);
        }
        Ok(response)
    }

    /// Hands out Stickler's cookie if the session was bound, and keeps it back if not.
    fn reveal_own(
        &self,
        routing: &Routing<'_>,
        affinity_id: AffinityId,
        affinity: &Affinity,
        minting: &Minting,
        bound: Result<BindOutcome, ProposeError>,
        response: &mut Response<Body>,
    ) -> Result<(Did, Option<Epoch>), Answer> {
        match bound.map_err(not_proposed)? {
            BindOutcome::Bound { binding, .. } => {
                ProxyCounters::count(&self.proxy.counters.bound);
                let token = Token {
                    handle: minting.handle,
                    backend: binding.backend,
                    epoch: binding.epoch,
                    issued: binding.bound_at,
                    recorded: true,
                };
                self.set_own(routing, affinity_id, affinity, &token, response.headers_mut());
                Ok((Did::Bound, Some(binding.epoch)))
            }
            BindOutcome::Refused(refusal) => {
                tracing::debug!(%refusal, session = %minting.session.key, "session not revealed");
                ProxyCounters::count(&self.proxy.counters.withheld);
                Ok((Did::Withheld, None))
            }
        }
    }

    /// Replaces a token whose session has moved since it was issued.
    fn refresh_own(
        &self,
        routing: &Routing<'_>,
        affinity_id: AffinityId,
        affinity: &Affinity,
        ticket: &Ticket,
        response: &mut Response<Body>,
    ) {
        let Some(routed) = &ticket.session else { return };
        let shown = routing.recognised.found.iter().find(|found| found.key == routed.asked.key);
        if let Some(token) = shown.and_then(|found| found.token).filter(|token| token.epoch < routed.epoch) {
            let renewed = Token { backend: ticket.backend, epoch: routed.epoch, recorded: true, ..token };
            self.set_own(routing, affinity_id, affinity, &renewed, response.headers_mut());
        }
    }

    fn set_own(
        &self,
        routing: &Routing<'_>,
        affinity_id: AffinityId,
        affinity: &Affinity,
        token: &Token,
        headers: &mut HeaderMap,
    ) {
        let (Some((_, attributes)), Some(key)) = (own_cookie(affinity), routing.plan.ring.current()) else {
            return;
        };
        let nonce = self.chooser.borrow_mut().fill();
        let sealed = key.seal(routing.plan.cluster, affinity_id, token, nonce);
        match write_set_cookie(attributes, &sealed) {
            Ok(cookie) => {
                headers.append(SET_COOKIE, cookie);
                // A shared cache must not hand one user's cookie to all.
                headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
            }
            Err(error) => tracing::error!(%error, "the cookie can't be written"),
        }
    }

    /// Binds the identifier that the application gave in this response, or ends the one it took back.
    async fn reveal_learned(
        &self,
        routing: &Routing<'_>,
        affinity_id: AffinityId,
        affinity: &Affinity,
        ticket: &Ticket,
        seen: LogIndex,
        response: &mut Response<Body>,
    ) -> Result<Option<(Did, Option<Epoch>)>, Answer> {
        let used = self.used(routing, ticket);
        let now = self.seconds_since_1970();
        let lesson = learn(affinity_id, affinity, &routing.plan.hasher, used, response.headers(), now);
        match lesson {
            Lesson::Nothing | Lesson::SameIdentifier => Ok(None),
            Lesson::Unkeepable { method } => {
                self.withhold(affinity, method, response);
                Ok(Some((Did::Withheld, None)))
            }
            Lesson::Ended { key } => {
                if let Some(routed) = ticket.session.filter(|routed| routed.asked.key == key) {
                    self.proxy.binder.unbind(Unbind { session: routed.session, epoch: routed.epoch });
                }
                Ok(Some((Did::Ended, None)))
            }
            Lesson::NewIdentifier { method, key } => {
                let session = SessionKey { affinity: affinity_id, key };
                let bound = self.bind_learned(ticket, session, seen).await?;
                if bound.0 == Did::Withheld {
                    self.withhold(affinity, method, response);
                }
                Ok(Some(bound))
            }
        }
    }

    async fn bind_learned(
        &self,
        ticket: &Ticket,
        session: SessionKey,
        seen: LogIndex,
    ) -> Result<(Did, Option<Epoch>), Answer> {
        let backend = ticket.backend;
        let origin = ticket.session.map_or(Origin::Adopt { backend }, |routed| Origin::Inherit {
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
            BindOutcome::Bound { binding, created, .. } => {
                if created {
                    ProxyCounters::count(&self.proxy.counters.bound);
                }
                Ok((Did::Bound, Some(binding.epoch)))
            }
            BindOutcome::Refused(refusal) => {
                tracing::debug!(%refusal, session = %session.key, "identifier held back");
                Ok((Did::Withheld, None))
            }
        }
    }

    /// What the request was recognised by, if its session was bound when it was sent.
    fn used<'a>(&self, routing: &'a Routing<'_>, ticket: &Ticket) -> Option<&'a Found> {
        let routed = ticket.session?;
        routing.recognised.found.iter().find(|found| found.key == routed.asked.key)
    }

    fn withhold(&self, affinity: &Affinity, method: usize, response: &mut Response<Body>) {
        ProxyCounters::count(&self.proxy.counters.withheld);
        let name = application_cookies(affinity).find(|(index, _)| *index == method);
        if let Some((_, name)) = name.filter(|_| !deliberate::active(Fault::KeepRefusedCookie)) {
            remove_set_cookie(response.headers_mut(), name);
        }
    }

    /// For the `Expires` of a backend's cookies, which are in wall-clock time like the backend's own clock.
    fn seconds_since_1970(&self) -> i64 {
        let now = wall_clock(&self.proxy.cluster.outside().clock);
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }

    fn explain(&self, response: &mut Response<Body>, ticket: &Ticket, epoch: Option<Epoch>, did: Did) {
        let view = self.proxy.cluster.view();
        let backend = view.catalog.backends.get(&ticket.backend);
        let headers = response.headers_mut();
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
