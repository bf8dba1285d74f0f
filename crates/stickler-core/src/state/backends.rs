//! The backends of the replicated state: what the document and discovery name, with permanent ids, and those that were
//! removed and keep their sessions for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::command::Removal;
use super::counts::Counts;
use super::verdict::Health;
use crate::affinity::mint::own_cookie;
use crate::deliberate::{self, Fault};
use crate::discovery::{DiscoveredBackend, MOST_DISCOVERED, MOST_NAMES};
use crate::document::MAX_BACKENDS;
use crate::document::cluster::{ClusterDocument, Pool};
use crate::ids::{AffinityId, BackendId, Epoch, PoolId, Revision};
use crate::time::ClusterTime;

/// The most backends at once, those that leave included: as many as documents may name and names may lead to, so that only
/// leaving ones are ever too many.
const MOST_BACKENDS: usize = MAX_BACKENDS + MOST_NAMES * MOST_DISCOVERED;

/// How long after a removal the last request that was decided before it may have left its node, and how long what its
/// response begins may take to be bound.
const UNDER_WAY: Duration = Duration::from_secs(3);

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
    /// What applications call it in their identifiers; `None`: its name.
    pub route: Option<String>,
    /// The most requests that each node has in flight to it.
    pub max_requests: Option<u32>,
    /// Who names it.
    pub source: Source,
    /// It was removed, and keeps its sessions for a while; `None` while it is named.
    pub leaving: Option<Leaving>,
}

/// Who names a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The cluster document.
    Document,
    /// DNS.
    Discovery,
}

/// How long a backend that was removed keeps its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leaving {
    /// Since when it takes no new ones.
    pub since: ClusterTime,
    /// Then the rest moves.
    pub until: ClusterTime,
}

/// What a pool's name led to, as of one log index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Discovered {
    /// Raised by every change.
    pub revision: Revision,
    /// The backends, in the order of their names.
    pub backends: Vec<DiscoveredBackend>,
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
        let wants = self.health.is_up() && !self.health.drains && self.weight > 0;
        self.admin == AdminState::Ready && wants && self.leaving.is_none()
    }

    /// Since when it has taken sessions, or could have: for its slow start.
    #[must_use]
    pub fn taking_since(&self) -> ClusterTime {
        self.health.since.max(self.admin_since)
    }

    /// Whether it was removed, and its time is over at this one.
    #[must_use]
    pub fn has_left(&self, now: ClusterTime) -> bool {
        self.leaving.is_some_and(|leaving| leaving.until <= now)
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
            _ if self.has_left(now) => false,
            AdminState::Maint => false,
            AdminState::Drain { deadline: Some(deadline) } if deadline <= now => false,
            AdminState::Ready | AdminState::Drain { .. } => !self.health.is_down(),
        }
    }
}

/// A backend as it is to be from now on.
struct Named {
    pool: PoolId,
    name: String,
    address: SocketAddr,
    moved_from: Option<SocketAddr>,
    weight: u32,
    max_sessions: Option<u64>,
    max_requests: Option<u32>,
    route: Option<String>,
    source: Source,
}

impl Named {
    /// Those that a document's pool names, and those that its discovery has found. Where both name one, the document says
    /// what it is.
    fn of_pool(id: PoolId, pool: &Pool, discovered: Option<&Discovered>) -> Vec<Self> {
        let written = pool.backends.iter().map(|backend| Self {
            pool: id,
            name: backend.name.clone(),
            address: backend.address,
            moved_from: backend.moved_from,
            weight: backend.weight,
            max_sessions: backend.max_sessions,
            max_requests: backend.max_requests,
            route: backend.route.clone(),
            source: Source::Document,
        });
        let (Some(discovery), Some(discovered)) = (&pool.discovery, discovered) else {
            return written.collect();
        };
        let is_written = |found: &&DiscoveredBackend| {
            pool.backends.iter().any(|backend| backend.name == found.name || backend.address == found.address)
        };
        let found = discovered.backends.iter().filter(|found| !is_written(found)).map(|found| Self {
            pool: id,
            name: found.name.clone(),
            address: found.address,
            moved_from: None,
            weight: found.weight,
            max_sessions: discovery.max_sessions,
            max_requests: discovery.max_requests,
            route: None,
            source: Source::Discovery,
        });
        written.chain(found).collect()
    }

