//! Holding a request until the cluster has come to where it can be decided.

use stickler_core::lease::Footing;
use stickler_core::routing::Until;
use stickler_raft::Cluster;
use stickler_rt::Moment;

/// Waits until it has happened; false when `deadline` came first.
pub(super) async fn wait(cluster: &Cluster, until: Until, deadline: Moment) -> bool {
    let mut changes = cluster.changes();
    let clock = &cluster.outside().clock;
    loop {
        changes.borrow_and_update();
        if has_happened(cluster, until) {
            return true;
        }
        tokio::select! {
            biased;
            () = clock.sleep_until(deadline) => return has_happened(cluster, until),
            changed = changes.changed() => if changed.is_err() { return false },
        }
    }
}

fn has_happened(cluster: &Cluster, until: Until) -> bool {
    let standing = cluster.standing();
    match until {
        // Without its lease the node must decide anew, on another footing.
        Until::Stable(index) => standing.stable >= index || standing.footing != Footing::Leased,
        Until::Epoch(epoch) => cluster.view().epoch >= epoch || standing.footing == Footing::Isolated,
        Until::Footing => standing.footing != Footing::CatchingUp,
    }
}
