//! What to do next with a request.

use super::failover::{leave, stay_away, why_gone, why_leaves};
use super::plan::{Plan, Pools};
use super::ticket::{Routed, Ticket};
use crate::affinity::learn::learns;
use crate::affinity::mint::own_cookie;
use crate::affinity::recognise::{Found, Recognised};
use crate::affinity::token::Token;
use crate::deliberate::{self, Fault};
use crate::document::cluster::{Affinity, Mode, Otherwise, RecordWhen, WhenFull, WhenIsolated};
use crate::ids::{AffinityId, BackendId, Epoch, KeyHash, LogIndex, PoolId};
use crate::lease::{Footing, Standing};
use crate::state::{BackendRecord, BindRefusal, Located, MoveReason, SessionKey, View};
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
        /// By what.
        by: ChooseBy,
        /// Whether to make a session with Stickler's cookie.
        mint: Mint,
    },
    /// Bind this identifier before anything is sent: nobody has seen it yet.
    Place {
        /// The session.
        session: SessionKey,
        /// Where to choose from.
        pool: PoolId,
        /// The backend that holds the session, if anybody does.
        held: Held,
    },
    /// Move the session, for this reason.
    Move {
        /// Where it is.
        located: Located,
        /// Why it can't stay.
        reason: MoveReason,
    },
    /// End the session, whose backend has forgotten it or was removed, and answer [`Refusal::SessionLost`]: its affinity lets none
    /// go on elsewhere as if nothing had been.
    End {
        /// The session.
        located: Located,
    },
    /// Hold the request until something has happened, and decide again.
    Hold(Until),
    /// Answer it here.
    Refuse(Refusal),
}

impl Step {
    /// Whether a session that counts is bound or moved by it, or may be by the answer.
    #[must_use]
    pub const fn counts(&self) -> bool {
        matches!(self, Self::Place { .. } | Self::Move { .. } | Self::Unbound { by: ChooseBy::Algorithm, .. })
    }
}

/// What a backend is chosen by for a request without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChooseBy {
    /// The pool's algorithm: a session that counts may begin there.
    Algorithm,
    /// The same, whatever sessions are bound where: none begins that counts, and if such requests went by counts, they
    /// would all go to the same backend until a session is bound.
    WithoutCounts,
    /// A hash of the client's address.
    Source,
    /// A hash of the identifier, for which there is no room.
    Key(KeyHash),
}

/// Whether a request's response is to carry a new cookie of Stickler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mint {
    /// No.
    No,
    /// Yes, bound beside the backend's work.
    Recorded,
    /// Yes, without a record: it is bound when the client comes back with it.
    Unrecorded,
}

/// What an identifier that nobody knows says about where its session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Unknown,
    /// The application's identifier names a backend.
    Named(BackendId),
    /// A token without a record names it.
    Token {
        /// The backend.
        backend: BackendId,
        /// When the token was sealed.
        issued: ClusterTime,
    },
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
    /// The session's move, which is announced, is made or taken back.
    Moved {
        /// The session.
        session: SessionKey,
        /// The epoch that is to end.
        epoch: Epoch,
    },
    /// The session's backend is back, or this cluster time has come.
    Back {
        /// The backend.
        backend: BackendId,
        /// The longest wait.
        until: ClusterTime,
    },
}

/// Why a request is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The affinity wants an identifier, and the request has none.
    NoIdentifier,
    /// The session's backend is gone, and the affinity says that it stays there.
    BackendGone,
    /// The same, and the affinity says where clients go meanwhile.
    Redirected,
    /// The session's backend was started again or removed, and the affinity lets no session go on without what it held.
    SessionLost,
    /// The node can't reach a leader, and the affinity says to refuse.
    Isolated,
    /// The node can't reach a leader, and the session must be bound or moved.
    NoQuorum,
    /// The affinity has as many sessions as it may have.
    AffinityFull,
    /// The cluster has as many bindings as it may have.
    TableFull,
}

