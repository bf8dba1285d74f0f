//! Looks at the sessions of one door on every node, all the while.

use std::time::Duration;

use stickler_rt::Shutdown;
use tokio::task::{JoinError, JoinSet};

use crate::report::Report;
use crate::rig::admin::{Admin, AdminError};
use crate::rig::{NODES, Rig};

/// Pause between two looks at a node.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait for a look at a node. One that is dead has none.
const PATIENCE: Duration = Duration::from_secs(1);

/// Somebody who looks until it is told to stop.
pub(super) struct Observer {
    stop: Shutdown,
    looking: JoinSet<Watched>,
}

/// What was seen of one door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// The fewest looks that any node answered.
    looks: usize,
    /// The most sessions that any node counted.
    counted: u64,
    /// The most that any node listed beside those that were evicted while it did.
    listed: u64,
}

impl Observer {
    pub(super) fn start(rig: &mut Rig, affinity: &'static str) -> Self {
        let stop = Shutdown::new();
        let looking = (0..NODES).map(|node| watch(rig.admin(node).clone(), affinity, stop.clone())).collect();
        Self { stop, looking }
    }

    pub(super) async fn stop(mut self) -> Result<Watched, JoinError> {
        self.stop.trigger();
        let mut all = Watched { looks: usize::MAX, counted: 0, listed: 0 };
        while let Some(of_one) = self.looking.join_next().await {
            let of_one = of_one?;
            all.looks = all.looks.min(of_one.looks);
            all.counted = all.counted.max(of_one.counted);
            all.listed = all.listed.max(of_one.listed);
        }
        Ok(all)
    }
}

impl Watched {
    pub(super) fn judge(&self, door: &str, cap: u64, report: &mut Report) {
        let Self { looks, counted, listed } = *self;
        report.bar(format!("{door}: looks at each node"), looks, "some", looks > 0);
        let what = format!("{door}: most sessions on any node, counted and listed");
        let held = counted <= cap && listed <= cap;
        report.bar(what, format!("{counted} and {listed}"), format!("{cap} at most"), held);
    }
}

async fn watch(mut admin: Admin, affinity: &'static str, stop: Shutdown) -> Watched {
    let mut watched = Watched { looks: 0, counted: 0, listed: 0 };
    while !stop.is_triggered() {
        let look = tokio::time::timeout(PATIENCE, look(&mut admin, affinity)).await;
        if let Ok(Ok((counted, listed))) = look {
            watched.looks += 1;
            watched.counted = watched.counted.max(counted);
            watched.listed = watched.listed.max(listed);
        }
        tokio::select! {
            biased;
            () = stop.wait() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    watched
}

/// How many sessions the node counts, and how many it lists.
async fn look(admin: &mut Admin, affinity: &str) -> Result<(u64, u64), AdminError> {
    let before = admin.affinity(affinity).await?;
    let listed = admin.sessions().await?;
    let after = admin.affinity(affinity).await?;
    let listed = listed.values().filter(|session| session.affinity == affinity).count() as u64;
    // A list is no picture of one moment: one that is evicted may be in it beside the one that took its place.
    let evicted = after.evicted.saturating_sub(before.evicted);
    Ok((before.sessions.max(after.sessions), listed.saturating_sub(evicted)))
}
