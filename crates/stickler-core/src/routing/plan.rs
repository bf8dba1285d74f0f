//! What routing looks up on every request, made once for each revision of the cluster document.

use std::sync::Arc;

use crate::affinity::key::KeyHasher;
use crate::affinity::pattern::Patterns;
use crate::affinity::recognise::{Carried, Policy, Recognised, recognise};
use crate::affinity::sealing::{KeyRing, SealingKey, SealingKeyId};
use crate::document::cluster::{Affinity, ClusterDocument, Pool, Route};
use crate::ids::{AffinityId, ClusterId, PoolId, Revision};
use crate::routes::RouteTable;
use crate::state::Catalog;

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
    /// Seals and opens tokens.
    pub ring: KeyRing,
    routes: RouteTable,
    patterns: Patterns,
    pools: Vec<PoolId>,
    affinities: Vec<AffinityId>,
}

/// The id that the cluster's first sealing key has.
const FIRST_SEALING_KEY: SealingKeyId = SealingKeyId(1);

impl Plan {
    /// `None` before the cluster was founded or a document was applied.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Option<Self> {
        let found = catalog.found.as_ref()?;
        let document = Arc::clone(catalog.document.as_ref()?);
        let key = SealingKey::new(FIRST_SEALING_KEY, found.sealing_secret);
        Some(Self {
            revision: catalog.revision,
            routes: RouteTable::new(&document),
            patterns: Patterns::of_affinities(&document.affinities),
            pools: catalog.pools.clone(),
            affinities: catalog.affinities.clone(),
            cluster: found.cluster,
            hasher: KeyHasher::new(found.hash_key),
            ring: KeyRing::new(vec![key], Some(FIRST_SEALING_KEY)).ok()?,
            document,
        })
    }

    /// The route of a request; `host` is lower case and without a port.
    #[must_use]
    pub fn route(&self, host: &str, path: &str) -> Option<&Route> {
        self.document.routes.get(self.routes.find(host, path)?.0)
    }

    /// A route's pool. The document was checked, and has one id for each pool.
    #[must_use]
    pub fn pool(&self, route: &Route) -> (PoolId, &Pool) {
        (self.pools[route.pool], &self.document.pools[route.pool])
    }

    /// What identifiers are read with under an affinity of this plan.
    #[must_use]
    pub const fn policy<'a>(&'a self, (id, affinity): (AffinityId, &'a Affinity)) -> Policy<'a> {
        Policy { id, affinity, hasher: &self.hasher, patterns: &self.patterns }
    }

    /// Every identifier of a request under an affinity.
    #[must_use]
    pub fn recognise(&self, affinity: (AffinityId, &Affinity), carried: Carried<'_>) -> Recognised {
        recognise(&self.policy(affinity), &self.ring, self.cluster, carried)
    }

    /// A route's affinity, if it has one.
    #[must_use]
    pub fn affinity(&self, route: &Route) -> Option<(AffinityId, &Affinity)> {
        let position = route.affinity?;
        Some((self.affinities[position], &self.document.affinities[position]))
    }
}
