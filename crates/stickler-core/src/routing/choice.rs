//! A node's own choice of a backend: final for a request without a session, advice for a bind.

use crate::balance::{Candidate, fewest_sessions, rendezvous, two_choices, within_bound};
use crate::deliberate::{self, Fault};
use crate::document::cluster::Balance;
use crate::ids::{BackendId, KeyHash, PoolId};
use crate::state::{AdminState, BackendRecord, View};
use crate::time::ClusterTime;

/// What a choice takes from the node that makes it.
pub trait Chooser {
    /// Requests that this node has in flight to a backend.
    fn in_flight(&self, backend: BackendId) -> u64;
    /// A number that is uniform over all of `u64`.
    fn random(&mut self) -> u64;
    /// The next backend of a pool in turn.
    fn next_in_turn(&mut self, pool: PoolId, candidates: &[Candidate]) -> Option<BackendId>;
    /// Whether this node gives a backend nothing new for a while. Only asked where the pool says when.
    fn is_ejected(&self, _backend: BackendId) -> bool {
        false
    }
    /// Whether a request would have to wait on this node until the backend has room for it.
    fn is_busy(&self, _backend: BackendId) -> bool {
        false
    }
}

/// What a backend is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenFor {
    /// A session of this key.
    Session(KeyHash),
    /// A request whose answer may begin a session.
    NewSession,
    /// A request that begins no session that counts.
    Request,
}

/// Why a backend takes no new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaking {
    /// It drains, or is in maint.
    NotReady,
    /// It was removed, and keeps its sessions for a while.
    Leaves,
    /// It says itself that it wants none.
    Drains,
    /// It is down, or nobody has found it up as yet.
    NotUp,
    /// Its weight is 0.
    NoWeight,
    /// It has as many sessions as it may have.
    Full,
}

/// Why a backend takes no new sessions; `None` when it does.
pub(super) fn why_not_taking(view: &View, id: BackendId, backend: &BackendRecord) -> Option<NotTaking> {
    let full = || backend.max_sessions.is_some_and(|most| view.counts.of_backend(id) >= most);
    match backend {
        BackendRecord { leaving: Some(_), .. } => Some(NotTaking::Leaves),
        BackendRecord { admin: AdminState::Drain { .. } | AdminState::Maint, .. } => {
            Some(NotTaking::NotReady)
        }
        BackendRecord { health, .. } if !health.is_up() => Some(NotTaking::NotUp),
        BackendRecord { health, .. } if health.drains => Some(NotTaking::Drains),
        BackendRecord { weight: 0, .. } => Some(NotTaking::NoWeight),
        _ => full().then_some(NotTaking::Full),
    }
}

/// Chooses a backend of `pool` by its algorithm, among those that take new sessions and are not `except`. `now` is cluster
/// time, for those that start slowly. One that is ejected is chosen only where there are no others; one that is busy, too,
/// unless a key has to lead to the same backend each time.
///
/// Sessions are counted for sessions alone: a request that begins none goes by two choices where the pool's algorithm would
/// look for the fewest, and no bound holds for it. The counts stay what they are when it has gone, and so would the choice.
pub fn choose(
    (view, now): (&View, ClusterTime),
    pool: PoolId,
    chosen_for: ChosenFor,
    except: Option<BackendId>,
    chooser: &mut impl Chooser,
) -> Option<BackendId> {
    let policy = view.catalog.pool(pool)?;
    let mut candidates = candidates(view, now, pool, except, chooser);
    let (key, counts) = match chosen_for {
        ChosenFor::Session(key) => (Some(key), true),
        ChosenFor::NewSession => (None, true),
        ChosenFor::Request => (None, deliberate::active(Fault::RequestsByCounts)),
    };
    let algorithm = match policy.balance {
        Balance::FewestSessions if !counts => Balance::TwoChoices,
        balance => balance,
    };
    if let Some(percent) = policy.bounded_load.filter(|_| counts) {
        within_bound(&mut candidates, percent, |backend| view.counts.of_backend(backend));
    }
    if algorithm != Balance::Rendezvous || key.is_none() {
        prefer(&mut candidates, |candidate| !chooser.is_busy(candidate.backend));
    }
    match (algorithm, key) {
        (Balance::Rendezvous, Some(key)) => rendezvous(&candidates, key),
        (Balance::FewestSessions, _) => {
            fewest_sessions(&candidates, |backend| view.counts.of_backend(backend))
        }
        (Balance::WeightedRoundRobin, _) => chooser.next_in_turn(pool, &candidates),
        (Balance::TwoChoices | Balance::Rendezvous, _) => {
            let random = [chooser.random(), chooser.random()];
            two_choices(&candidates, |backend| chooser.in_flight(backend), random)
        }
    }
}

/// Chooses a backend of `pool` by the hash of a key alone, whatever the pool's algorithm: for requests without a session
/// that are to go to the same backend all the same, for which no bound holds. One that is ejected is chosen only where there
/// are no others.
#[must_use]
pub fn choose_by_hash(
    (view, now): (&View, ClusterTime),
    pool: PoolId,
    key: KeyHash,
    except: Option<BackendId>,
    chooser: &impl Chooser,
) -> Option<BackendId> {
    rendezvous(&candidates(view, now, pool, except, chooser), key)
}

fn candidates(
    view: &View,
    now: ClusterTime,
    pool: PoolId,
    except: Option<BackendId>,
    chooser: &impl Chooser,
) -> Vec<Candidate> {
    let takes = |(id, backend): &(BackendId, &BackendRecord)| {
        why_not_taking(view, *id, backend).is_none() && Some(*id) != except
    };
    let backends = view.catalog.backends_of(pool).filter(takes);
    let share = |backend| view.catalog.share(backend, now);
    let mut candidates: Vec<Candidate> =
        backends.map(|(id, backend)| Candidate { backend: id, weight: share(backend) }).collect();
    let ejects = view.catalog.pool(pool).is_some_and(|policy| policy.ejection.is_some());
    if ejects && !deliberate::active(Fault::ChooseEjected) {
        prefer(&mut candidates, |candidate| !chooser.is_ejected(candidate.backend));
    }
    candidates
}

/// Leaves out the others, unless that leaves none.
fn prefer(candidates: &mut Vec<Candidate>, better: impl Fn(&Candidate) -> bool) {
    if candidates.iter().any(&better) {
        candidates.retain(better);
    }
}
