//! What shoppers were told, and whether they may be told that. Pure.

use std::collections::BTreeMap;

use super::connections::{Asked, Failure};
use crate::report::Report;
use crate::rig::client::Answer;

/// Faults that are kept; more are counted only.
const KEPT: usize = 100;

/// One session, as its shopper knows it.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) identifier: String,
    /// Things that it has put into its cart.
    items: u64,
    /// The backend of each epoch by which it was served.
    places: BTreeMap<u64, String>,
    lost: bool,
}

impl Session {
    pub(super) fn called(identifier: String) -> Self {
        Self { identifier, ..Self::default() }
    }

    /// Takes in what came of a request that put a thing into the cart; what is wrong with it.
    fn take(&mut self, answer: Answer, items: u64, may_be_done: u64) -> Vec<String> {
        let Self { identifier, places, .. } = self;
        let mut wrong = Vec::new();
        let fewest = self.items + 1;
        // A node that died on the way may have had it done: then it is there twice.
        if !(fewest..=fewest + may_be_done).contains(&items) {
            self.lost = true;
            let at = &answer.backend;
            wrong.push(format!(
                "{identifier}: {items} things in its cart at {at}, and it has put in {fewest}"
            ));
        }
        self.items = items;
        let Some(epoch) = answer.epoch else {
            wrong.push(format!("{identifier}: an answer without an epoch"));
            return wrong;
        };
        if let Some((last, _)) = places.last_key_value().filter(|(last, _)| epoch < **last) {
            wrong.push(format!("{identifier}: epoch {epoch} after epoch {last}"));
        }
        let backend = places.entry(epoch).or_insert_with(|| answer.backend.clone());
        if *backend != answer.backend {
            wrong.push(format!("{identifier}: epoch {epoch} at {backend} and at {}", answer.backend));
        }
        wrong
    }

    fn moves(&self) -> usize {
        self.places.len().saturating_sub(1)
    }
}

/// What all of them were told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: usize,
    sessions: usize,
    /// Sessions whose cart was not what they had put into it.
    lost: usize,
    /// How many sessions have moved so often.
    moves: BTreeMap<usize, usize>,
    unserved: usize,
    failures: Vec<Failure>,
    faults: Vec<String>,
    more_faults: usize,
}

impl Tally {
    /// Takes in what came of a request. `leaving` ends the session: when it has to be asked for again, the session may
    /// have ended by then, and another one have begun.
    pub(super) fn take(&mut self, session: &mut Session, asked: Asked, leaving: bool) {
        self.requests += 1;
        let Asked { served, failures } = asked;
        let may_be_done = failures.iter().filter(|failure| failure.may_be_done).count() as u64;
        match served {
            Some(_) if leaving && may_be_done > 0 => {}
            Some((answer, items)) => {
                for wrong in session.take(answer, items, may_be_done) {
                    self.fault(wrong);
                }
            }
            None => {
                self.unserved += 1;
                self.fault(format!("{} was not served: {failures:?}", session.identifier));
            }
        }
        self.failures.extend(failures);
    }

    /// A session is over, or has been followed for long enough.
    pub(super) fn end(&mut self, session: &Session) {
        self.sessions += 1;
        self.lost += usize::from(session.lost);
        *self.moves.entry(session.moves()).or_default() += 1;
    }

    pub(super) fn join(&mut self, other: Self) {
        self.requests += other.requests;
        self.sessions += other.sessions;
        self.lost += other.lost;
        for (moves, sessions) in other.moves {
            *self.moves.entry(moves).or_default() += sessions;
        }
        self.unserved += other.unserved;
        self.failures.extend(other.failures);
        self.more_faults += other.more_faults;
        other.faults.into_iter().for_each(|fault| self.fault(fault));
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < KEPT {
            self.faults.push(fault);
        } else {
            self.more_faults += 1;
        }
    }

