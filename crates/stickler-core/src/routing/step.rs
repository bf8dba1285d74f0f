//! What to do next with a request.

use super::plan::Plan;
use super::ticket::{Routed, Ticket};
use crate::affinity::recognise::{Found, Recognised};
use crate::affinity::token::Token;
use crate::deliberate::{self, Fault};
use crate::document::cluster::{Affinity, Method, Otherwise, WhenDown, WhenIsolated};
use crate::ids::{AffinityId, Epoch, LogIndex, PoolId};
use crate::lease::{Footing, Standing};
use crate::state::{AdminState, BackendRecord, Located, MoveReason, SessionKey, View};
use crate::time::ClusterTime;

/// The next thing to do with a request. After all but the first two kinds: decide again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send it, by this ticket.
    Forward(Ticket),
    /// Choose a backend and send it, without a session as yet. What the backend answers may create one.
    Unbound {
        /// Where to choose from.
        pool: PoolId,
        /// Choose by the client's address instead of the pool's algorithm.
        by_source: bool,
        /// Make a session with Stickler's cookie, bound beside the backend's work.
        mint: bool,
    },
    /// Bind this identifier before anything is sent: nobody has seen it yet.
    Place {
        /// The session.
        session: SessionKey,
        /// Where to choose from.
        pool: PoolId,
    },
    /// Move the session, for this reason.
    Move {
        /// Where it is.
        located: Located,
        /// Why it can't stay.
        reason: MoveReason,
    },
    /// Hold the request until something has happened, and decide again.
    Hold(Until),
    /// Answer it here.
    Refuse(Refusal),
}

/// What a held request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The stable index has reached this position: the session has just moved.
    Stable(LogIndex),
    /// The node has applied the entry that drew this epoch: a token is newer than the node's state.
    Epoch(Epoch),
    /// The node holds a lease again, or knows that it is isolated.
    Footing,
}

/// Why a request is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The affinity wants an identifier, and the request has none.
    NoIdentifier,
    /// The session's backend is gone, and the affinity says to wait for it.
    BackendGone,
    /// The node can't reach a leader, and the affinity says to refuse.
    Isolated,
    /// The node can't reach a leader, and the session must be bound or moved.
    NoQuorum,
}

/// Decides about a request of a route with an affinity, from what was recognised in it.
#[must_use]
pub fn decide(
    view: &View,
    standing: &Standing,
    pool: PoolId,
    (affinity_id, affinity): (AffinityId, &Affinity),
    recognised: &Recognised,
) -> Step {
    let key_of = |found: &Found| SessionKey { affinity: affinity_id, key: found.key };
    let live = recognised.found.iter().find_map(|found| Some((found, view.locate(key_of(found))?)));
    if let Some((found, located)) = live {
        // A token that is newer than the binding: the session has moved, and this node has yet to learn.
        let newer = found.token.map(|token| token.epoch).filter(|epoch| *epoch > located.binding.epoch);
        return match newer {
            Some(epoch) if epoch > view.epoch && standing.footing != Footing::Isolated => {
                Step::Hold(Until::Epoch(epoch))
            }
            _ => decide_located(view, standing, affinity, &located, key_of(found)),
        };
    }
    let newer =
        recognised.found.iter().filter_map(|found| found.token).find(|token| token.epoch > view.epoch);
    if let Some(token) = newer {
        return decide_by_token(view, standing, affinity, affinity_id, &token, recognised);
    }
    let unknown = recognised.found.iter().find(|found| found.token.is_none());
    match unknown {
        Some(found) => match standing.footing {
            Footing::Leased => Step::Place { session: key_of(found), pool },
            Footing::CatchingUp => Step::Hold(Until::Footing),
            Footing::Isolated => Step::Refuse(Refusal::NoQuorum),
        },
        // Nothing, or a token whose record is gone: a new client.
        None => decide_new(standing, affinity, pool),
    }
}

