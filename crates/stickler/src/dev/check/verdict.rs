//! What happened → what it means. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use stickler_rt::Moment;

use super::record::{Exchange, Outcome, Run, Visit};

/// After a backend's death a client may see errors for so long: until the cluster has agreed that it is down.
pub(super) const ERRORS_ALLOWED: Duration = Duration::from_secs(2);
/// New sessions must begin again within this time, whatever dies.
pub(super) const LONGEST_WITHOUT_BIND: Duration = Duration::from_secs(1);

/// What the table shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub sessions: usize,
    pub requests: usize,
    /// Requests that a client had to try on more than one node.
    pub retried: usize,
    pub lost_carts: usize,
    /// Sessions bound to the backend that was killed, as far as their clients came back.
    pub bound_to_dead: usize,
    /// Those of them that moved.
    pub moved: usize,
    pub longest_without_bind: Duration,
    pub errors: usize,
    /// Errors outside of the time after the backend's death.
    pub errors_outside: usize,
}

/// What must not happen. Moments are counted from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A cart came back without something that had been in it, though its backend lives.
    LostCart { client: String, at: Duration, node: u64, backend: String, missing: Vec<u64> },
    /// A cart came back with something that its client never put in.
    ForeignItems { client: String, at: Duration, node: u64, backend: String, numbers: Vec<u64> },
    /// A session moved whose backend was up.
    UnforcedMove { client: String, at: Duration, node: u64, from: String, to: String },
    /// A session of the dead backend has not moved to another one.
    NotMoved { client: String },
    /// A client that retries on another node saw an error when none is allowed.
    Error { client: String, at: Duration, attempts: String },
    /// No new session began for too long.
    NoNewBind { after: Duration, lasted: Duration },
    /// No session was bound to the backend that was killed, so that the run has shown nothing.
    NothingMoved,
}

/// The table and what must not have happened.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub counts: Counts,
    pub failures: Vec<Failure>,
}

/// Judges a run.
pub(super) fn judge(run: &Run) -> Verdict {
    let mut verdict = Verdict { counts: Counts::default(), failures: Vec::new() };
    let mut binds = Vec::new();
    for visit in &run.visits {
        let began = judge_visit(run, visit, &mut verdict);
        binds.extend(began.filter(|_| visit.proves_bind));
    }
    verdict.judge_binds(run, binds);
    if verdict.counts.moved == 0 {
        verdict.failures.push(Failure::NothingMoved);
    }
    verdict
}

/// A cart as its client knows it.
struct Cart<'a> {
    backend: &'a str,
    numbers: BTreeSet<u64>,
}

/// Follows one session; the moment at which it began, if it did.
fn judge_visit(run: &Run, visit: &Visit, verdict: &mut Verdict) -> Option<Moment> {
    let mut attempted = BTreeSet::new();
    let mut cart: Option<Cart<'_>> = None;
    let mut began = None;
    let mut moved = false;
    for exchange in &visit.exchanges {
        verdict.counts.requests += 1;
        verdict.counts.retried += usize::from(exchange.retries > 0);
        attempted.insert(exchange.number);
        let Outcome::Served { backend, numbers, .. } = &exchange.outcome else {
            verdict.note_error(run, visit, exchange);
            continue;
        };
        let foreign = numbers.iter().any(|number| !attempted.contains(number));
        if foreign {
            verdict.failures.extend(Failure::foreign_items(run, visit, exchange));
        }
        let known = cart.get_or_insert_with(|| {
            began = Some(exchange.ended);
            Cart { backend, numbers: BTreeSet::new() }
        });
        if known.backend != backend {
            if known.backend == run.dead_backend && exchange.ended >= run.backend_killed {
                // The cart went with its backend, and the client has begun a new one.
                moved = true;
                known.numbers.clear();
            } else {
                verdict.failures.extend(Failure::unforced_move(run, visit, exchange, known.backend));
            }
            known.backend = backend;
        }
        known.numbers.insert(exchange.number);
        let seen: BTreeSet<u64> = numbers.iter().copied().collect();
        let missing: Vec<u64> = known.numbers.difference(&seen).copied().collect();
        if !missing.is_empty() {
            verdict.counts.lost_carts += 1;
            verdict.failures.extend(Failure::lost_cart(run, visit, exchange, missing));
            // What was lost once is not lost again with each further request.
            known.numbers = seen;
        }
    }
    verdict.counts.sessions += usize::from(began.is_some());
    verdict.counts.moved += usize::from(moved);
    let on_dead = cart.is_some_and(|cart| cart.backend == run.dead_backend);
    let came_back = visit.exchanges.last().is_some_and(|last| last.started >= run.backend_killed);
    if on_dead && (visit.stays || came_back) {
        verdict.counts.bound_to_dead += 1;
        verdict.failures.push(Failure::NotMoved { client: visit.client.clone() });
    }
    verdict.counts.bound_to_dead += usize::from(moved);
    began
}

