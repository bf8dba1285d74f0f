//! How many new sessions a backend may get, and must, while its share grows. Pure.

use std::time::Duration;

use stickler_rt::Moment;

use crate::chance::Draws;
use crate::report::Report;
use crate::scenario::visits::Visit;
use crate::statistics::seconds;

/// The steps in which a share grows; it is never less than one of them.
const STEP: f64 = 0.01;

/// How a pool chooses a backend for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Balance {
    /// Of two that are drawn, the one that has less to do.
    TwoChoices,
    /// By the hash of the client's key.
    Rendezvous,
}

impl Balance {
    /// As it stands in documents.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TwoChoices => "two-choices",
            Self::Rendezvous => "rendezvous",
        }
    }
}

/// A backend that starts slowly, beside others of the same weight that have their whole shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowStart {
    pub(super) balance: Balance,
    pub(super) others: usize,
    pub(super) lasts: Duration,
    /// When its process was started: its share began to grow after that.
    pub(super) started: Moment,
    /// When every node was seen to have it up: its share had begun to grow by then.
    pub(super) up: Moment,
}

impl SlowStart {
    /// When it has its whole share, whenever exactly that began to grow.
    pub(super) fn ends(&self) -> Moment {
        self.up + self.lasts
    }

    /// Its part of a whole share, at the most.
    fn share_at_most(&self, at: Moment) -> f64 {
        self.grown(self.started, at).max(STEP)
    }

    /// Its part of a whole share, at the least.
    fn share_at_least(&self, at: Moment) -> f64 {
        let grown = self.grown(self.up, at);
        if grown < 1.0 { (grown - STEP).max(STEP) } else { 1.0 }
    }

    fn grown(&self, since: Moment, at: Moment) -> f64 {
        (at.since(since).as_secs_f64() / self.lasts.as_secs_f64()).min(1.0)
    }

    /// The probability that a session began there, at the most. It was decided on at some time between the request and
    /// the answer.
    ///
    /// By the hash of a key that no other client has, each backend is chosen in proportion to its share: with a part of s
    /// of a whole share, beside K others with whole ones, with s / (K + s).
    ///
    /// Of two that are drawn, the one with fewer requests in flight for its share is taken: whether it is this one is up
    /// to the moment's load, but it has to be drawn. It is the first one with s / (K + s), and when another one is, which
    /// then is missing, the second one with s / (K - 1 + s). While s is small this is twice its part in the shares; from
    /// a third on it says little. When all shares are the same, so are all backends, and each gets its part.
    fn probability_at_most(&self, visit: &Visit) -> f64 {
        let (others, share) = (self.others as f64, self.share_at_most(visit.ended));
        let part = share / (others + share);
        match self.balance {
            Balance::TwoChoices if visit.began < self.ends() => {
                part + (1.0 - part) * share / (others - 1.0 + share)
            }
            Balance::TwoChoices | Balance::Rendezvous => part,
        }
    }

    /// The same, at the least: by two choices nothing is certain until its share is whole.
    fn probability_at_least(&self, visit: &Visit) -> f64 {
        let (others, share) = (self.others as f64, self.share_at_least(visit.began));
        match self.balance {
            Balance::TwoChoices if share < 1.0 => 0.0,
            Balance::TwoChoices | Balance::Rendezvous => share / (others + share),
        }
    }

    /// The fewest and the most of these sessions that may be there.
    fn bounds(&self, visits: &[&Visit]) -> (usize, usize) {
        let least = Draws::of(visits.iter().map(|visit| self.probability_at_least(visit)));
        let most = Draws::of(visits.iter().map(|visit| self.probability_at_most(visit)));
        (least.fewest(), most.most())
    }
}

/// Sessions that began between these moments, as far as a backend answered.
pub(super) fn between(visits: &[Visit], from: Moment, to: Moment) -> Vec<&Visit> {
    let within = |visit: &&Visit| visit.began >= from && visit.began < to && visit.backend().is_some();
    visits.iter().filter(within).collect()
}

fn on(visits: &[&Visit], backend: &str) -> usize {
    visits.iter().filter(|visit| visit.backend() == Some(backend)).count()
}

/// The backend gets of these sessions what its share says.
pub(super) fn judge_growing(
    what: &str,
    backend: &str,
    slow_start: &SlowStart,
    visits: &[&Visit],
    report: &mut Report,
) {
    let (fewest, most) = slow_start.bounds(visits);
    let bar = if fewest == 0 { format!("{most} at most") } else { format!("{fewest} to {most}") };
    let new = on(visits, backend);
    report.bar(
        format!("{what}: new sessions on {backend}, of {}", visits.len()),
        counted(new, visits.len()),
        bar,
        !visits.is_empty() && (fewest..=most).contains(&new),
    );
}

