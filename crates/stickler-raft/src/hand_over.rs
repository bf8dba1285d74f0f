//! Hands leadership to another voter: before this node goes, so that nobody has to notice its absence first, or
//! because an operator wants it.

use std::time::Duration;

use openraft::Instant;
use openraft::type_config::alias::InstantOf;
use serde::{Deserialize, Serialize};
use stickler_core::ids::NodeId;

use crate::peers::{Lane, Links, Target, body, value};
use crate::raft::{Raft, Types};
use crate::store::codec::Kind;

/// How long a voter may take to be elected before the next one is asked. Consensus takes no new entries
/// meanwhile, and gives no heartbeats: when nobody is elected by then, the others' own time-outs are due.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many voters are asked.
const ATTEMPTS: u32 = 2;

/// How long the leader may take to answer another node: its own attempts, and the way there and back.
const ASKED_DEADLINE: Duration = Duration::from_secs(2);

type Metrics = openraft::RaftMetrics<Types>;

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HandOverError {
    /// The node that was asked does not lead. Ask again once somebody does.
    #[error("nobody leads at the moment: ask again once `stickler status` shows a leader")]
    NoLeader,
    /// There is no voter but the leader: add a member first.
    #[error("the leader is the only voter")]
    OnlyVoter,
    /// Only voters can lead: see `stickler cluster members`.
    #[error("node {0} is not a voter")]
    NotAVoter(NodeId),
    /// The heir was not elected: it is away, or lacks too much. The cluster may be without a leader for a moment.
    #[error("node {0} did not take over: is it up, and has it caught up?")]
    NotTaken(NodeId),
    /// The leader did not answer. It may have handed over all the same: see `stickler cluster members`.
    #[error("the leader did not answer")]
    Unknown,
}

/// Hands leadership over, to `to` or else to the voter that lacks the least, and waits until another node leads, a
/// second at most. Returns who leads then.
pub(crate) async fn hand_over(raft: &Raft, to: Option<NodeId>) -> Result<NodeId, HandOverError> {
    let mut asked = None;
    for _ in 0..ATTEMPTS {
        let now = raft.metrics().borrow().clone();
        if now.current_leader != Some(now.id) {
            // It has been handed over, or there was nothing to hand.
            return match (now.current_leader, asked) {
                (Some(leader), Some(heir)) if to.is_none() || heir == leader => Ok(NodeId(leader)),
                (_, Some(heir)) => Err(HandOverError::NotTaken(NodeId(heir))),
                (_, None) => Err(HandOverError::NoLeader),
            };
        }
        let heir = match to {
            Some(to) if to.0 == now.id => return Ok(to),
            Some(to) if !now.membership_config.membership().voter_ids().any(|voter| voter == to.0) => {
                return Err(HandOverError::NotAVoter(to));
            }
            Some(to) if !is_heard(&now, to.0) => return Err(HandOverError::NotTaken(to)),
            Some(to) => to.0,
            None => heir(&now).ok_or(HandOverError::OnlyVoter)?,
        };
        tracing::info!(node = heir, term = now.current_term, "handing leadership over");
        raft.trigger().transfer_leader(heir).await.map_err(|_| HandOverError::NoLeader)?;
        asked = Some(heir);
        let followed = raft
            .wait(Some(PATIENCE))
            .metrics(|seen| seen.current_leader.is_some_and(|leader| leader != seen.id), "another leader")
            .await;
        if let Ok(seen) = followed
            && let Some(leader) = seen.current_leader
            && (to.is_none() || leader == heir)
        {
            return Ok(NodeId(leader));
        }
    }
    Err(asked.map_or(HandOverError::NoLeader, |heir| HandOverError::NotTaken(NodeId(heir))))
}

/// Asks the leader to hand leadership over.
pub(crate) async fn ask_to_hand_over(
    links: &Links,
    leader: &Target,
    to: Option<NodeId>,
) -> Result<NodeId, HandOverError> {
    let asking = async {
        let request = links.request(leader, body(Kind::PeerRequest, &to)?)?;
        let answer = links.client(leader, Lane::Bulk).hand_over(request).await?;
        value::<Result<NodeId, HandOverError>>(Kind::PeerAnswer, answer.get_ref())
    };
    match tokio::time::timeout(ASKED_DEADLINE, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(status)) => {
            tracing::debug!(%status, "asked the leader to hand over");
            Err(HandOverError::Unknown)
        }
        Err(_) => Err(HandOverError::Unknown),
    }
}

/// The voter that lacks the least, if this node leads. Of several, the one that was heard last: one that is
/// away may lack nothing, when nothing has happened since.
fn heir(metrics: &Metrics) -> Option<u64> {
    let replication = metrics.replication.as_ref()?;
    let voters = metrics.membership_config.membership().voter_ids();
    voters
        .filter(|voter| *voter != metrics.id)
        .max_by_key(|voter| (replication.get(voter).cloned().flatten(), heard(metrics, *voter)))
}

/// When the leader's last message was sent that this voter has answered.
fn heard(metrics: &Metrics, voter: u64) -> Option<InstantOf<Types>> {
    let at = metrics.heartbeat.as_ref()?.get(&voter).cloned().flatten()?;
    Some(at.into_inner())
}

/// Whether this voter answers at all. To find out by handing over would leave the cluster without a leader.
fn is_heard(metrics: &Metrics, voter: u64) -> bool {
    let now = InstantOf::<Types>::now();
    heard(metrics, voter).is_some_and(|at| at + PATIENCE >= now)
}
