//! Shortens an election: when the connection to the leader breaks, this node asks for a pre-vote election
//! until there is a leader again. The others grant it once they, too, have not heard from the old leader
//! for an election time-out, so a leader that is alive loses nothing by it.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use stickler_core::ids::NodeId;
use stickler_rt::{Clock, Shutdown};
use tokio::sync::mpsc;

use crate::raft::Raft;

/// Pause between two requests of one node.
const PAUSE: Duration = Duration::from_millis(15);

/// Head start of one node over the next, so that two don't split the votes.
const HEAD_START: Duration = Duration::from_millis(40);

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
                () = shutdown.wait() => return,
                lost = self.lost_leader.recv() => match lost {
                    Some(lost) => lost,
                    None => return,
                },
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.replace(lost) => {}
            }
            // What was said meanwhile was about the same leader.
            while self.lost_leader.try_recv().is_ok() {}
        }
    }

    async fn replace(&self, lost: NodeId) {
        let (term, rank) = {
            let metrics = self.raft.metrics().borrow_watched().clone();
            let voters = metrics.membership_config.membership().voter_ids();
            let rank = voters.filter(|voter| *voter != lost.0 && *voter < self.own.0).count();
            (metrics.current_term, u32::try_from(rank).unwrap_or(u32::MAX))
        };
        tracing::info!(node = %lost, term, "connection to the leader broke");
        tokio::time::sleep(HEAD_START * rank).await;
        let give_up = self.clock.now() + LONGEST;
        while self.clock.now() < give_up {
            let settled = {
                let metrics = self.raft.metrics().borrow_watched().clone();
                metrics.current_term > term && metrics.current_leader.is_some()
            };
            if settled || self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
