//! A node's absence, and what it excuses.

use std::time::Duration;

use stickler_rt::Moment;

use crate::rig::{Rig, RigError};

/// How long a killed node is away.
const AWAY: Duration = Duration::from_millis(1500);
/// How long after a leader's death nothing can be bound, and what waits for that gives up.
const ELECTION: Duration = Duration::from_secs(2);

/// A node that was killed and started again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    /// Its place among the nodes.
    pub(super) node: usize,
    pub(super) killed: Moment,
    pub(super) restarted: Moment,
    pub(super) ready: Moment,
}

impl Absence {
    /// Kills a node, starts it again after a while, and waits until it is ready, whatever goes on meanwhile.
    pub(super) async fn of(rig: &mut Rig, node: usize) -> Result<Self, RigError> {
        let killed = rig.kill(&[node]).await?;
        tokio::time::sleep(AWAY).await;
        let restarted = rig.now();
        rig.restart(node)?;
        rig.until("the node that was killed is ready again", async |rig| {
            if rig.is_ready(node).await { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await?;
        Ok(Self { node, killed, restarted, ready: rig.now() })
    }

    /// Whether what was asked of this node between these moments met one that was not there.
    pub(super) fn excuses(&self, node: usize, began: Moment, ended: Moment) -> bool {
        node == self.node && ended >= self.killed && began <= self.ready
    }

    /// Whether what was asked between these moments, of whichever node, may have met a cluster without a leader.
    pub(super) fn had_no_leader(&self, began: Moment, ended: Moment) -> bool {
        ended >= self.killed && began <= self.killed + ELECTION
    }
}