    /// Every session has its cart and has moved so often, and every request was served, by the node that was asked unless
    /// that is the one that was killed or an election took long.
    pub(super) fn judge(&self, label: &str, moves: usize, killed: usize, report: &mut Report) {
        report.figure(
            format!("{label}: requests, of sessions"),
            format!("{}, of {}", self.requests, self.sessions),
        );
        report.bar(format!("{label}: carts lost"), self.lost, "0", self.lost == 0);
        let others: usize =
            self.moves.iter().filter(|(count, _)| **count != moves).map(|(_, sessions)| sessions).sum();
        report.bar(
            format!("{label}: sessions that moved more or less often than {moves} times"),
            others,
            "0",
            others == 0,
        );
        report.bar(format!("{label}: requests that no node served"), self.unserved, "0", self.unserved == 0);
        let (at_killed, at_others): (Vec<_>, Vec<_>) =
            self.failures.iter().partition(|failure| failure.node == killed);
        let (leaderless, failed): (Vec<_>, Vec<_>) =
            at_others.into_iter().partition(|failure| failure.for_want_of_a_leader);
        report.figure(format!("{label}: requests that the killed node did not serve"), at_killed.len());
        report.figure(
            format!("{label}: requests that another node did not serve for want of a leader"),
            leaderless.len(),
        );
        report.bar(
            format!("{label}: requests that another node did not serve for another reason"),
            failed.len(),
            "0",
            failed.is_empty(),
        );
        let failed =
            failed.iter().map(|failure| format!("through node {}: {}", failure.node + 1, failure.how));
        report.faults(failed.take(KEPT).map(|failed| format!("{label}: {failed}")));
        report.faults(self.faults.iter().map(|fault| format!("{label}: {fault}")));
        report.faults((self.more_faults > 0).then(|| format!("{label}: {} more", self.more_faults)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(backend: &str, epoch: u64, items: u64) -> Asked {
        let answer = Answer { backend: backend.to_owned(), epoch: Some(epoch), ..Answer::default() };
        Asked { served: Some((answer, items)), failures: Vec::new() }
    }

    fn broken(mut asked: Asked) -> Asked {
        let how = "no answer".to_owned();
        asked.failures.push(Failure { node: 0, how, may_be_done: true, for_want_of_a_leader: false });
        asked
    }

    /// Whether it is fine that a session with one thing at `a` by epoch 7 is told this.
    fn held(asked: Asked, leaving: bool, moves: usize) -> bool {
        let (mut session, mut tally) = (Session::called("s".to_owned()), Tally::default());
        tally.take(&mut session, answered("a", 7, 1), false);
        tally.take(&mut session, asked, leaving);
        tally.end(&session);
        let mut report = Report::default();
        tally.judge("test", moves, 0, &mut report);
        report.held()
    }

    #[test]
    fn a_cart_has_all_that_was_put_in_wherever_the_session_is() {
        assert!(held(answered("a", 7, 2), false, 0));
        assert!(held(answered("b", 8, 2), false, 1));
        assert!(!held(answered("b", 8, 1), false, 1), "lost");
        assert!(!held(answered("a", 7, 3), false, 0), "somebody else's");
        assert!(!held(answered("b", 7, 2), false, 0), "one epoch at two backends");
        assert!(!held(answered("a", 6, 2), false, 1), "an older epoch");
        assert!(!held(answered("b", 8, 2), false, 0), "moved");
        assert!(!held(Asked { served: None, failures: Vec::new() }, false, 0), "not served");
    }

    #[test]
    fn what_a_killed_node_may_have_done_is_no_fault() {
        for items in [2, 3] {
            assert!(held(broken(answered("a", 7, items)), false, 0));
        }
        assert!(!held(broken(answered("a", 7, 1)), false, 0));
        // The session may have ended, and another one have begun.
        assert!(held(broken(answered("b", 8, 1)), true, 0));
        assert!(!held(answered("b", 8, 1), true, 0));
    }
}
