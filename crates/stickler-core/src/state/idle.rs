//! Which sessions have been idle for longest, for affinities that evict them.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Catalog;
use super::record::{Binding, Record, SessionKey};
use super::table::BindingTable;
use crate::document::cluster::WhenFull;
use crate::ids::{AffinityId, KeyHash};
use crate::time::ClusterTime;

/// The sessions of each affinity that evicts, in the order of their last use on record; derived from the table. Other
/// affinities cost nothing.
#[derive(Debug, Default)]
pub(super) struct IdleOrder {
    affinities: BTreeMap<AffinityId, BTreeSet<(ClusterTime, KeyHash)>>,
}

impl IdleOrder {
    /// The order of what is in `table`, for the affinities of `catalog` that evict. Walks the table only for one that
    /// `old` does not have.
    pub(super) fn for_catalog(catalog: &Catalog, table: &BindingTable, mut old: Self) -> Self {
        let evicts = |id: &&AffinityId| {
            catalog.affinity(**id).is_some_and(|policy| policy.when_full == WhenFull::EvictIdlest)
        };
        let evicting: BTreeSet<AffinityId> = catalog.affinities.iter().filter(evicts).copied().collect();
        old.affinities.retain(|id, _| evicting.contains(id));
        let new: BTreeSet<AffinityId> =
            evicting.into_iter().filter(|id| !old.affinities.contains_key(id)).collect();
        if new.is_empty() {
            return old;
        }
        old.affinities.extend(new.iter().map(|id| (*id, BTreeSet::new())));
        table.visit(|session, record| {
            if let Record::Binding(binding) = record
                && new.contains(&session.affinity)
            {
                old.add(*session, binding);
            }
            true
        });
        old
    }

    pub(super) fn add(&mut self, session: SessionKey, binding: &Binding) {
        if let Some(order) = self.affinities.get_mut(&session.affinity) {
            order.insert((binding.last_use, session.key));
        }
    }

    pub(super) fn remove(&mut self, session: SessionKey, binding: &Binding) {
        if let Some(order) = self.affinities.get_mut(&session.affinity) {
            order.remove(&(binding.last_use, session.key));
        }
    }

    /// The sessions of an affinity, the idlest first.
    pub(super) fn sessions(
        &self,
        affinity: AffinityId,
    ) -> impl DoubleEndedIterator<Item = SessionKey> + use<'_> {
        let order = self.affinities.get(&affinity).into_iter().flatten();
        order.map(move |(_, key)| SessionKey { affinity, key: *key })
    }
}
