//! How many sessions each backend and each affinity has: derived from the table, exact at every entry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalog::Catalog;
use crate::ids::{AffinityId, BackendId};

/// Bound sessions by backend and by affinity. Written by `apply` alone; readers may see it change.
#[derive(Debug, Default)]
pub struct Counts {
    backends: BTreeMap<BackendId, AtomicU64>,
    affinities: BTreeMap<AffinityId, AtomicU64>,
    evicted: BTreeMap<AffinityId, AtomicU64>,
}

impl Counts {
    /// Counters for what the catalog names, at the values of `old` where that had them. Sessions of a
    /// backend that was removed are no longer counted: its id never comes back.
    pub(super) fn for_catalog(catalog: &Catalog, old: &Self) -> Self {
        let carry = |value: Option<&AtomicU64>| {
            AtomicU64::new(value.map_or(0, |value| value.load(Ordering::Relaxed)))
        };
        Self {
            backends: catalog.backends.keys().map(|id| (*id, carry(old.backends.get(id)))).collect(),
            affinities: catalog.affinities.iter().map(|id| (*id, carry(old.affinities.get(id)))).collect(),
            evicted: catalog.affinities.iter().map(|id| (*id, carry(old.evicted.get(id)))).collect(),
        }
    }

    /// Sessions that are bound to `backend`.
    #[must_use]
    pub fn of_backend(&self, backend: BackendId) -> u64 {
        self.backends.get(&backend).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Sessions of `affinity`.
    #[must_use]
    pub fn of_affinity(&self, affinity: AffinityId) -> u64 {
        self.affinities.get(&affinity).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Sessions of `affinity` that ended to make room for others, as far as this process applied it.
    #[must_use]
    pub fn evicted_from(&self, affinity: AffinityId) -> u64 {
        self.evicted.get(&affinity).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn evicted(&self, affinity: AffinityId) {
        if let Some(count) = self.evicted.get(&affinity) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn add(&self, affinity: AffinityId, backend: BackendId) {
        self.change(affinity, backend, |count| count.fetch_add(1, Ordering::Relaxed));
    }

    pub(super) fn remove(&self, affinity: AffinityId, backend: BackendId) {
        self.change(affinity, backend, |count| count.fetch_sub(1, Ordering::Relaxed));
    }

    fn change(&self, affinity: AffinityId, backend: BackendId, change: impl Fn(&AtomicU64) -> u64) {
        self.backends.get(&backend).map(&change);
        self.affinities.get(&affinity).map(&change);
    }
}