/// Decides about a request of a route with an affinity, from what was recognised in it.
#[must_use]
pub fn decide(
    view: &View,
    standing: &Standing,
    pools: &Pools,
    (affinity_id, affinity): (AffinityId, &Affinity),
    recognised: &Recognised,
) -> Step {
    let pool = pools.drawn;
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
    if affinity.mode == Mode::Retire {
        return decide_retired(standing, affinity, pool, recognised);
    }
    let may_return = |found: &&Found| {
        found.token.is_none_or(|token| is_returning(affinity, &token, view.time.max(standing.time)))
    };
    match recognised.found.iter().find(may_return) {
        Some(Found { token: Some(token), key, .. }) => {
            let session = SessionKey { affinity: affinity_id, key: *key };
            decide_returning(view, standing, affinity, session, pool, token)
        }
        Some(found) => match standing.footing {
            Footing::Leased => match full(view, affinity_id, affinity) {
                Some(Full::Hash) => Step::Unbound { pool, by: ChooseBy::Key(found.key), mint: Mint::No },
                Some(Full::Refuse(refusal)) => Step::Refuse(refusal),
                None => {
                    let named = named_backend(view, pools, recognised, found.key);
                    let held = named.map_or(Held::Unknown, Held::Named);
                    Step::Place { session: key_of(found), pool, held }
                }
            },
            Footing::CatchingUp => Step::Hold(Until::Footing),
            Footing::Isolated => Step::Refuse(Refusal::NoQuorum),
        },
        // Nothing, or a token whose record is gone: a new client.
        None => decide_new(view, standing, (affinity_id, affinity), pool, recognised),
    }
}

/// The backend that an identifier names, if one of the pools has it.
fn named_backend(view: &View, pools: &Pools, recognised: &Recognised, key: KeyHash) -> Option<BackendId> {
    let (_, route) = recognised.routes.iter().find(|(of, _)| *of == key)?;
    pools.all().find_map(|pool| view.catalog.backend_by_route(pool, route))
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
    if let Some(reason) = why_leaves(view, standing, affinity, &located.binding) {
        return leave(view, standing, affinity, located, reason);
    }
    let (session, epoch) = (located.session, located.binding.epoch);
    if standing.footing == Footing::Leased
        && view.jobs.is_announced(session, epoch)
        && !deliberate::active(Fault::SendAnnounced)
    {
        return Step::Hold(Until::Moved { session, epoch });
    }
    let settled = located.usable_from <= standing.stable || deliberate::active(Fault::RouteBeforeStable);
    if standing.footing == Footing::Leased && !settled {
        return Step::Hold(Until::Stable(located.usable_from));
    }
    match view.catalog.backends.get(&located.binding.backend) {
        Some(backend) => Step::Forward(Ticket {
            backend: located.binding.backend,
            address: backend.address,
            session: Some(Routed::of(located, asked)),
            unrecorded: None,
        }),
        None => Step::Refuse(Refusal::BackendGone),
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
            Step::Forward(Ticket {
                backend: token.backend,
                address: backend.address,
                session: Some(routed),
                unrecorded: None,
            })
        }
        _ => Step::Refuse(Refusal::NoQuorum),
    }
}

/// A request that carries no identifier that means anything.
fn decide_new(
    view: &View,
    standing: &Standing,
    (affinity_id, affinity): (AffinityId, &Affinity),
    pool: PoolId,
    recognised: &Recognised,
) -> Step {
    let unbound = |by, mint| Step::Unbound { pool, by, mint };
    let record = own_cookie(affinity).map(|(_, attributes)| attributes.record);
    match (record, standing.footing) {
        (Some(RecordWhen::Always), Footing::Leased) => {
            return match full(view, affinity_id, affinity) {
                None => unbound(ChooseBy::Algorithm, Mint::Recorded),
                Some(Full::Hash) => unbound(ChooseBy::Source, Mint::No),
                Some(Full::Refuse(refusal)) => Step::Refuse(refusal),
            };
        }
        (Some(RecordWhen::OnReturn), Footing::Leased) => {
            return unbound(ChooseBy::WithoutCounts, Mint::Unrecorded);
        }
        // Its token proves the session until the quorum is back.
        (Some(_), Footing::Isolated)
            if affinity.when_isolated == WhenIsolated::ServeKnown && !may_be_known_elsewhere(recognised) =>
        {
            return unbound(ChooseBy::WithoutCounts, Mint::Unrecorded);
        }
        (None, _) if !learns(affinity) => {}
        (_, Footing::CatchingUp) => return Step::Hold(Until::Footing),
        // A session that is created now could not be bound.
        (_, Footing::Isolated) => return Step::Refuse(Refusal::NoQuorum),
        (None, Footing::Leased) => return unbound(ChooseBy::Algorithm, Mint::No),
    }
    match affinity.otherwise {
        Otherwise::Balance => unbound(ChooseBy::WithoutCounts, Mint::No),
        Otherwise::Hash => unbound(ChooseBy::Source, Mint::No),
        Otherwise::Reject => Step::Refuse(Refusal::NoIdentifier),
    }
}

