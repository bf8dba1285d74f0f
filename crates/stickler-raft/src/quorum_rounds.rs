//! Keeps a leader in office where messages are slow. openraft gives a heartbeat one heartbeat interval to be
//! answered; where the way there and back takes longer, none ever counts, and the leader's leases would lapse
//! as soon as nobody writes. An entry has all the time that it needs, so an empty one is the round then.

use std::time::Duration;

use stickler_rt::{Clock, Shutdown, watch};

use crate::office::{Term, quorum_acknowledged};
use crate::proposals::LeaderLog;
use crate::raft::Raft;

/// A round as old as this means that heartbeats are not answered in time: they come every 40 ms, and count
/// only when their answer takes no longer. Well below 200 ms, from which on openraft writes nothing.
const LATE: Duration = Duration::from_millis(90);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The one task that asks for rounds.
pub(crate) struct QuorumRounds {
    pub(crate) raft: Raft,
    pub(crate) clock: Clock,
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) leader_log: LeaderLog,
}

impl QuorumRounds {
    /// Runs until `shutdown`.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let metrics = self.raft.metrics();
        loop {
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            if self.term.borrow().is_none() {
                continue;
            }
            let now = self.clock.now();
            let acknowledged = quorum_acknowledged(&metrics.borrow(), now);
            if acknowledged.is_none_or(|at| now.0.saturating_sub(at) >= LATE)
                && let Err(error) = self.leader_log.propose(Vec::new()).await
            {
                tracing::debug!(%error, "a round was not answered");
            }
        }
    }
}
