//! Step 7, Stickler's own cookie: handed out once its session is bound, and renewed when it has to be.

use http::header::{HeaderMap, SET_COOKIE};
use stickler_core::affinity::cacheable::{is_cacheable, make_private};
use stickler_core::affinity::key::Handle;
use stickler_core::affinity::mint::own_cookie;
use stickler_core::affinity::recognise::Policy;
use stickler_core::affinity::sealing::SealingKey;
use stickler_core::affinity::set_cookie_writer::{write_removal, write_set_cookie};
use stickler_core::affinity::token::Token;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::CookieAttributes;
use stickler_core::ids::Epoch;
use stickler_core::routing::Ticket;
use stickler_core::state::{BindOutcome, SessionKey};

use super::answers::not_proposed;
use super::forward::Exchanged;
use super::node::ProxyCounters;
use super::reveal::{Did, Revealed};
use super::steps::{Router, Routing};
use crate::responses::Answer;

/// A session that was made up with Stickler's cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minting {
    pub(super) handle: Handle,
    pub(super) session: SessionKey,
}

impl Router {
    /// Hands out Stickler's cookie if a session was bound for it, or renews the one that the client has.
    pub(super) fn reveal_own(
        &self,
        routing: &Routing<'_>,
        policy: &Policy<'_>,
        exchanged: &mut Exchanged,
    ) -> Result<Option<Revealed>, Answer> {
        let Some((_, attributes)) = own_cookie(policy.affinity) else { return Ok(None) };
        let Some((minting, bound)) = exchanged.minting.take() else {
            if let Some(token) = self.renewed(routing, attributes, &exchanged.ticket) {
                self.set_own(routing, policy, attributes, &token, exchanged.response.headers_mut());
            }
            return Ok(None);
        };
        let issued = self.proxy.cluster.standing().time;
        let backend = exchanged.ticket.backend;
        let unrecorded = Token { handle: minting.handle, backend, epoch: Epoch(0), issued, recorded: false };
        let token = match bound.transpose().map_err(not_proposed)? {
            None => Token { recorded: deliberate::active(Fault::RevealUnbound), ..unrecorded },
            Some(BindOutcome::Bound { binding, .. }) => {
                ProxyCounters::count(&self.proxy.counters.bound);
                Token { backend: binding.backend, epoch: binding.epoch, recorded: true, ..unrecorded }
            }
            Some(BindOutcome::Refused(refusal)) => {
                tracing::debug!(%refusal, session = %minting.session.key, "session not revealed");
                ProxyCounters::count(&self.proxy.counters.withheld);
                return Ok(Some((Did::Withheld, None)));
            }
        };
        if self.set_own(routing, policy, attributes, &token, exchanged.response.headers_mut()) {
            if !token.recorded {
                return Ok(Some((Did::Begun, None)));
            }
            self.open_by(policy.affinity, (minting.session, token.epoch), backend, &exchanged.place);
            return Ok(Some((Did::Bound, Some(token.epoch))));
        }
        if token.recorded {
            // Nobody will ever show it.
            self.end(minting.session, token.epoch);
        }
        Ok(Some((Did::None, None)))
    }

    /// The token that is to replace the one that the client has: its session has moved since, its cookie has lived
    /// through half of its age, or its key was replaced, with which it would end.
    fn renewed(
        &self,
        routing: &Routing<'_>,
        attributes: &CookieAttributes,
        ticket: &Ticket,
    ) -> Option<Token> {
        let routed = ticket.session?;
        let shown = routing.recognised.found.iter().find(|found| found.key == routed.asked.key)?;
        let token = shown.token?;
        let now = self.proxy.cluster.standing().time;
        let moved = token.epoch < routed.epoch;
        let ageing = attributes.max_age.is_some_and(|age| now.since(token.issued) >= age / 2);
        // Never with an older key than the client's, which this node may have yet to hear that it seals.
        let fading = shown.sealed_with.zip(self.sealing_key()).is_some_and(|(with, key)| with < key.id());
        (moved || ageing || fading).then_some(Token {
            backend: ticket.backend,
            epoch: routed.epoch.max(token.epoch),
            issued: now,
            recorded: true,
            ..token
        })
    }

    /// The key that seals at this moment, by the ring of this moment: a response may have taken longer than
    /// the keys last that there were when its request came. A node that has just started and heard from no
    /// leader knows the stable index from its log.
    fn sealing_key(&self) -> Option<SealingKey> {
        let plan = self.plan().ok()?;
        let cluster = &self.proxy.cluster;
        plan.sealing_key(cluster.standing().stable.max(cluster.view().stable)).cloned()
    }

    /// Adds the cookie; false when this response can't carry it.
    fn set_own(
        &self,
        routing: &Routing<'_>,
        policy: &Policy<'_>,
        attributes: &CookieAttributes,
        token: &Token,
        headers: &mut HeaderMap,
    ) -> bool {
        if !attributes.on_cacheable && is_cacheable(headers, self.seconds_since_1970()) {
            return false;
        }
        let Some(key) = self.sealing_key() else { return false };
        let nonce = self.chooser.borrow_mut().fill();
        let sealed = key.seal(routing.plan.cluster, policy.id, token, nonce);
        match write_set_cookie(attributes, &sealed) {
            Ok(cookie) => {
                headers.append(SET_COOKIE, cookie);
                // A shared cache must not hand one user's cookie to all.
                make_private(headers);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the cookie can't be written");
                false
            }
        }
    }

    /// Takes the cookie away from a client whose session has ended.
    pub(super) fn take_own_away(&self, policy: &Policy<'_>, headers: &mut HeaderMap) {
        let Some((_, attributes)) = own_cookie(policy.affinity) else { return };
        match write_removal(attributes) {
            Ok(cookie) => {
                headers.append(SET_COOKIE, cookie);
                make_private(headers);
            }
            Err(error) => tracing::error!(%error, "the cookie can't be written"),
        }
    }
}
