//! A backend that could not be reached is reported to the cluster as suspect, so that every voter probes
//! it at once: once in a while, however many requests fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stickler_core::ids::BackendId;
use stickler_core::state::{Command, Suspect};
use stickler_raft::Cluster;
use stickler_rt::Moment;

/// Pause between two suspicions of one backend from one node.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a suspicion is worth proposing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Suspicions of one node. Clones are the same.
#[derive(Clone)]
pub(super) struct Suspicions {
    cluster: Cluster,
    last: Arc<Mutex<HashMap<BackendId, Moment>>>,
}

impl Suspicions {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, last: Arc::default() }
    }

    pub(super) fn raise(&self, backend: BackendId) {
        let now = self.cluster.outside().clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgets the old ones, so that removed backends don't stay for ever.
        last.retain(|_, at| now.since(*at) < PAUSE);
        if last.insert(backend, now).is_some() {
            return;
        }
        drop(last);
        tracing::info!(%backend, "backend suspected");
        let node = self.cluster.node();
        self.cluster.submit(Command::Suspect(Suspect { node, backend }), PATIENCE);
    }
}