impl Verdict {
    fn note_error(&mut self, run: &Run, visit: &Visit, exchange: &Exchange) {
        let Outcome::Failed { attempts } = &exchange.outcome else { return };
        self.counts.errors += 1;
        let excused = exchange.ended >= run.backend_killed
            && exchange.ended.since(run.backend_killed) <= ERRORS_ALLOWED;
        if !excused {
            self.counts.errors_outside += 1;
            self.failures.push(Failure::Error {
                client: visit.client.clone(),
                at: exchange.ended.since(run.started),
                attempts: attempts.clone(),
            });
        }
    }

    fn judge_binds(&mut self, run: &Run, mut binds: Vec<Moment>) {
        binds.retain(|bind| (run.started..=run.ended).contains(bind));
        binds.push(run.ended);
        binds.sort_unstable();
        let mut before = run.started;
        for bind in binds {
            let lasted = bind.since(before);
            if lasted >= LONGEST_WITHOUT_BIND {
                self.failures.push(Failure::NoNewBind { after: before.since(run.started), lasted });
            }
            self.counts.longest_without_bind = self.counts.longest_without_bind.max(lasted);
            before = bind;
        }
    }
}

impl Failure {
    fn lost_cart(run: &Run, visit: &Visit, exchange: &Exchange, missing: Vec<u64>) -> Option<Self> {
        let Outcome::Served { node, backend, .. } = &exchange.outcome else { return None };
        let at = exchange.ended.since(run.started);
        Some(Self::LostCart {
            client: visit.client.clone(),
            at,
            node: *node,
            backend: backend.clone(),
            missing,
        })
    }

    fn foreign_items(run: &Run, visit: &Visit, exchange: &Exchange) -> Option<Self> {
        let Outcome::Served { node, backend, numbers } = &exchange.outcome else { return None };
        Some(Self::ForeignItems {
            client: visit.client.clone(),
            at: exchange.ended.since(run.started),
            node: *node,
            backend: backend.clone(),
            numbers: numbers.clone(),
        })
    }

    fn unforced_move(run: &Run, visit: &Visit, exchange: &Exchange, from: &str) -> Option<Self> {
        let Outcome::Served { node, backend, .. } = &exchange.outcome else { return None };
        Some(Self::UnforcedMove {
            client: visit.client.clone(),
            at: exchange.ended.since(run.started),
            node: *node,
            from: from.to_owned(),
            to: backend.clone(),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostCart { client, at, node, backend, missing } => write!(
                f,
                "at {}: {client} lost the items {missing:?} of the cart that {backend} keeps (by node {node})",
                seconds(*at)
            ),
            Self::ForeignItems { client, at, node, backend, numbers } => write!(
                f,
                "at {}: {client} was shown a cart that is not its own, {numbers:?} (by node {node}, from {backend})",
                seconds(*at)
            ),
            Self::UnforcedMove { client, at, node, from, to } => {
                write!(
                    f,
                    "at {}: {client} moved from {from}, which was up, to {to} (by node {node})",
                    seconds(*at)
                )
            }
            Self::NotMoved { client } => {
                write!(f, "{client} was bound to the dead backend and has not moved")
            }
            Self::Error { client, at, attempts } => {
                write!(f, "at {}: {client} saw an error: {attempts}", seconds(*at))
            }
            Self::NoNewBind { after, lasted } => {
                write!(f, "from {} on, no new session began for {} ms", seconds(*after), lasted.as_millis())
            }
            Self::NothingMoved => {
                f.write_str("no session moved away from the dead backend: nothing was shown")
            }
        }
    }
}

/// A moment of the run, for people.
pub(super) fn seconds(at: Duration) -> String {
    format!("{:.2} s", at.as_secs_f64())
}

#[cfg(test)]
mod tests;
