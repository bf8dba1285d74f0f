//! Decides when this node asks for an election, so that one comes soon and there is one candidate at a time.
//!
//! When the connection to the leader breaks, or the leader does not answer, this node asks for a pre-vote
//! election until there is a leader again. The others grant it once they, too, have not heard from the old
//! leader for an election time-out, so a leader that is alive loses nothing by it.
//!
//! A pre-vote excludes nobody: two survivors whose pre-votes cross both become candidates, and neither gets
//! the other's vote. openraft's own timer draws again from 50 ms at most, which is less than an election
//! takes on a busy disk or over a long line, so the two may go on like that for long. That timer is therefore
//! off while this task fills a vacancy, and the nodes take [turns](turn) that widen with each election that came
//! to nothing. At all other times the timer is on: it is for a leader that still answers and leads no more.

use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_rt::{Clock, Shutdown};
use tokio::sync::mpsc;

use crate::raft::{Raft, Types};
use crate::settings::LEADER_LEASE;

/// Pause between two requests of one node. While the node's own lease for the old leader lasts, a request
/// is refused without a message.
const PAUSE: Duration = Duration::from_millis(20);

/// The same once the others have been asked for [`LONGEST`]: most likely there is no majority.
const LONG_PAUSE: Duration = Duration::from_millis(200);

/// How long an election takes on a good day: a pre-vote, a vote and two synced writes.
const ELECTION: Duration = Duration::from_millis(100);

/// Head start of the first to ask over the next after a leader was lost, when that many have just heard of
/// each other: by then its request for votes has come to everybody.
const HEAD_START: Duration = Duration::from_millis(50);

/// Doublings of a turn, at most: 800 ms for each node before this one.
const DOUBLINGS: u32 = 3;

/// How long to go on asking in the place of a leader that nobody has replaced: it may be alive.
const LONGEST: Duration = Duration::from_secs(2);

/// The one task that asks for elections.
pub(crate) struct Elector {
    own: NodeId,
    raft: Raft,
    clock: Clock,
    lost_leader: mpsc::Receiver<NodeId>,
    metrics: MetricsWatch,
}

type Metrics = openraft::metrics::RaftServerMetrics<Types>;
type MetricsWatch = openraft::type_config::alias::WatchReceiverOf<Types, Metrics>;

/// Why this node asks for an election.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Vacancy {
    /// The connection to this leader broke, or it does not answer.
    Lost(NodeId),
    /// Nobody leads the term that this node knows of: an election is on, or has come to nothing.
    Leaderless,
}

