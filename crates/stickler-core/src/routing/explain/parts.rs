//! What part each backend has in a decision, and which of them the request goes to.

use super::Explained;
use crate::balance::Candidate;
use crate::document::cluster::Balance;
use crate::ids::{BackendId, KeyHash, PoolId};
use crate::lease::Standing;
use crate::routing::choice::{Chooser, ChosenFor, NotTaking, choose, choose_by_hash, why_not_taking};
use crate::routing::failover::why_gone;
use crate::routing::plan::Pools;
use crate::routing::step::{ChooseBy, Held, Step};
use crate::state::{BackendRecord, MoveReason, View};
use crate::time::ClusterTime;

/// What part a backend has in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The session is there, and may stay.
    Home,
    /// The session is there, and can't stay.
    Gone(MoveReason),
    /// The session is on another one and stays there, so that this one is not asked.
    Elsewhere,
    /// The client's identifier names it as the one that holds the session, and it may have it.
    Named,
    /// It may be chosen.
    Candidate,
    /// It takes no new session.
    NotTaking(NotTaking),
    /// Another pool was drawn, or its pool takes no new sessions.
    NotDrawn,
}

/// The backends of all pools in question with their parts, and the one that the request goes to, where that can be
/// told.
pub(super) fn of(
    view: &View,
    standing: &Standing,
    explained: &Explained<'_>,
    pools: &Pools,
    source_key: Option<KeyHash>,
) -> (Vec<(BackendId, Part)>, Option<BackendId>) {
    // Where requests only are observed, they go as they would without sessions.
    let step = (!explained.is_observed()).then_some(explained.step);
    let judge = Judge { view, now: view.time.max(standing.time), step, named: named(step) };
    let bound = explained.session.filter(|_| step.is_some()).map(|(_, located)| located.binding);
    let home = match step {
        // Cut off, a node goes by a token alone.
        Some(Step::Forward(ticket)) => Some(ticket.backend),
        _ => bound.map(|binding| binding.backend),
    };
    // A session whose pool was removed goes to the pool of its route.
    let own = bound.map(|binding| binding.pool).filter(|pool| view.catalog.pool(*pool).is_some());
    let (mut backends, mut candidates) = (Vec::new(), Vec::new());
    for pool in own.map_or_else(|| pools.all().collect(), |own| vec![own]) {
        // A pool without a backend leaves its share to the next one.
        let left_out = explained.drawn.is_some() && !candidates.is_empty();
        let open = own.is_some() || (!left_out && pools.for_new().any(|other| other == pool));
        for (id, backend) in view.catalog.backends_of(pool) {
            let part = judge.part(id, backend, home, open);
            backends.push((id, part));
            if part == Part::Candidate {
                candidates.push((pool, id));
            }
        }
    }
    let goes_to = judge.goes_to(&candidates, explained.drawn.or(own).is_some(), source_key);
    (backends, goes_to)
}

/// The backend that an unknown identifier names.
fn named(step: Option<Step>) -> Option<BackendId> {
    match step {
        Some(Step::Place { held: Held::Named(backend) | Held::Token { backend, .. }, .. }) => Some(backend),
        _ => None,
    }
}

/// Looks at one backend after the other.
struct Judge<'a> {
    view: &'a View,
    now: ClusterTime,
    /// `None` where sessions are only observed.
    step: Option<Step>,
    named: Option<BackendId>,
}

impl Judge<'_> {
    fn part(&self, id: BackendId, backend: &BackendRecord, home: Option<BackendId>, open: bool) -> Part {
        let stays = home.is_some() && !matches!(self.step, Some(Step::Move { .. }));
        if home == Some(id) {
            let moves = match self.step {
                Some(Step::Move { reason, .. }) => Some(reason),
                // It was removed and is down, or else it was started again.
                Some(Step::End { .. }) => {
                    Some(why_gone(Some(backend), self.now).unwrap_or(MoveReason::BackendRestarted))
                }
                _ => why_gone(Some(backend), self.now),
            };
            return moves.map_or(Part::Home, Part::Gone);
        }
        if self.named == Some(id) && backend.keeps_bound(self.now) {
            return Part::Named;
        }
        match (stays, open) {
            (true, _) => Part::Elsewhere,
            (false, false) => Part::NotDrawn,
            (false, true) => why_not_taking(self.view, id, backend).map_or(Part::Candidate, Part::NotTaking),
        }
    }

    /// Among candidates of one pool, the one that its algorithm chooses by the view alone; among any, the only one.
    fn goes_to(
        &self,
        candidates: &[(PoolId, BackendId)],
        one_pool: bool,
        source_key: Option<KeyHash>,
    ) -> Option<BackendId> {
        let (key, except) = match self.step {
            Some(Step::Forward(ticket)) => return Some(ticket.backend),
            Some(Step::Hold(_) | Step::Refuse(_) | Step::End { .. }) => return None,
            Some(Step::Move { located, reason: MoveReason::BackendRestarted }) => {
                let same = self.view.catalog.backends.get(&located.binding.backend);
                if same.is_some_and(BackendRecord::takes_new) {
                    return Some(located.binding.backend);
                }
                (Some(located.session.key), Some(located.binding.backend))
            }
            Some(Step::Move { located, reason: MoveReason::BackendBack }) => {
                return located.binding.home.backend();
            }
            Some(Step::Place { session, .. }) => (Some(session.key), None),
            Some(Step::Move { located, .. }) => (Some(located.session.key), Some(located.binding.backend)),
            Some(Step::Unbound { by: ChooseBy::Source, .. }) => (source_key, None),
            Some(Step::Unbound { by: ChooseBy::Key(key), .. }) => (Some(key), None),
            Some(Step::Unbound { by: ChooseBy::Algorithm | ChooseBy::WithoutCounts, .. }) | None => {
                (None, None)
            }
        };
        let named = self.named.and_then(|named| self.view.catalog.backends.get_key_value(&named));
        if let Some((id, _)) = named.filter(|(_, backend)| backend.keeps_bound(self.now)) {
            return Some(*id);
        }
        let (pool, only) = *candidates.first()?;
        let by_hash =
            matches!(self.step, Some(Step::Unbound { by: ChooseBy::Source | ChooseBy::Key(_), .. }));
        if let (true, Some(key), true) = (by_hash, key, one_pool) {
            return choose_by_hash((self.view, self.now), pool, key, except, &NobodysTurn);
        }
        let counts = self.step.as_ref().is_some_and(Step::counts);
        let certain = match self.view.catalog.pool(pool)?.balance {
            Balance::FewestSessions => one_pool && counts,
            Balance::Rendezvous => one_pool && key.is_some(),
            Balance::TwoChoices | Balance::WeightedRoundRobin => false,
        };
        if candidates.len() == 1 {
            return Some(only);
        }
        let chosen_for = key.map_or(ChosenFor::NewSession, ChosenFor::Session);
        certain.then(|| choose((self.view, self.now), pool, chosen_for, except, &mut NobodysTurn)).flatten()
    }
}

/// Knows nothing of a node, for choices that ask nothing of it.
struct NobodysTurn;

impl Chooser for NobodysTurn {
    fn in_flight(&self, _: BackendId) -> u64 {
        0
    }

    fn random(&mut self) -> u64 {
        0
    }

    fn next_in_turn(&mut self, _: PoolId, _: &[Candidate]) -> Option<BackendId> {
        None
    }
}
