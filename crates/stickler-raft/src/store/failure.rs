//! A store that failed once never acknowledges again.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

/// What made a store fail. After a failed write or sync nobody knows what the disk holds, so the store
/// answers everything from then on with this. An operator mends the disk and restarts the node; what was
/// acknowledged before is on the disk.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the store failed, nothing more will be acknowledged: {reason}")]
pub struct StoreFailure {
    /// What was being done, and what the operating system said.
    pub reason: Arc<str>,
}

/// Whether a store still works; every clone sees the same.
#[derive(Clone, Debug)]
pub struct StoreHealth {
    failure: Arc<watch::Sender<Option<StoreFailure>>>,
}

impl StoreHealth {
    pub(crate) fn new() -> Self {
        Self { failure: Arc::new(watch::Sender::new(None)) }
    }

    /// What made the store fail; `None` while it works.
    #[must_use]
    pub fn failure(&self) -> Option<StoreFailure> {
        self.failure.borrow().clone()
    }

    /// Resolves when the store has failed; never while it works.
    pub async fn failed(&self) -> StoreFailure {
        let mut changes = self.failure.subscribe();
        match changes.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(failure)) => failure,
            // The sender lives in `self`, and the condition says that there is a failure.
            _ => std::future::pending().await,
        }
    }

    /// An error when the store has failed.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.failure().map_or(Ok(()), |failure| Err(io::Error::other(failure)))
    }

    /// Records a failure, unless there is one already, and returns the one that counts.
    pub(crate) fn fail(&self, reason: &str) -> StoreFailure {
        let failure = StoreFailure { reason: reason.into() };
        let first = self.failure.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(failure.clone());
            }
            first
        });
        if first {
            tracing::error!(reason, "store failed");
        }
        self.failure().unwrap_or(failure)
    }
}