impl Elector {
    pub(crate) fn new(own: NodeId, raft: Raft, clock: Clock, lost_leader: mpsc::Receiver<NodeId>) -> Elector {
        let metrics = raft.server_metrics();
        Elector { own, raft, clock, lost_leader, metrics }
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        loop {
            let vacancy = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                vacancy = self.vacancy() => match vacancy {
                    Some(vacancy) => vacancy,
                    None => return,
                },
            };
            self.raft.runtime_config().elect(false);
            let filled = tokio::select! {
                biased;
                () = shutdown.wait() => Some(()),
                filled = self.fill(vacancy) => filled,
            };
            self.raft.runtime_config().elect(true);
            if filled.is_none() {
                return;
            }
            // What was said meanwhile was about the same leader.
            while self.lost_leader.try_recv().is_ok() {}
        }
    }

    /// Waits until this node has a reason to ask for an election; `None` when consensus has stopped.
    async fn vacancy(&mut self) -> Option<Vacancy> {
        loop {
            {
                let now = self.metrics.borrow_and_update();
                if now.current_leader.is_none() && is_voter(&now, self.own) {
                    return Some(Vacancy::Leaderless);
                }
            }
            tokio::select! {
                biased;
                lost = self.lost_leader.recv() => return lost.map(Vacancy::Lost),
                changed = self.metrics.changed() => changed.ok()?,
            }
        }
    }

    /// Asks until somebody leads in the place of the one that was lost, or that one has been given the
    /// benefit of the doubt; `None` when consensus has stopped.
    async fn fill(&mut self, vacancy: Vacancy) -> Option<()> {
        let mut failed = 0;
        let (rank, lost_term, mut patience) = {
            let now = self.metrics.borrow_and_update();
            // Of all voters: who led last is not known to everybody, and no two may have one rank.
            let rank = rank_of(&now, self.own, None);
            let patience = match vacancy {
                Vacancy::Lost(leader) => first_turn(rank_of(&now, self.own, Some(leader))),
                Vacancy::Leaderless => turn(rank, failed),
            };
            (rank, now.vote.leader_id.term, patience)
        };
        tracing::info!(?vacancy, term = lost_term, rank, "nobody leads");
        let mut term = lost_term;
        let begun = self.clock.now();
        loop {
            // Waits its turn, but no longer than until somebody leads.
            let settled = metrics_until(&mut self.metrics, patience, |now| {
                now.current_leader.is_some_and(|leader| {
                    let returned = vacancy == Vacancy::Lost(NodeId(leader));
                    !returned || now.vote.leader_id.term > lost_term
                })
            });
            if settled.await? {
                return Some(());
            }
            let long = self.clock.now() >= begun + LONGEST;
            if long && self.metrics.borrow_and_update().current_leader.is_some() {
                return Some(());
            }
            // Not from the metrics, which are as old as the sync of a vote is long: an election that has just
            // begun would be begun anew.
            let current = self.raft.with_raft_state(|state| state.vote_ref().leader_id.term).await.ok()?;
            if current > term {
                // An election has begun. Another request would begin it anew.
                term = current;
                patience = turn(rank, failed);
                failed += 1;
                continue;
            }
            self.raft.trigger().elect(true).await.ok()?;
            patience = if long { LONG_PAUSE } else { PAUSE };
        }
    }
}

/// How many voters come before `own`, without the leader that is gone.
fn rank_of(metrics: &Metrics, own: NodeId, lost: Option<NodeId>) -> u32 {
    let lost = lost.map(|lost| lost.0);
    let voters = metrics.membership_config.membership().voter_ids();
    let before = voters.filter(|voter| Some(*voter) != lost && *voter < own.0).count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

fn is_voter(metrics: &Metrics, own: NodeId) -> bool {
    metrics.membership_config.membership().voter_ids().any(|voter| voter == own.0)
}

/// When the survivor in this place begins to ask after the connection to the leader broke. Before the others'
/// leases for the old leader end, nobody can be elected, so that is when the head start begins.
fn first_turn(place: u32) -> Duration {
    if place == 0 { Duration::ZERO } else { LEADER_LEASE + HEAD_START * place }
}

/// How long the node of this rank leaves alone an election that has begun, after `failed` others.
fn turn(rank: u32, failed: u32) -> Duration {
    ELECTION * (1 << failed.min(DOUBLINGS)) * rank.saturating_add(1)
}

/// Whether `wanted` has come true within `patience`; `None` when consensus has stopped.
async fn metrics_until(
    metrics: &mut MetricsWatch,
    patience: Duration,
    wanted: impl Fn(&Metrics) -> bool,
) -> Option<bool> {
    let waiting = async {
        while !wanted(&metrics.borrow_and_update()) {
            metrics.changed().await.ok()?;
        }
        Some(())
    };
    match tokio::time::timeout(patience, waiting).await {
        Ok(Some(())) => Some(true),
        Ok(None) => None,
        Err(_) => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nodes_have_a_turn_at_the_same_time_and_turns_widen() {
        for failed in 0..6 {
            for rank in 0..4 {
                assert!(turn(rank, failed) + ELECTION <= turn(rank + 1, failed));
                assert!(first_turn(rank) < first_turn(rank + 1));
                assert!(turn(rank, failed) <= turn(rank, failed + 1));
            }
        }
        assert_eq!(turn(1, 2) - turn(0, 2), ELECTION * 4);
    }
}
