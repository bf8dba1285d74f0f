//! How many clients a worker has. A place goes with its client's socket, through an upgrade as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The places of one worker.
#[derive(Debug, Default)]
pub(crate) struct Places {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: AtomicUsize,
    one_freed: Notify,
}

impl Places {
    pub(crate) fn taken(&self) -> usize {
        self.inner.taken.load(Ordering::Relaxed)
    }

    /// Takes a place, unless `limit` are taken.
    pub(crate) fn take(&self, limit: usize) -> Option<Place> {
        if self.taken() >= limit {
            return None;
        }
        self.inner.taken.fetch_add(1, Ordering::Relaxed);
        Some(Place { inner: Arc::clone(&self.inner) })
    }

    /// Waits until no place is taken.
    pub(crate) async fn all_free(&self) {
        while self.taken() > 0 {
            self.inner.one_freed.notified().await;
        }
    }
}

/// One place, taken until dropped. It is `Send` because hyper wants that of a socket that may be upgraded;
/// it never leaves its worker's thread.
#[derive(Debug)]
pub(crate) struct Place {
    inner: Arc<Inner>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.taken.fetch_sub(1, Ordering::Relaxed);
        self.inner.one_freed.notify_one();
    }
}
