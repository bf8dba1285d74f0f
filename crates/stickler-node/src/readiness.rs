//! Whether this node would answer a client's request, and if not, why. What `/readyz`, the metrics and the
//! admin service say of it comes from here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stickler_core::lease::Footing;
use stickler_raft::Cluster;
use stickler_rt::Shutdown;

/// What a balancer in front of this node should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It answers every request.
    Yes,
    /// It answers requests of known sessions, and something is missing: what.
    Degraded(String),
    /// It does not answer: why.
    No(String),
}

impl Ready {
    /// Whether requests should be sent here.
    #[must_use]
    pub const fn answers(&self) -> bool {
        matches!(self, Self::Yes | Self::Degraded(_))
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("ready"),
            Self::Degraded(lack) => write!(f, "degraded: {lack}"),
            Self::No(reason) => write!(f, "not ready: {reason}"),
        }
    }
}

/// Knows at any moment whether the node is ready. Clones are about the same node.
#[derive(Clone)]
pub struct Readiness {
    cluster: Cluster,
    shutdown: Shutdown,
    obstacles: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Readiness {
    /// Of the node whose consensus is `cluster` and that stops with `shutdown`.
    #[must_use]
    pub fn new(cluster: Cluster, shutdown: Shutdown) -> Self {
        Self { cluster, shutdown, obstacles: Arc::default() }
    }

    /// Says that `part` of the node keeps it from answering, such as a listener whose address is in use.
    /// A later reason of the same part takes the earlier one's place.
    pub fn obstruct(&self, part: &str, reason: impl fmt::Display) {
        self.obstacles().insert(part.to_owned(), reason.to_string());
    }

    /// Says that `part` works (again).
    pub fn clear(&self, part: &str) {
        self.obstacles().remove(part);
    }

    /// Whether the node is ready right now. Never waits for consensus.
    #[must_use]
    pub fn now(&self) -> Ready {
        if self.shutdown.is_triggered() {
            return Ready::No("stopping".to_owned());
        }
        if let Some((part, reason)) = self.obstacles().first_key_value() {
            return Ready::No(format!("{part}: {reason}"));
        }
        let footing = self.cluster.standing().footing;
        if footing == Footing::CatchingUp {
            return Ready::No("catching up".to_owned());
        }
        if self.cluster.view().catalog.document.is_none() {
            return Ready::No("no cluster document was applied yet".to_owned());
        }
        let isolated = (footing == Footing::Isolated).then(|| "isolated".to_owned());
        let store = self.cluster.store_failure().map(|failure| failure.to_string());
        let lacks: Vec<String> = isolated.into_iter().chain(store).collect();
        if lacks.is_empty() { Ready::Yes } else { Ready::Degraded(lacks.join("; ")) }
    }

    fn obstacles(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.obstacles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
