//! Receipts for what operators have changed: the leader is asked, again and again, what its book of leases says.

use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::{LogIndex, NodeId};
use stickler_core::receipt::{Holdings, Receipt, Wait};

use crate::office::OfficeHandle;
use crate::peers::{Lane, Links, Target, body, value};
use crate::published::Published;
use crate::raft::Raft;
use crate::store::codec::Kind;

/// How long the leader may take to answer another node.
const ASKED_DEADLINE: Duration = Duration::from_millis(500);

/// How often it is asked while a receipt waits.
const AGAIN: Duration = Duration::from_millis(50);

/// Gives receipts on one node.
pub(crate) struct Receipts {
    pub(crate) own: NodeId,
    pub(crate) raft: Raft,
    pub(crate) published: Arc<Published>,
    pub(crate) office: OfficeHandle,
    pub(crate) links: Arc<Links>,
}

impl Receipts {
    /// A receipt for what was committed at `index`, once what it waits for has come; after `patience` with what is
    /// known by then.
    pub(crate) async fn receipt(&self, index: LogIndex, wait: Wait, patience: Duration) -> Receipt {
        let mut receipt = Receipt::unknown(index);
        let asking = async {
            loop {
                if let Some(holdings) = self.holdings().await {
                    receipt = Receipt::of(index, wait, &holdings);
                }
                if receipt.reached {
                    return;
                }
                self.pause(index).await;
            }
        };
        // What was learned until then is in the receipt.
        let _ = tokio::time::timeout(patience, asking).await;
        receipt
    }

    /// Waits a moment, and no longer than until the stable index is announced that was missing: mostly it is just on
    /// its way.
    async fn pause(&self, index: LogIndex) {
        if self.published.stable() >= index {
            return tokio::time::sleep(AGAIN).await;
        }
        let mut changes = self.published.changes();
        let heard = async { while self.published.stable() < index && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(AGAIN, heard).await;
    }

    /// What the leader's book says, whichever node leads; `None` when none can be asked.
    async fn holdings(&self) -> Option<Holdings> {
        let leader = NodeId(self.raft.metrics().borrow().current_leader?);
        if leader == self.own {
            return self.office.holdings().await;
        }
        let target = self.links.target(leader)?;
        tokio::time::timeout(ASKED_DEADLINE, ask(&self.links, &target)).await.ok()?
    }
}

async fn ask(links: &Links, leader: &Target) -> Option<Holdings> {
    let asking = async {
        let request = links.request(leader, body(Kind::PeerRequest, &())?)?;
        let answer = links.client(leader, Lane::Consensus).holdings(request).await?;
        value::<Option<Holdings>>(Kind::PeerAnswer, answer.get_ref())
    };
    asking.await.unwrap_or_else(|status| {
        tracing::debug!(%status, "asked the leader who holds a lease");
        None
    })
}
