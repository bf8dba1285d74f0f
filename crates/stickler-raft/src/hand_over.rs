//! Hands leadership to another voter before this node goes, so that nobody has to notice its absence first.

use std::time::Duration;

use stickler_core::ids::NodeId;

use crate::raft::{Raft, Types};

/// How long a voter may take to be elected before the next one is asked. Consensus takes no new entries
/// meanwhile, and gives no heartbeats: when nobody is elected by then, the others' own time-outs are due.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many voters are asked.
const ATTEMPTS: u32 = 2;

type Metrics = openraft::RaftMetrics<Types>;

/// Hands leadership over and waits until another node leads, a second at most. Returns who leads then, as far
/// as this node knows. A node that does not lead, or that is the only voter, has nothing to hand over.
pub(crate) async fn hand_over(raft: &Raft) -> Option<NodeId> {
    for _ in 0..ATTEMPTS {
        let now = raft.metrics().borrow().clone();
        let Some(heir) = heir(&now) else { break };
        tracing::info!(node = heir, term = now.current_term, "handing leadership over");
        if raft.trigger().transfer_leader(heir).await.is_err() {
            break;
        }
        let followed = raft
            .wait(Some(PATIENCE))
            .metrics(|seen| seen.current_leader.is_some_and(|leader| leader != seen.id), "another leader")
            .await;
        if followed.is_ok() {
            break;
        }
    }
    let leader = raft.metrics().borrow().current_leader;
    leader.map(NodeId)
}

/// The voter that lacks the least, if this node leads. Of several, the one that was heard last: one that is
/// away may lack nothing, when nothing has happened since.
fn heir(metrics: &Metrics) -> Option<u64> {
    let replication = metrics.replication.as_ref()?;
    let heard = |voter: &u64| {
        let at = metrics.heartbeat.as_ref().and_then(|heartbeat| heartbeat.get(voter).cloned().flatten());
        at.map(openraft::type_config::alias::SerdeInstantOf::<Types>::into_inner)
    };
    let voters = metrics.membership_config.membership().voter_ids();
    voters
        .filter(|voter| *voter != metrics.id)
        .max_by_key(|voter| (replication.get(voter).cloned().flatten(), heard(voter)))
}