    /// A record for it where it was none before.
    fn begun(&self, now: ClusterTime) -> BackendRecord {
        BackendRecord {
            pool: self.pool,
            name: self.name.clone(),
            address: self.address,
            weight: self.weight,
            max_sessions: self.max_sessions,
            admin: AdminState::Ready,
            revision: Revision(0),
            health: Health::unknown(now),
            admin_since: now,
            route: self.route.clone(),
            max_requests: self.max_requests,
            source: self.source,
            leaving: None,
        }
    }

    /// What it is from now on; its id, state and sessions stay.
    fn goes_on(self, record: &mut BackendRecord, now: ClusterTime) {
        if record.leaving.take().is_some() {
            // It takes new sessions again, and begins slowly.
            record.admin_since = now;
        }
        record.address = self.address;
        record.weight = self.weight;
        record.max_sessions = self.max_sessions;
        record.max_requests = self.max_requests;
        record.route = self.route;
        record.source = self.source;
    }
}

/// Records by what makes a backend.
type ByPlace = BTreeMap<(PoolId, String, SocketAddr), (BackendId, BackendRecord)>;

impl Catalog {
    /// Takes `document` in: what keeps its name keeps its id, and a backend that keeps name and address, or says where it
    /// was, keeps its state as well. Ids are never given out twice.
    pub(super) fn replace_document(&mut self, document: ClusterDocument, removal: Removal, now: ClusterTime) {
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
        self.keep_discovered(&document);
        self.document = Some(Arc::new(document));
        self.revision = Revision(self.revision.0 + 1);
        self.settle_backends(removal, now);
    }

    /// What was discovered stays where a pool still has a name, until that is answered anew. An answer to a question of
    /// before comes too late.
    fn keep_discovered(&mut self, document: &ClusterDocument) {
        let discovering = self.pools.iter().zip(&document.pools).filter(|(_, pool)| pool.discovery.is_some());
        let mut before = std::mem::take(&mut self.discovered);
        for (id, _) in discovering {
            // A name that comes anew begins where no question of another name has been.
            let begun = || Discovered { revision: self.revision, backends: Vec::new() };
            let mut discovered = before.remove(id).unwrap_or_else(begun);
            discovered.revision = Revision(discovered.revision.0 + 1);
            self.discovered.insert(*id, discovered);
        }
    }

    /// Makes the backends those that document and discovery name. Those that neither names any more leave.
    pub(super) fn settle_backends(&mut self, removal: Removal, now: ClusterTime) {
        let Some(document) = self.document.clone() else { return };
        let records = std::mem::take(&mut self.backends).into_iter();
        let place = |record: &BackendRecord| (record.pool, record.name.clone(), record.address);
        let mut old: ByPlace = records.map(|(id, record)| (place(&record), (id, record))).collect();
        let pools = self.pools.iter().zip(&document.pools);
        let named = pools.flat_map(|(id, pool)| Named::of_pool(*id, pool, self.discovered.get(id)));
        let mut new = Vec::new();
        for named in named.collect::<Vec<_>>() {
            match old.remove(&(named.pool, named.name.clone(), named.address)) {
                Some((id, mut record)) => {
                    named.goes_on(&mut record, now);
                    self.backends.insert(id, record);
                }
                None => new.push(named),
            }
        }
        for named in new {
            let (id, record) = self.begin(named, &mut old, now);
            self.backends.insert(id, record);
        }
        self.let_leave(old, removal, now);
    }

