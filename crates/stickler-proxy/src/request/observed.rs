//! How many requests an affinity that only observes would have sent elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use stickler_core::ids::AffinityId;

/// What was observed of one affinity on this node since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// Requests of bound sessions.
    pub requests: u64,
    /// Of these, how many went to another backend than their session's.
    pub elsewhere: u64,
}

/// The observations of a node, by affinity. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    // Only requests of observing affinities come here, so that nobody else waits for the lock.
    by_affinity: Arc<Mutex<BTreeMap<AffinityId, Observations>>>,
}

impl Observed {
    pub(super) fn count(&self, affinity: AffinityId, elsewhere: bool) {
        let mut by_affinity = self.by_affinity.lock().unwrap_or_else(PoisonError::into_inner);
        let observations = by_affinity.entry(affinity).or_default();
        observations.requests += 1;
        observations.elsewhere += u64::from(elsewhere);
    }

    /// What was observed of an affinity.
    #[must_use]
    pub fn of(&self, affinity: AffinityId) -> Observations {
        let by_affinity = self.by_affinity.lock().unwrap_or_else(PoisonError::into_inner);
        by_affinity.get(&affinity).copied().unwrap_or_default()
    }
}
