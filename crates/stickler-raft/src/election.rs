//! Shortens an election: when the connection to the leader breaks, this node asks for a pre-vote election
//! until there is a leader again. The others grant it once they, too, have not heard from the old leader
//! for an election time-out, so a leader that is alive loses nothing by it.

use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_rt::{Clock, Shutdown};
use tokio::sync::mpsc;

use crate::raft::{Raft, Types};

/// Pause between two requests of one node. While the node's own lease for the old leader lasts, a request
/// is refused without a message.
const PAUSE: Duration = Duration::from_millis(20);

/// Head start of one node over the next, so that two don't split the votes: as long as an election takes.
const HEAD_START: Duration = Duration::from_millis(150);

/// How long an election that has begun is left alone: another request would begin it anew.
const ELECTION: Duration = Duration::from_millis(150);

/// How long to go on asking. Then openraft's own timer is long due.
const LONGEST: Duration = Duration::from_secs(2);

/// The one task that asks for elections.
pub(crate) struct Elector {
    pub(crate) own: NodeId,
    pub(crate) raft: Raft,
    pub(crate) clock: Clock,
    pub(crate) lost_leader: mpsc::Receiver<NodeId>,
}

impl Elector {
    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        loop {
            let lost = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                lost = self.lost_leader.recv() => match lost {
                    Some(lost) => lost,
                    None => return,
                },
            };
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                () = self.replace(lost) => {}
            }
            // What was said meanwhile was about the same leader.
            while self.lost_leader.try_recv().is_ok() {}
        }
    }

    async fn replace(&self, lost: NodeId) {
        let mut metrics = self.raft.metrics();
        let (mut term, rank) = {
            let now = metrics.borrow_and_update();
            let voters = now.membership_config.membership().voter_ids();
            let rank = voters.filter(|voter| *voter != lost.0 && *voter < self.own.0).count();
            (now.current_term, u32::try_from(rank).unwrap_or(u32::MAX))
        };
        tracing::info!(node = %lost, term, "connection to the leader broke");
        let give_up = self.clock.now() + LONGEST;
        let mut patience = HEAD_START * rank;
        loop {
            // Waits its turn, but no longer than until somebody leads.
            let settled = metrics_until(&mut metrics, patience, |now| {
                now.current_leader.is_some_and(|leader| leader != lost.0 || now.current_term > term)
            });
            if settled.await || self.clock.now() >= give_up {
                return;
            }
            let current = metrics.borrow_and_update().current_term;
            if current > term {
                term = current;
                patience = ELECTION;
                continue;
            }
            if self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            patience = PAUSE;
        }
    }
}

type Metrics = openraft::RaftMetrics<Types>;

/// Whether `wanted` has come true within `patience`.
async fn metrics_until(
    metrics: &mut openraft::type_config::alias::WatchReceiverOf<Types, Metrics>,
    patience: Duration,
    wanted: impl Fn(&Metrics) -> bool,
) -> bool {
    let waiting = async {
        while !wanted(&metrics.borrow_and_update()) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(patience, waiting).await.is_ok()
}
