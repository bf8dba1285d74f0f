//! How many requests a backend has at once, and how many have come.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the requests of clients; checks are not among them.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Stay<'a>(&'a Occupancy);

impl Occupancy {
    pub(super) fn enter(&self) -> Stay<'_> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.all.fetch_add(1, Ordering::SeqCst);
        Stay(self)
    }

    /// The most requests at once so far.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// How many have come so far.
    pub(crate) fn all(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_there_at_the_same_time_are_counted_together() {
        let occupancy = Occupancy::default();
        drop(occupancy.enter());
        let both = (occupancy.enter(), occupancy.enter());
        assert_eq!((occupancy.most(), occupancy.all()), (2, 3));
        drop(both);
        let _again = occupancy.enter();
        assert_eq!((occupancy.most(), occupancy.all()), (2, 4));
    }
}
