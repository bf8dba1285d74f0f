//! Work that is done again and again, and only by the node that leads.

use std::time::Duration;

use stickler_core::lease::Footing;
use stickler_raft::Cluster;
use stickler_rt::Shutdown;

/// Pauses, and then tells whether this node leads and holds a lease: without one its view may be old. `None` when the node
/// is to stop.
pub(crate) async fn next_turn(cluster: &Cluster, shutdown: &Shutdown, pause: Duration) -> Option<bool> {
    tokio::select! {
        biased;
        () = shutdown.wait() => None,
        () = tokio::time::sleep(pause) => {
            Some(cluster.leads() && cluster.standing().footing == Footing::Leased)
        }
    }
}