/// A request that goes by none of the sessions that a retiring affinity has left.
fn decide_retired(standing: &Standing, affinity: &Affinity, pool: PoolId, recognised: &Recognised) -> Step {
    // What this node does not know may be kept all the same: it has yet to see.
    if standing.footing == Footing::CatchingUp && !recognised.found.is_empty() {
        return Step::Hold(Until::Footing);
    }
    match affinity.otherwise {
        Otherwise::Reject if recognised.found.is_empty() => Step::Refuse(Refusal::NoIdentifier),
        Otherwise::Hash => Step::Unbound { pool, by: ChooseBy::Source, mint: Mint::No },
        Otherwise::Balance | Otherwise::Reject => {
            Step::Unbound { pool, by: ChooseBy::WithoutCounts, mint: Mint::No }
        }
    }
}

/// What becomes of a new session for which there is no room.
enum Full {
    Hash,
    Refuse(Refusal),
}

/// Looks for room before anything is proposed, so that a flood of new sessions costs a full cluster no entries. `apply`
/// has the last word all the same. `None`: there is room, or it will be made.
fn full(view: &View, affinity_id: AffinityId, affinity: &Affinity) -> Option<Full> {
    let refusal = match view.lacks_room(affinity_id)? {
        BindRefusal::AffinityFull => Refusal::AffinityFull,
        BindRefusal::TableFull => Refusal::TableFull,
        _ => return None,
    };
    match affinity.when_full {
        WhenFull::Refuse => Some(Full::Refuse(refusal)),
        WhenFull::EvictIdlest => None,
        WhenFull::Hash => Some(Full::Hash),
    }
}

/// Whether the request has a token that a node which has lost the others can't judge: of a key that it has yet to hear
/// of, or without a record that it would know. The client has a session then, which a new cookie would take from it.
fn may_be_known_elsewhere(recognised: &Recognised) -> bool {
    let unrecorded = |found: &Found| found.token.is_some_and(|token| !token.recorded);
    recognised.has_unknown_key() || recognised.found.iter().any(unrecorded)
}

/// Whether a token without a record is still good.
fn is_returning(affinity: &Affinity, token: &Token, now: ClusterTime) -> bool {
    let window = own_cookie(affinity).map(|(_, attributes)| attributes.return_window);
    !token.recorded && window.is_some_and(|window| token.issued + window >= now)
}

/// A client shows a token whose session is not bound yet.
fn decide_returning(
    view: &View,
    standing: &Standing,
    affinity: &Affinity,
    session: SessionKey,
    pool: PoolId,
    token: &Token,
) -> Step {
    let backend = view.catalog.backends.get(&token.backend);
    let reason = why_gone(backend, view.time.max(standing.time));
    let gone = reason.is_some();
    let away = reason.and_then(|reason| stay_away(view, standing, affinity, token.backend, reason));
    match (standing.footing, away) {
        (Footing::Leased | Footing::Isolated, Some(step)) => return step,
        (Footing::CatchingUp, _) | (_, None) => {}
    }
    match standing.footing {
        Footing::CatchingUp => Step::Hold(Until::Footing),
        Footing::Leased => match (full(view, session.affinity, affinity), backend.filter(|_| !gone)) {
            (Some(Full::Refuse(refusal)), _) => Step::Refuse(refusal),
            // As long as its token is good it needs no record.
            (Some(Full::Hash), Some(record)) => by_unrecorded(session, token, record),
            (Some(Full::Hash), None) => {
                Step::Unbound { pool, by: ChooseBy::Key(session.key), mint: Mint::No }
            }
            (None, _) => {
                let held = Held::Token { backend: token.backend, issued: token.issued };
                Step::Place { session, pool, held }
            }
        },
        Footing::Isolated if affinity.when_isolated == WhenIsolated::Refuse => {
            Step::Refuse(Refusal::Isolated)
        }
        Footing::Isolated => match backend.filter(|_| !gone) {
            Some(record) => by_unrecorded(session, token, record),
            // The others may have bound it elsewhere by now.
            None => Step::Refuse(Refusal::NoQuorum),
        },
    }
}

fn by_unrecorded(session: SessionKey, token: &Token, record: &BackendRecord) -> Step {
    Step::Forward(Ticket {
        backend: token.backend,
        address: record.address,
        session: None,
        unrecorded: Some(session.key),
    })
}

impl Plan {
    /// The affinity's policy on isolation; a route without one has no sessions to be wrong about.
    #[must_use]
    pub fn when_isolated(affinity: Option<&Affinity>) -> WhenIsolated {
        affinity.map_or(WhenIsolated::ServeKnown, |affinity| affinity.when_isolated)
    }
}
