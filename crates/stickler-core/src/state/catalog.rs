//! The part of the replicated state that operators and health checks change: the cluster document, the
//! permanent ids of what it names, and each backend's state. Small, and shared with readers as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::conflicts::Conflicts;
use super::marks::Mark;
use super::record::{Binding, Cause, MoveReason};
use super::ring::Ring;
use super::verdict::Health;
use crate::deliberate::{self, Fault};
use crate::document::cluster::{Affinity, ClusterDocument, Limits, Pool};
use crate::ids::{AffinityId, BackendId, ClusterId, Epoch, NodeId, PoolId, Revision};
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
    /// Every backend of the document.
    pub backends: BTreeMap<BackendId, BackendRecord>,
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

/// One backend, as the cluster sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// Its pool.
    pub pool: PoolId,
    /// Its name, unique within the pool.
    pub name: String,
    /// Where it accepts connections.
    pub address: SocketAddr,
    /// Its share of new sessions.
    pub weight: u32,
    /// The most sessions that may be bound to it.
    pub max_sessions: Option<u64>,
    /// What operators decided.
    pub admin: AdminState,
    /// Raised by every change of `admin`.
    pub revision: Revision,
    /// What the voters found.
    pub health: Health,
    /// When operators decided it.
    pub admin_since: ClusterTime,
}

/// A backend's admin state, with HAProxy's meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AdminState {
    /// New and bound sessions.
    #[default]
    Ready,
    /// Bound sessions only, until the deadline if there is one.
    Drain {
        /// From here on bound sessions move, too.
        deadline: Option<ClusterTime>,
    },
    /// No sessions at all.
    Maint,
}

impl BackendRecord {
    /// Whether it takes new sessions, its cap aside.
    #[must_use]
    pub fn takes_new(&self) -> bool {
        self.admin == AdminState::Ready && self.health.is_up() && !self.health.drains && self.weight > 0
    }

    /// Since when it has taken sessions, or could have: for its slow start.
    #[must_use]
    pub fn taking_since(&self) -> ClusterTime {
        self.health.since.max(self.admin_since)
    }

    /// Whether a session by this epoch was held by an earlier life of the backend.
    #[must_use]
    pub fn has_forgotten(&self, epoch: Epoch) -> bool {
        epoch <= self.health.forgotten
    }

    /// Whether a session that is on it may stay, at this time.
    #[must_use]
    pub fn keeps_bound(&self, now: ClusterTime) -> bool {
        match self.admin {
            AdminState::Maint => false,
            AdminState::Drain { deadline: Some(deadline) } if deadline <= now => false,
            AdminState::Ready | AdminState::Drain { .. } => !self.health.is_down(),
        }
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

    /// The backend of a pool that applications call so in their identifiers.
    #[must_use]
    pub fn backend_by_route(&self, pool: PoolId, route: &str) -> Option<BackendId> {
        let settings = self.pool(pool)?.backends.iter();
        let mut called =
            settings.filter(|backend| backend.route.as_deref().unwrap_or(&backend.name) == route);
        let name = &called.next()?.name;
        self.backends_of(pool).find(|(_, record)| record.name == *name).map(|(id, _)| id)
    }

    /// Takes `document` in: what keeps its name keeps its id, and a backend that keeps name and address
    /// keeps its state as well. Ids are never given out twice.
    pub(super) fn replace_document(&mut self, document: ClusterDocument, now: ClusterTime) {
        let old = self.document.take();
        let old_pools =
            old.iter().flat_map(|old| &old.pools).map(|pool| pool.name.clone()).zip(self.pools.clone());
        let old_pools: BTreeMap<String, PoolId> = old_pools.collect();
        let old_affinities = old
            .iter()
            .flat_map(|old| &old.affinities)
            .map(|policy| policy.name.clone())
            .zip(self.affinities.clone());
        let old_affinities: BTreeMap<String, AffinityId> = old_affinities.collect();

        self.pools = document
            .pools
            .iter()
            .map(|pool| old_pools.get(&pool.name).copied().unwrap_or_else(|| PoolId(self.next_id())))
            .collect();
        self.affinities = document
            .affinities
            .iter()
            .map(|policy| {
                old_affinities.get(&policy.name).copied().unwrap_or_else(|| AffinityId(self.next_id()))
            })
            .collect();
        self.replace_backends(&document, now);
        self.document = Some(Arc::new(document));
        self.revision = Revision(self.revision.0 + 1);
    }

    fn replace_backends(&mut self, document: &ClusterDocument, now: ClusterTime) {
        let mut old: BTreeMap<(PoolId, String, SocketAddr), (BackendId, BackendRecord)> =
            std::mem::take(&mut self.backends)
                .into_iter()
                .map(|(id, record)| ((record.pool, record.name.clone(), record.address), (id, record)))
                .collect();
        for (pool, id) in document.pools.iter().zip(self.pools.clone()) {
            for backend in &pool.backends {
                let same = old.remove(&(id, backend.name.clone(), backend.address));
                let (backend_id, mut record) = match same {
                    Some(kept) => kept,
                    None if deliberate::active(Fault::ReuseBackendId) && !old.is_empty() => {
                        let (_, (reused, _)) = old.pop_last().expect("it was just looked at");
                        (reused, BackendRecord::new(id, backend, now))
                    }
                    None => (BackendId(self.next_id()), BackendRecord::new(id, backend, now)),
                };
                record.weight = backend.weight;
                record.max_sessions = backend.max_sessions;
                self.backends.insert(backend_id, record);
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl BackendRecord {
    fn new(pool: PoolId, backend: &crate::document::cluster::Backend, now: ClusterTime) -> Self {
        Self {
            pool,
            name: backend.name.clone(),
            address: backend.address,
            weight: backend.weight,
            max_sessions: backend.max_sessions,
            admin: AdminState::Ready,
            revision: Revision(0),
            health: Health::unknown(now),
            admin_since: now,
        }
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
        // The document is a function of its text, which is what the user sees and compares.
        self.document.as_ref().map(|document| &document.source).hash(hasher);
        for (id, backend) in &self.backends {
            (
                id,
                backend.pool,
                &backend.name,
                backend.address.to_string(),
                backend.weight,
                backend.max_sessions,
            )
                .hash(hasher);
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
