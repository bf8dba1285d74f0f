//! The part of the replicated state that operators and health checks change: the cluster document, the
//! permanent ids of what it names, and each backend's state. Small, and shared with readers as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::backends::{BackendRecord, Discovered};
use super::conflicts::Conflicts;
use super::marks::Mark;
use super::record::{Binding, Cause, MoveReason};
use super::ring::Ring;
use crate::deliberate::{self, Fault};
use crate::document::cluster::{Affinity, ClusterDocument, Limits, Pool};
use crate::ids::{AffinityId, BackendId, ClusterId, NodeId, PoolId, Revision};
use crate::secrets::{KeptSecret, Purpose, SecretsError, SecretsKey};
use crate::time::ClusterTime;

/// Document, ids and backends, as of one log index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// The cluster's birth; `None` until its first entry.
    pub found: Option<Founded>,
    /// The members whose reports count.
    pub voters: BTreeSet<NodeId>,
    /// Number of the cluster document.
    pub revision: Revision,
    /// The cluster document; `None` until one is applied.
    pub document: Option<Arc<ClusterDocument>>,
    /// Ids of the document's pools, in its order.
    pub pools: Vec<PoolId>,
    /// Ids of the document's affinities, in its order.
    pub affinities: Vec<AffinityId>,
    /// Every backend of the document, those that were discovered, and those that leave.
    pub backends: BTreeMap<BackendId, BackendRecord>,
    /// What the names of pools led to last.
    pub discovered: BTreeMap<PoolId, Discovered>,
    /// The last permanent id that was given out, of whatever kind.
    pub last_id: u64,
    /// The keys of Stickler's cookie.
    pub ring: Ring,
    /// What tokens without a record must not bring back; each mark has a scope of its own.
    pub marks: Vec<Mark>,
    /// What nodes that were cut off served by epochs that had ended.
    pub conflicts: Conflicts,
}

/// The cluster's birth, as far as it is fixed for ever: sealing keys come and go.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Founded {
    /// The cluster's name.
    pub cluster: ClusterId,
    /// Key of the affinity-key hash. Never changes: every stored key depends on it.
    pub hash_key: KeptSecret,
}

impl Founded {
    /// The key of the affinity-key hash, with the node's secrets key, if it has one.
    ///
    /// # Errors
    /// [`SecretsError`] where the node can't read the cluster's secrets.
    pub fn hash_key(&self, secrets: Option<&SecretsKey>) -> Result<[u8; 16], SecretsError> {
        self.hash_key.reveal(secrets, self.cluster, Purpose::HashKey)
    }

    /// Makes a sealing key's secret ready for the log, wrapped if the cluster was founded so: what one node
    /// writes all must be able to read. `nonce` is 24 fresh random bytes.
    ///
    /// # Errors
    /// [`SecretsError`] where the node can't read the cluster's secrets.
    pub fn keep_sealing_secret(
        &self,
        secret: &[u8; 32],
        secrets: Option<&SecretsKey>,
        nonce: [u8; 24],
    ) -> Result<KeptSecret, SecretsError> {
        self.hash_key(secrets)?;
        Ok(match secrets.filter(|_| self.hash_key.is_wrapped()) {
            Some(key) => KeptSecret::wrap(secret, key, nonce, self.cluster, Purpose::SealingKey),
            None => KeptSecret::clear(secret),
        })
    }
}

