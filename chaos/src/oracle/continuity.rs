//! I2, I3, I4 and I6 for one session: its epochs don't go back, and it has another one only for a reason.

use std::collections::BTreeSet;

use super::circumstances::Circumstances;
use super::observation::Observation;
use super::span::Span;
use super::verdict::{Promise, Violation};

/// What is known of a session before some moment.
#[derive(Clone, Copy)]
struct Known<'a> {
    /// The last answer by the highest epoch so far.
    newest: Observation<'a>,
    /// Nothing but the answer that revealed the session was seen of this epoch.
    only_revealed: bool,
}

/// What came of a session's observations.
#[derive(Debug, Default)]
pub(super) struct Continuity {
    pub violations: Vec<Violation>,
    /// Times at which it was seen at another backend than before.
    pub moved: Vec<u64>,
    /// Answers by an older epoch that an isolated node may give.
    pub stale: usize,
}

/// Goes through the observations of one session, in the order in which they ended. One comes after another when
/// it began after that had ended; of two at the same time nothing is asked.
pub(super) fn check(observations: &[Observation<'_>], circumstances: &Circumstances) -> Continuity {
    let keys: BTreeSet<&str> = observations.iter().filter_map(|observation| observation.key).collect();
    let mut by_beginning: Vec<&Observation<'_>> = observations.iter().collect();
    by_beginning.sort_by_key(|observation| observation.span.from);
    let mut result = Continuity::default();
    let mut ended = observations.iter().peekable();
    let mut known: Option<Known<'_>> = None;
    let mut judged = BTreeSet::new();
    for next in by_beginning {
        while let Some(before) = ended.next_if(|before| before.span.until < next.span.from) {
            known = Some(learn(known, before, &mut result));
        }
        let Some(known) = known else { continue };
        let violation = if next.epoch < known.newest.epoch {
            went_back(&known, next, circumstances, &mut result.stale)
        } else if next.epoch > known.newest.epoch && judged.insert(next.epoch) {
            changed(&known, next, &keys, circumstances)
        } else {
            None
        };
        result.violations.extend(violation);
    }
    for before in ended {
        known = Some(learn(known, before, &mut result));
    }
    result
}

fn learn<'a>(known: Option<Known<'a>>, next: &Observation<'a>, result: &mut Continuity) -> Known<'a> {
    match known {
        Some(known) if next.epoch < known.newest.epoch => known,
        Some(known) if next.epoch == known.newest.epoch => Known { newest: *next, only_revealed: false },
        _ => {
            if known.is_some_and(|known| known.newest.backend != next.backend) {
                result.moved.push(next.span.until);
            }
            Known { newest: *next, only_revealed: next.revealed }
        }
    }
}

fn went_back(
    known: &Known<'_>,
    next: &Observation<'_>,
    circumstances: &Circumstances,
    stale: &mut usize,
) -> Option<Violation> {
    // An isolated node goes on with the sessions that it knows, where the affinity lets it.
    if !next.door.is_refused_in_isolation() && circumstances.may_be_isolated(next.node, next.span) {
        *stale += 1;
        return None;
    }
    let Known { newest, .. } = known;
    let what = format!(
        "epoch {} at {} through node {}, after epoch {} at {} through node {}",
        next.epoch, next.backend, next.node, newest.epoch, newest.backend, newest.node
    );
    Some(violation(Promise::MonotoneEpochs, next, what))
}

fn changed(
    known: &Known<'_>,
    next: &Observation<'_>,
    keys: &BTreeSet<&str>,
    circumstances: &Circumstances,
) -> Option<Violation> {
    let Known { newest, only_revealed } = known;
    let span = Span { from: newest.span.from, until: next.span.until };
    let operated = keys.iter().any(|key| {
        circumstances.may_be_moved(key, newest.epoch, span.until)
            || circumstances.may_be_ended(key, newest.epoch, newest.backend, span)
    });
    if operated || circumstances.may_leave(newest.backend, span) {
        return None;
    }
    let what = format!(
        "was at {} by epoch {} (node {}), is at {} by epoch {} (node {}), and nothing happened to {} in between",
        newest.backend, newest.epoch, newest.node, next.backend, next.epoch, next.node, newest.backend
    );
    let promise = if *only_revealed {
        Promise::RevealedMeansCommitted
    } else if newest.backend == next.backend {
        Promise::Durability
    } else {
        Promise::NoUnforcedMove
    };
    Some(violation(promise, next, what))
}

fn violation(promise: Promise, next: &Observation<'_>, what: String) -> Violation {
    Violation { promise, session: next.session.to_owned(), at: next.span.until, what }
}