/// There are enough of these sessions to tell a backend that starts slowly from one that does not, which would get its
/// part of all, however chance has it.
pub(super) fn judge_telling(what: &str, slow_start: &SlowStart, visits: &[&Visit], report: &mut Report) {
    let (_, most) = slow_start.bounds(visits);
    let without = whole(slow_start.others, visits).fewest();
    report.bar(
        format!("{what}: new sessions that it may get, of {}", visits.len()),
        most,
        format!("less than {without}, which it would get at once"),
        most < without,
    );
}

/// Every backend gets its part of these sessions.
pub(super) fn judge_whole(what: &str, backends: &[String], visits: &[&Visit], report: &mut Report) {
    let draws = whole(backends.len() - 1, visits);
    let (fewest, most) = (draws.fewest(), draws.most());
    let new: Vec<usize> = backends.iter().map(|backend| on(visits, backend)).collect();
    report.bar(
        format!("{what}: new sessions on each backend, of {}", visits.len()),
        format!("{new:?}"),
        format!("{fewest} to {most} each"),
        fewest > 0 && new.iter().all(|new| (fewest..=most).contains(new)),
    );
}

/// What a backend gets that has its whole share, as all others have.
fn whole(others: usize, visits: &[&Visit]) -> Draws {
    Draws::of(visits.iter().map(|_| 1.0 / (others as f64 + 1.0)))
}

fn counted(new: usize, all: usize) -> String {
    format!("{new} ({:.1} %)", 100.0 * new as f64 / all.max(1) as f64)
}

/// A spell, as it is told.
pub(super) fn spell(slow_start: &SlowStart, from: Moment, to: Moment) -> String {
    format!("{} to {} after it is up", seconds(from.since(slow_start.up)), seconds(to.since(slow_start.up)))
}

#[cfg(test)]
mod tests {
    use super::super::super::visits::tests::{served, visit};
    use super::*;

    fn slow_start(balance: Balance) -> SlowStart {
        let at = |second| Moment(Duration::from_secs(second));
        SlowStart { balance, others: 2, lasts: Duration::from_secs(20), started: at(99), up: at(100) }
    }

    /// Of a thousand sessions within 2.5 s from this second after it is up, so many are on it.
    fn held(balance: Balance, second: u64, on_it: usize) -> bool {
        let visits: Vec<Visit> = (0..1000)
            .map(|number| {
                let at = (100 + second) * 1000 + number as u64 * 5 / 2;
                visit(0, (at, at + 5), served(if number < on_it { "slow" } else { "other" }, 1))
            })
            .collect();
        let mut report = Report::default();
        let visits: Vec<&Visit> = visits.iter().collect();
        judge_growing("r", "slow", &slow_start(balance), &visits, &mut report);
        report.held()
    }

    #[test]
    fn a_backend_that_gets_its_third_at_once_is_a_failure() {
        for balance in [Balance::TwoChoices, Balance::Rendezvous] {
            assert!(held(balance, 0, 35), "half of an eighth, beside two");
            assert!(!held(balance, 0, 333), "as if there were no slow start");
        }
        assert!(!held(Balance::Rendezvous, 5, 333));
    }

    #[test]
    fn a_backend_that_never_gets_its_third_is_a_failure() {
        for balance in [Balance::TwoChoices, Balance::Rendezvous] {
            assert!(held(balance, 20, 333));
            assert!(!held(balance, 20, 240));
        }
        assert!(!held(Balance::Rendezvous, 10, 35), "as if it had begun anew");
    }

    #[test]
    fn a_node_that_prefers_one_of_equals_is_a_failure_and_so_is_one_that_serves_nobody() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let held = |counts: [usize; 3]| {
            let of = |(name, count): (&String, usize)| vec![visit(0, (0, 1), served(name, 1)); count];
            let visits: Vec<Visit> = names.iter().zip(counts).flat_map(of).collect();
            let mut report = Report::default();
            judge_whole("r", &names, &visits.iter().collect::<Vec<_>>(), &mut report);
            report.held()
        };
        assert!(held([60, 70, 65]));
        assert!(!held([5, 95, 95]));
        assert!(!held([0, 0, 0]));
    }

    #[test]
    fn a_flow_that_is_too_thin_tells_nothing() {
        let held = |count: u64| {
            let of = |number: u64| visit(0, (100_000 + number, 100_001 + number), served("other", 1));
            let visits: Vec<Visit> = (0..count).map(of).collect();
            let mut report = Report::default();
            let visits: Vec<&Visit> = visits.iter().collect();
            judge_telling("r", &slow_start(Balance::TwoChoices), &visits, &mut report);
            report.held()
        };
        assert!(held(1000));
        assert!(!held(30));
    }
}
