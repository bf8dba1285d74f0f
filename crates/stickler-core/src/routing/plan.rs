//! What routing looks up on every request, made once for each revision of the cluster document and each
//! generation of the ring of sealing keys.

use std::net::IpAddr;
use std::sync::Arc;

use crate::affinity::key::{Identifier, KeyHasher};
use crate::affinity::pattern::Patterns;
use crate::affinity::recognise::{Carried, Policy, Recognised, recognise};
use crate::affinity::sealing::{KeyRing, SealingKey};
use crate::affinity::source::MaskedAddress;
use crate::document::cluster::{Affinity, ClusterDocument, Listener, Otherwise, Pool, Route, Scope};
use crate::ids::{AffinityId, ClusterId, KeyHash, LogIndex, PoolId, Revision};
use crate::routes::RouteTable;
use crate::secrets::{Purpose, SecretsError, SecretsKey};
use crate::state::{Catalog, Ring, RingKey};

/// The cluster document, its ids, and what is derived from them.
#[derive(Debug)]
pub struct Plan {
    /// The document's revision.
    pub revision: Revision,
    /// The document.
    pub document: Arc<ClusterDocument>,
    /// The cluster's name; part of what seals a token.
    pub cluster: ClusterId,
    /// Hashes identifiers.
    pub hasher: KeyHasher,
    /// Opens tokens.
    pub ring: KeyRing,
    /// Knows which key seals.
    sealing: Ring,
    routes: RouteTable,
    patterns: Patterns,
    /// Hashes identifiers where sessions of different pools are apart, by the pool's position.
    scoped: Vec<KeyHasher>,
    pools: Vec<PoolId>,
    affinities: Vec<AffinityId>,
}

/// Where a request of one route may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools {
    /// The pool that was drawn for it.
    pub drawn: PoolId,
    /// The route's other pools, with their weights.
    pub others: Vec<(PoolId, u32)>,
}

impl Pools {
    /// One pool and no others.
    #[must_use]
    pub const fn one(drawn: PoolId) -> Self {
        Self { drawn, others: Vec::new() }
    }

    /// All of them, that which was drawn first.
    pub fn all(&self) -> impl Iterator<Item = PoolId> {
        std::iter::once(self.drawn).chain(self.others.iter().map(|(pool, _)| *pool))
    }

    /// Those that take new sessions, that which was drawn first: a pool without a backend leaves its share to the
    /// others.
    pub fn for_new(&self) -> impl Iterator<Item = PoolId> {
        let others = self.others.iter().filter(|(_, weight)| *weight > 0);
        std::iter::once(self.drawn).chain(others.map(|(pool, _)| *pool))
    }
}

impl Plan {
    /// `None` before the cluster was founded or a document was applied. `secrets` is the node's key for the
    /// cluster's secrets, if it has one.
    ///
    /// # Errors
    /// [`SecretsError`] where the node can't read the cluster's secrets: it can route nothing.
    pub fn of(catalog: &Catalog, secrets: Option<&SecretsKey>) -> Result<Option<Self>, SecretsError> {
        let (Some(found), Some(document)) = (&catalog.found, &catalog.document) else { return Ok(None) };
        let hasher = KeyHasher::new(found.hash_key(secrets)?);
        let reveal = |kept: &RingKey| {
            let secret = kept.secret.reveal(secrets, found.cluster, Purpose::SealingKey)?;
            Ok(SealingKey::new(kept.id, secret))
        };
        let keys = catalog.ring.keys().iter().map(reveal).collect::<Result<_, SecretsError>>()?;
        Ok(Some(Self {
            revision: catalog.revision,
            routes: RouteTable::new(document),
            patterns: Patterns::of_affinities(&document.affinities),
            scoped: catalog.pools.iter().map(|pool| hasher.scoped(*pool)).collect(),
            pools: catalog.pools.clone(),
            affinities: catalog.affinities.clone(),
            cluster: found.cluster,
            hasher,
            // Two keys of one id can only stand in a state that is damaged.
            ring: KeyRing::new(keys).map_err(|_| SecretsError::Damaged)?,
            sealing: catalog.ring.clone(),
            document: Arc::clone(document),
        }))
    }