/// Decides about a request whose session is bound.
#[must_use]
pub fn decide_located(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    located: &Located,
    asked: SessionKey,
) -> Step {
    match (standing.footing, affinity.when_isolated) {
        (Footing::CatchingUp, _) => return Step::Hold(Until::Footing),
        (Footing::Isolated, WhenIsolated::Refuse) => return Step::Refuse(Refusal::Isolated),
        (Footing::Leased, _) | (Footing::Isolated, WhenIsolated::ServeKnown) => {}
    }
    let backend = view.catalog.backends.get(&located.binding.backend);
    let now = view.time.max(standing.time);
    if let Some(reason) = why_gone(backend, now) {
        return match (affinity.when_down, standing.footing) {
            (WhenDown::Reject, _) => Step::Refuse(Refusal::BackendGone),
            (WhenDown::Rebind, Footing::Leased) => Step::Move { located: *located, reason },
            (WhenDown::Rebind, _) => Step::Refuse(Refusal::NoQuorum),
        };
    }
    let settled = located.usable_from <= standing.stable || deliberate::active(Fault::RouteBeforeStable);
    if standing.footing == Footing::Leased && !settled {
        return Step::Hold(Until::Stable(located.usable_from));
    }
    match backend {
        Some(backend) => Step::Forward(Ticket {
            backend: located.binding.backend,
            address: backend.address,
            session: Some(Routed::of(located, asked)),
        }),
        None => Step::Refuse(Refusal::BackendGone),
    }
}

/// Why a session can't stay on its backend; `None` when it can.
fn why_gone(backend: Option<&BackendRecord>, now: ClusterTime) -> Option<MoveReason> {
    let Some(backend) = backend else { return Some(MoveReason::BackendRemoved) };
    match backend.admin {
        AdminState::Maint => Some(MoveReason::BackendMaint),
        AdminState::Drain { deadline: Some(deadline) } if deadline <= now => Some(MoveReason::DrainDeadline),
        AdminState::Ready | AdminState::Drain { .. } if backend.health.is_down() => {
            Some(MoveReason::BackendDown)
        }
        AdminState::Ready | AdminState::Drain { .. } => None,
    }
}

/// The token proves a binding that this node has yet to apply.
fn decide_by_token(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    affinity_id: AffinityId,
    token: &Token,
    recognised: &Recognised,
) -> Step {
    if standing.footing != Footing::Isolated {
        return Step::Hold(Until::Epoch(token.epoch));
    }
    if affinity.when_isolated == WhenIsolated::Refuse {
        return Step::Refuse(Refusal::Isolated);
    }
    // Cut off: the token is the best knowledge there is of where the session belongs.
    let backend = view.catalog.backends.get(&token.backend);
    let key =
        recognised.found.iter().find(|found| found.token.as_ref() == Some(token)).map(|found| found.key);
    match (backend, key) {
        (Some(backend), Some(key)) if why_gone(Some(backend), view.time).is_none() => {
            let session = SessionKey { affinity: affinity_id, key };
            let routed = Routed {
                asked: session,
                session,
                epoch: token.epoch,
                usable_from: LogIndex(0),
                last_use: view.time,
            };
            Step::Forward(Ticket { backend: token.backend, address: backend.address, session: Some(routed) })
        }
        _ => Step::Refuse(Refusal::NoQuorum),
    }
}

/// A request that carries no identifier that means anything.
fn decide_new(standing: &Standing, affinity: &Affinity, pool: PoolId) -> Step {
    let mints = affinity.methods.iter().any(|method| matches!(method, Method::Cookie(_)));
    let learns = affinity.methods.iter().any(|method| matches!(method, Method::ApplicationCookie { .. }));
    match (mints || learns, standing.footing) {
        // A session that is created now could not be bound.
        (true, Footing::Isolated) => Step::Refuse(Refusal::NoQuorum),
        (true, Footing::CatchingUp) => Step::Hold(Until::Footing),
        (true, Footing::Leased) => Step::Unbound { pool, by_source: false, mint: mints },
        (false, _) => match affinity.otherwise {
            Otherwise::Balance => Step::Unbound { pool, by_source: false, mint: false },
            Otherwise::Hash => Step::Unbound { pool, by_source: true, mint: false },
            Otherwise::Reject => Step::Refuse(Refusal::NoIdentifier),
        },
    }
}

impl Plan {
    /// The affinity's policy on isolation; a route without one has no sessions to be wrong about.
    #[must_use]
    pub fn when_isolated(affinity: Option<&Affinity>) -> WhenIsolated {
        affinity.map_or(WhenIsolated::ServeKnown, |affinity| affinity.when_isolated)
    }
}