    /// A backend that has no record under its name and address.
    fn begin(&mut self, named: Named, old: &mut ByPlace, now: ClusterTime) -> (BackendId, BackendRecord) {
        let moved_from = named.moved_from.filter(|_| !deliberate::active(Fault::ForgetWhereItWas));
        let moved = moved_from.and_then(|from| old.remove(&(named.pool, named.name.clone(), from)));
        if let Some((id, mut record)) = moved {
            named.goes_on(&mut record, now);
            return (id, record);
        }
        if deliberate::active(Fault::ReuseBackendId)
            && let Some((_, (id, _))) = old.pop_last()
        {
            return (id, named.begun(now));
        }
        (BackendId(self.next_id()), named.begun(now))
    }

    /// Backends that are named no more keep their sessions for a while, unless nothing leads to their pool any more. Those
    /// that are leaving already go on with that, whatever happens to others.
    fn let_leave(&mut self, old: ByPlace, removal: Removal, now: ClusterTime) {
        for (id, mut record) in old.into_values() {
            let Some(pool) = self.pool(record.pool) else { continue };
            if record.leaving.is_none() {
                let stay = match removal {
                    _ if deliberate::active(Fault::RemoveAtOnce) => continue,
                    Removal::Now => continue,
                    Removal::Drain { deadline: Some(milliseconds) } => Duration::from_millis(milliseconds),
                    Removal::Drain { deadline: None } => pool.drain_timeout,
                };
                record.leaving = Some(Leaving { since: now, until: now + stay });
            }
            self.backends.insert(id, record);
        }
        self.keep_within(MOST_BACKENDS);
    }

    /// Where there are more backends than that, some of those that leave go at once: of the pool that has most of them, the
    /// one that has been leaving for longest. So a name that leads elsewhere every second costs no other pool anything.
    fn keep_within(&mut self, most: usize) {
        let excess = self.backends.len().saturating_sub(most);
        if excess == 0 {
            return;
        }
        let mut leavers: BTreeMap<PoolId, BTreeSet<(ClusterTime, BackendId)>> = BTreeMap::new();
        for (id, record) in &self.backends {
            if let Some(leaving) = record.leaving {
                leavers.entry(record.pool).or_default().insert((leaving.since, *id));
            }
        }
        for _ in 0..excess {
            let fullest = leavers.values_mut().max_by_key(|of_pool| of_pool.len());
            let Some((_, longest)) = fullest.and_then(BTreeSet::pop_first) else { return };
            self.backends.remove(&longest);
        }
    }

    /// Takes in what a pool's name leads to, if nobody was faster. Returns whether it did.
    pub(super) fn discover(
        &mut self,
        (pool, expected): (PoolId, Revision),
        backends: &[DiscoveredBackend],
        now: ClusterTime,
    ) -> bool {
        let Some(discovered) = self.discovered.get_mut(&pool).filter(|known| known.revision == expected)
        else {
            return false;
        };
        discovered.backends = backends.to_vec();
        discovered.revision = Revision(discovered.revision.0 + 1);
        self.settle_backends(Removal::Drain { deadline: None }, now);
        true
    }

    /// The backends whose leave is over: their time is, or nobody is left on them, nor can a response that is under way
    /// begin a session there, or a token without a record bring one back.
    #[must_use]
    pub fn have_left(&self, counts: &Counts, now: ClusterTime) -> BTreeSet<BackendId> {
        let affinities = self.affinities.iter().filter_map(|id| self.affinity(*id));
        let windows = affinities.filter_map(own_cookie).map(|(_, attributes)| attributes.return_window);
        let window = windows.max().unwrap_or_default();
        let over = |id: BackendId, record: &BackendRecord| {
            let empty = counts.of_backend(id) == 0;
            let responses = self.pool(record.pool).map_or(Duration::ZERO, |pool| pool.response_timeout);
            let window = window.max(responses + UNDER_WAY);
            record
                .leaving
                .is_some_and(|leaving| leaving.until <= now || (empty && leaving.since + window <= now))
        };
        let backends = self.backends.iter();
        backends.filter(|(id, record)| over(**id, record)).map(|(id, _)| *id).collect()
    }
}