    /// Whether a plan of this catalog would be the same.
    #[must_use]
    pub fn is_of(&self, catalog: &Catalog) -> bool {
        self.revision == catalog.revision && self.sealing.generation() == catalog.ring.generation()
    }

    /// The key that seals a token at this stable index, which is to be that of this very moment.
    #[must_use]
    pub fn sealing_key(&self, stable: LogIndex) -> Option<&SealingKey> {
        self.ring.get(self.sealing.sealing(stable)?.id)
    }

    /// The listener of this name; `None` when the document has it no longer.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.document.listeners.iter().find(|listener| listener.name == name)
    }

    /// The route of a request; `host` is lower case and without a port.
    #[must_use]
    pub fn route(&self, host: &str, path: &str) -> Option<&Route> {
        self.document.routes.get(self.routes.find(host, path)?.0)
    }

    /// Where a request of a route goes that has no session: to one of its pools, drawn by weight with a number that is
    /// uniform over all of `u64`. The document was checked, and has one id for each pool.
    #[must_use]
    pub fn pools(&self, route: &Route, draw: u64) -> Pools {
        let total: u64 = route.pools.iter().map(|part| u64::from(part.weight)).sum();
        let mut left = draw % total.max(1);
        let drawn = route.pools.iter().position(|part| match left.checked_sub(u64::from(part.weight)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let drawn = drawn.unwrap_or(0);
        let others = route.pools.iter().enumerate().filter(|(index, _)| *index != drawn);
        Pools {
            drawn: self.pools[route.pools[drawn].pool],
            others: others.map(|(_, part)| (self.pools[part.pool], part.weight)).collect(),
        }
    }

    /// What a split goes by: the session, so that all nodes draw alike for one that nobody knows yet; or else the
    /// client's address, where the affinity says so. `None`: a random number.
    #[must_use]
    pub fn draw(&self, policy: Option<&Policy<'_>>, recognised: &Recognised, source: IpAddr) -> Option<u64> {
        let by_source = policy.is_some_and(|policy| policy.affinity.otherwise == Otherwise::Hash);
        let session = recognised.found.first().map(|found| found.key);
        let key = session.or_else(|| by_source.then(|| self.source_key(source)).flatten())?;
        Some((key.0 >> 64) as u64)
    }

    /// The client's address as a key, for choosing by hash without a session.
    #[must_use]
    pub fn source_key(&self, source: IpAddr) -> Option<KeyHash> {
        self.hasher.key(AffinityId(0), &Identifier::Source(MaskedAddress::of(source, 32, 128))).ok()
    }

    /// The settings of a pool; those of the route's first pool for one that is gone.
    #[must_use]
    pub fn pool_settings(&self, route: &Route, pool: Option<PoolId>) -> &Pool {
        let position = pool.and_then(|pool| self.pools.iter().position(|known| *known == pool));
        &self.document.pools[position.unwrap_or(route.pools[0].pool)]
    }

    /// A route's affinity with what identifiers are read with under it, if it has one.
    #[must_use]
    pub fn policy(&self, route: &Route) -> Option<Policy<'_>> {
        let position = route.affinity?;
        let affinity = &self.document.affinities[position];
        let hasher = match affinity.scope {
            Scope::Affinity => &self.hasher,
            Scope::Pool => &self.scoped[route.pools.iter().map(|part| part.pool).min().unwrap_or(0)],
        };
        Some(Policy { id: self.affinities[position], affinity, hasher, patterns: &self.patterns })
    }

    /// An affinity with what identifiers are read with under it: once, or once for each pool where sessions are apart.
    pub fn policies<'a>(
        &'a self,
        id: AffinityId,
        affinity: &'a Affinity,
    ) -> impl Iterator<Item = Policy<'a>> {
        let hashers = match affinity.scope {
            Scope::Affinity => std::slice::from_ref(&self.hasher),
            Scope::Pool => &self.scoped[..],
        };
        hashers.iter().map(move |hasher| Policy { id, affinity, hasher, patterns: &self.patterns })
    }

    /// Every identifier of a request under an affinity.
    #[must_use]
    pub fn recognise(&self, policy: &Policy<'_>, carried: Carried<'_>) -> Recognised {
        recognise(policy, &self.ring, self.cluster, carried)
    }
}
