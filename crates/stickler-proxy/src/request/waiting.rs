//! Holding a request until the cluster has come to where it can be decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::BackendId;
use stickler_core::lease::Footing;
use stickler_core::routing::{Until, why_gone};
use stickler_core::state::MoveReason;
use stickler_core::time::ClusterTime;
use stickler_raft::Cluster;
use stickler_rt::Moment;

use super::answers::unavailable;
use super::node::{PATIENCE, ProxyCounters};
use super::steps::{Router, Routing};
use crate::responses::Answer;

/// The most requests of one node that wait for backends: each keeps a connection and its head.
const MOST_WAITING: usize = 4096;

/// Pause between two looks at cluster time, at least.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

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
        Until::Moved { session, epoch } => {
            !cluster.view().jobs.is_announced(session, epoch) || standing.footing != Footing::Leased
        }
        Until::Back { backend, until } => {
            let view = cluster.view();
            let now = view.time.max(standing.time);
            let passed = now >= until && !deliberate::active(Fault::WaitTooLong);
            // One that is drained or removed does not come back for this session.
            let away = matches!(
                why_gone(view.catalog.backends.get(&backend), now),
                Some(MoveReason::BackendDown | MoveReason::BackendMaint)
            );
            passed || !away || standing.footing != Footing::Leased
        }
    }
}

/// Requests of one node that wait for backends to come back. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct WaitingRoom {
    waiting: Arc<AtomicUsize>,
}

/// A request's place in the waiting room, until it is dropped.
struct Place {
    waiting: Arc<AtomicUsize>,
}

impl WaitingRoom {
    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn enter(&self) -> Option<Place> {
        let place = Place { waiting: Arc::clone(&self.waiting) };
        // Counted down again by the place that is dropped.
        (self.waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Router {
    /// Waits until a session's backend is back or its affinity has waited long enough; then the request has all the
    /// time again that it needs of the cluster.
    pub(super) async fn wait_for_backend(
        &self,
        routing: &Routing<'_>,
        backend: BackendId,
        until: ClusterTime,
    ) -> Result<(), Answer> {
        let Some(_place) = self.proxy.waiting.enter() else {
            return Err(unavailable("too-many-waiting", "too many requests wait for a backend"));
        };
        ProxyCounters::count(&self.proxy.counters.waited);
        let cluster = &self.proxy.cluster;
        let clock = &cluster.outside().clock;
        loop {
            // Cluster time stands still without a leader, so what is left is looked at again.
            let now = cluster.view().time.max(cluster.standing().time);
            let left = until.since(now).max(SHORTEST_WAIT);
            if wait(cluster, Until::Back { backend, until }, clock.now() + left).await {
                routing.deadline.set(clock.now() + PATIENCE);
                return Ok(());
            }
        }
    }
}
