//! How many exchanges each backend has in flight on this node, shared by its workers, for balancing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use papaya::HashMap;
use stickler_core::ids::BackendId;

/// Exchanges in flight for each backend of this node. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    counts: Arc<HashMap<BackendId, Arc<AtomicU32>>>,
}

impl InFlight {
    /// Counts of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one exchange with `backend` until the guard is dropped.
    #[must_use]
    pub fn begin(&self, backend: BackendId) -> InFlightGuard {
        let counts = self.counts.pin();
        let count = Arc::clone(counts.get_or_insert_with(backend, Arc::default));
        count.fetch_add(1, Ordering::Relaxed);
        InFlightGuard { count }
    }

    /// Exchanges with `backend` in flight now; 0 for one that was never used.
    #[must_use]
    pub fn count(&self, backend: BackendId) -> u32 {
        self.counts.pin().get(&backend).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Forgets the backends that are not `kept`, after the document changed. Exchanges that are still in
    /// flight with one of those are no longer seen.
    pub fn retain(&self, mut kept: impl FnMut(BackendId) -> bool) {
        self.counts.pin().retain(|backend, _count| kept(*backend));
    }
}

/// One exchange in flight.
#[derive(Debug)]
pub struct InFlightGuard {
    count: Arc<AtomicU32>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_counts_until_its_guard_is_dropped() {
        let (one, other) = (BackendId(1), BackendId(2));
        let counts = InFlight::new();
        let first = counts.begin(one);
        let second = counts.clone().begin(one);
        assert_eq!((counts.count(one), counts.count(other)), (2, 0));
        drop(first);
        assert_eq!(counts.count(one), 1);
        counts.retain(|backend| backend != one);
        assert_eq!(counts.count(one), 0);
        let third = counts.begin(one);
        drop(second);
        assert_eq!(counts.count(one), 1, "a late guard of a forgotten backend touches nothing");
        drop(third);
        assert_eq!(counts.count(one), 0);
    }
}
