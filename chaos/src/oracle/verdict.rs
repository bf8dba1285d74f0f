//! The verdict on a history: every promise's predicate, and what was counted on the way.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::circumstances::Circumstances;
use super::errors::Felt;
use super::observation::{Observation, by_session};
use super::{agreement, continuity, errors, replicas, revealed, sockets};
use crate::history::History;

/// What the cluster promises, as far as it can be judged from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Promise {
    /// I1: one backend for one epoch of a session.
    Agreement,
    /// I2: a session's epochs never go back.
    MonotoneEpochs,
    /// I3: a session moves for a reason.
    NoUnforcedMove,
    /// I4: what was acknowledged is there.
    Durability,
    /// I5: one owner at a time.
    OneOwner,
    /// I6: what was revealed is committed.
    RevealedMeansCommitted,
    /// I9: replicas at one index are the same.
    SameState,
    /// A client that tries every node sees no error but in stated windows.
    NoErrorOutsideWindows,
}

impl Promise {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Agreement,
        Self::MonotoneEpochs,
        Self::NoUnforcedMove,
        Self::Durability,
        Self::OneOwner,
        Self::RevealedMeansCommitted,
        Self::SameState,
        Self::NoErrorOutsideWindows,
    ];
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreement => "I1 one backend for one epoch of a session",
            Self::MonotoneEpochs => "I2 epochs never go back",
            Self::NoUnforcedMove => "I3 no move without a reason",
            Self::Durability => "I4 what was acknowledged is there",
            Self::OneOwner => "I5 streams of ended epochs are closed",
            Self::RevealedMeansCommitted => "I6 what was revealed is committed",
            Self::SameState => "I9 replicas at one index are the same",
            Self::NoErrorOutsideWindows => "no error outside of the windows",
        })
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which.
    pub promise: Promise,
    /// The session's name, or its key where nothing else is known; empty where none is concerned.
    pub session: String,
    /// When it was seen, in microseconds since the run's start.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, session, at, what } = self;
        write!(f, "{promise}, at {:.3} s, {session}: {what}", *at as f64 / 1e6)
    }
}

/// What the oracle makes of a history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// In the order of time.
    pub violations: Vec<Violation>,
    /// By the name of the fault: what clients saw of it.
    pub felt: BTreeMap<String, Felt>,
    /// Sessions that were seen.
    pub sessions: usize,
    /// Answers of bound sessions.
    pub observations: usize,
    /// When a session was seen at another backend than before, for a reason.
    pub moved: Vec<u64>,
    /// Answers by an older epoch, from nodes that were isolated and may give them.
    pub stale: usize,
    /// Requests whose outcome their client could not learn.
    pub unknown: usize,
}

/// Judges a history. A pure function: a saved history gets the same verdict again.
pub(crate) fn judge(history: &History) -> Verdict {
    let circumstances = Circumstances::of(history);
    let sessions = by_session(history);
    let observations: Vec<&Observation<'_>> = sessions.values().flatten().collect();
    let (mut violations, felt) = errors::check(history);
    violations.extend(agreement::check(history, &observations));
    violations.extend(revealed::check(history, &circumstances));
    violations.extend(replicas::check(history, &sessions, &circumstances));
    violations.extend(sockets::check(history, &sessions, &circumstances));
    let mut verdict = Verdict {
        felt,
        sessions: sessions.len(),
        observations: observations.len(),
        unknown: unknown(history),
        ..Verdict::default()
    };
    for observations in sessions.values() {
        let of_session = continuity::check(observations, &circumstances);
        violations.extend(of_session.violations);
        verdict.moved.extend(of_session.moved);
        verdict.stale += of_session.stale;
    }
    violations.sort_by_key(|violation| violation.at);
    verdict.moved.sort_unstable();
    Verdict { violations, ..verdict }
}

fn unknown(history: &History) -> usize {
    use crate::history::event::Outcome::Unknown;
    let attempts = history.visits.iter().flat_map(|visit| &visit.attempts);
    attempts.filter(|attempt| matches!(attempt.outcome, Unknown { .. })).count()
}

#[cfg(test)]
mod tests;