impl Catalog {
    /// The pool's policy and the position of it in the document.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        let position = self.pools.iter().position(|pool| *pool == id)?;
        self.document.as_ref()?.pools.get(position)
    }

    /// The affinity's policy.
    #[must_use]
    pub fn affinity(&self, id: AffinityId) -> Option<&Affinity> {
        let position = self.affinities.iter().position(|affinity| *affinity == id)?;
        self.document.as_ref()?.affinities.get(position)
    }

    /// The document's limits; `None` before a document is applied, when nothing can be bound anyway.
    #[must_use]
    pub fn limits(&self) -> Option<&Limits> {
        self.document.as_ref().map(|document| &document.limits)
    }

    /// The backends of a pool, in the order of their ids.
    pub fn backends_of(&self, pool: PoolId) -> impl Iterator<Item = (BackendId, &BackendRecord)> {
        self.backends
            .iter()
            .filter(move |(_, backend)| backend.pool == pool)
            .map(|(id, backend)| (*id, backend))
    }

    /// The share of new sessions that a backend has at this time, as a number to be compared with those of the others of
    /// its pool: less while it starts slowly, and never 0 for that.
    #[must_use]
    pub fn share(&self, backend: &BackendRecord, now: ClusterTime) -> u32 {
        /// Steps into which the share of a backend of weight 1 is cut.
        const STEPS: u32 = 100;
        let Some(slow_start) = self.pool(backend.pool).and_then(|pool| pool.slow_start) else {
            return backend.weight;
        };
        let whole = u128::from(backend.weight) * u128::from(STEPS);
        if deliberate::active(Fault::StartAtOnce) {
            return backend.weight * STEPS;
        }
        let part = whole * now.since(backend.taking_since()).as_millis() / slow_start.as_millis().max(1);
        u32::try_from(part.clamp(1, whole.max(1))).unwrap_or(u32::MAX) * u32::from(backend.weight > 0)
    }

    /// The backend that a session had to leave, if it takes sessions and still has what it held of this one.
    #[must_use]
    pub fn may_go_home(&self, binding: &Binding) -> Option<BackendId> {
        // A job's move is for good, or until it is undone.
        let left = binding.home.backend().filter(|_| binding.cause != Cause::Moved(MoveReason::Job));
        let home = left.filter(|home| *home != binding.backend)?;
        let record = self.backends.get(&home)?;
        let takes = record.takes_new() || deliberate::active(Fault::ReturnTooEarly);
        (takes && !record.has_forgotten(binding.epoch)).then_some(home)
    }

    /// The backend of a pool that applications call so in their identifiers: one that leaves only where none has come
    /// after it.
    #[must_use]
    pub fn backend_by_route(&self, pool: PoolId, route: &str) -> Option<BackendId> {
        let called = |(_, record): &(BackendId, &BackendRecord)| {
            record.route.as_deref().unwrap_or(&record.name) == route
        };
        let found = self.backends_of(pool).filter(called).min_by_key(|(_, record)| record.leaving.is_some());
        found.map(|(id, _)| id)
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Catalog {
    /// Feeds everything that is replicated to `hasher`, for the state hash (I9).
    pub(super) fn hash_into<H: std::hash::Hasher>(&self, hasher: &mut H) {
        use std::hash::Hash;
        (&self.found, &self.voters, self.revision, &self.pools, &self.affinities, self.last_id).hash(hasher);
        self.ring.hash(hasher);
        self.marks.hash(hasher);
        self.conflicts.hash(hasher);
        self.discovered.hash(hasher);
        // The document is a function of its text, which is what the user sees and compares.
        self.document.as_ref().map(|document| &document.source).hash(hasher);
        for (id, backend) in &self.backends {
            (id, backend.pool, &backend.name, backend.address.to_string(), backend.weight).hash(hasher);
            (backend.max_sessions, backend.max_requests, &backend.route).hash(hasher);
            (backend.source, backend.leaving).hash(hasher);
            (backend.admin, backend.revision, backend.health.verdict, backend.health.since).hash(hasher);
            (backend.health.suspicions, backend.health.suspected_at).hash(hasher);
            (backend.health.drains, &backend.health.instance, backend.health.forgotten).hash(hasher);
            (backend.health.restarts, backend.health.lost, backend.admin_since).hash(hasher);
            for (node, report) in &backend.health.reports {
                (node, report).hash(hasher);
            }
        }
    }
}
