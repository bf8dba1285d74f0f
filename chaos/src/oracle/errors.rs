//! Clients that try every node see no error but in the windows that the run states.

use std::collections::BTreeMap;

use super::span::Span;
use super::verdict::{Promise, Violation};
use crate::history::event::{Outcome, Phase, Visit};
use crate::history::{Allowed, History, Window};

/// What clients saw of the faults of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Felt {
    /// How often the fault happened.
    pub times: usize,
    /// Visits of known sessions that ended in an error, in the windows of these faults.
    pub known: usize,
    /// Visits that would have begun a session.
    pub fresh: usize,
    /// The longest that an error came after its window's fault had begun, in microseconds.
    pub longest: u64,
}

/// One fault's windows.
struct Open<'a> {
    name: &'a str,
    begun: u64,
    known: Vec<Span>,
    fresh: Vec<Span>,
}

/// Errors outside of every window, and what was felt inside.
pub(super) fn check(history: &History) -> (Vec<Violation>, BTreeMap<String, Felt>) {
    let windows = open_windows(history);
    let mut felt: BTreeMap<String, Felt> = BTreeMap::new();
    for window in &windows {
        felt.entry(window.name.to_owned()).or_default().times += 1;
    }
    let mut violations = Vec::new();
    for visit in history.visits.iter().filter(|visit| !visit.is_served()) {
        let span = Span { from: visit.began(), until: visit.ended() };
        let spans = |window: &'_ &Open<'_>| {
            let spans = if visit.fresh { &window.fresh } else { &window.known };
            spans.iter().any(|one| one.meets(span))
        };
        match windows.iter().rev().find(spans) {
            Some(window) => {
                let felt = felt.entry(window.name.to_owned()).or_default();
                *if visit.fresh { &mut felt.fresh } else { &mut felt.known } += 1;
                felt.longest = felt.longest.max(span.until.saturating_sub(window.begun));
            }
            None => violations.push(outside(visit)),
        }
    }
    (violations, felt)
}

fn outside(visit: &Visit) -> Violation {
    let of = if visit.fresh { "a new" } else { "a known" };
    let tried: Vec<String> = visit
        .attempts
        .iter()
        .map(|attempt| {
            let took = (attempt.ended - attempt.began) / 1000;
            let outcome = match &attempt.outcome {
                Outcome::Served { backend, .. } => format!("served by {backend}"),
                Outcome::Refused { status, error, .. } => format!("{status} {error}"),
                Outcome::Unsent { why } | Outcome::Unknown { why } => why.clone(),
            };
            format!("node {} after {took} ms: {outcome}", attempt.node)
        })
        .collect();
    let what = format!("no node served {of} session by {}: {}", visit.door.name(), tried.join("; "));
    let session = visit.session.clone();
    Violation { promise: Promise::NoErrorOutsideWindows, session, at: visit.ended(), what }
}

fn open_windows(history: &History) -> Vec<Open<'_>> {
    let moment = |number: u32, phase: Phase| {
        let found = history.faults.iter().find(|fault| fault.number == number && fault.phase == phase);
        found.map_or(history.end, |fault| fault.at)
    };
    let begun = history.faults.iter().filter(|fault| fault.phase == Phase::Begun);
    begun
        .map(|fault| {
            let (healed, over) = (moment(fault.number, Phase::Healed), moment(fault.number, Phase::Over));
            let stated = history.run.windows.iter().find(|window| window.fault == fault.name);
            let Window { known, fresh, .. } = stated.cloned().unwrap_or_default();
            let spans = |allowed| match allowed {
                Allowed::Never => Vec::new(),
                Allowed::Around(milliseconds) => [fault.at, healed]
                    .map(|from| Span { from, until: from.saturating_add(milliseconds * 1000) })
                    .to_vec(),
                Allowed::Throughout(milliseconds) => {
                    vec![Span { from: fault.at, until: over.saturating_add(milliseconds * 1000) }]
                }
            };
            Open { name: &fault.name, begun: fault.at, known: spans(known), fresh: spans(fresh) }
        })
        .collect()
}
