//! Backends that come and go: what operators and names have asked for, and what may become of a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::document::cluster::Backend;
use stickler_core::ids::{BackendId, PoolId, Revision};
use stickler_core::state::{BackendRecord, Binding, Catalog, Removal, SessionKey, View};

use super::document::SHOPS;
use super::slow_starts::{share, taking_since};

/// The name that leads to shops, in documents that have one.
pub const NAME: &str = "shops.internal";

/// A document that an operator applies.
#[derive(Clone, Copy, Debug)]
pub struct DocumentPlan {
    /// The position of the shop that is missing.
    pub absent: usize,
    /// What becomes of those that it no longer names.
    pub removal: Removal,
    /// Whether it has shops at their other port, and says where they were before.
    pub moved: bool,
}

impl DocumentPlan {
    /// One of a plan.
    pub fn draw(random: &mut StdRng) -> Self {
        let removal = match random.random_range(0..3) {
            0 => Removal::Now,
            1 => Removal::Drain { deadline: None },
            _ => Removal::Drain { deadline: Some(random.random_range(100..1500)) },
        };
        let absent = random.random_range(0..SHOPS.len());
        Self { absent, removal, moved: random.random_bool(0.3) }
    }
}

/// What was asked for.
#[derive(Default)]
pub struct PoolChanges {
    /// Revisions of the document on which an operator has removed backends at once, or wanted to.
    forced: BTreeSet<Revision>,
    /// Where the shops are.
    pub shops: BTreeMap<IpAddr, &'static str>,
}

/// What was seen of one node at two looks with one entry in between.
pub struct OneEntry<'a> {
    /// What it had before.
    pub before: &'a Catalog,
    /// What it has now.
    pub view: &'a View,
    /// The bindings that it has now.
    pub bindings: &'a BTreeMap<SessionKey, Binding>,
}

impl PoolChanges {
    /// Takes in that an operator applies a document on this revision.
    pub fn applies(&mut self, expected: Revision, removal: Removal) {
        if removal == Removal::Now {
            self.forced.insert(expected);
        }
    }

    /// Where a shop is.
    #[must_use]
    pub fn address_of(&self, shop: &str) -> Option<IpAddr> {
        self.shops.iter().find(|(_, name)| **name == shop).map(|(ip, _)| *ip)
    }

    /// What is wrong with how backends came and went.
    #[must_use]
    pub fn broken(&self, entry: &OneEntry<'_>) -> Vec<String> {
        let OneEntry { before, view, .. } = entry;
        let gone = before.backends.keys().filter(|id| !view.catalog.backends.contains_key(id));
        let gone = gone.filter_map(|id| self.is_gone_too_early(entry, *id));
        let lost = moved(before, &view.catalog).filter_map(|(id, to)| has_not_moved(&view.catalog, id, to));
        gone.chain(lost).chain(emptied(before, &view.catalog)).collect()
    }

    /// I3: a removed backend is gone when nobody is on it, when its time is over, or when that was forced.
    fn is_gone_too_early(&self, entry: &OneEntry<'_>, id: BackendId) -> Option<String> {
        let OneEntry { before, view, bindings } = entry;
        let record = &before.backends[&id];
        let left = bindings.values().filter(|binding| binding.backend == id).count();
        let forced = self.forced.range(before.revision..view.catalog.revision).next().is_some();
        let over = record.leaving.is_some_and(|leaving| leaving.until <= view.time);
        (left > 0 && !forced && !over).then(|| {
            format!("I3 NoUnforcedMove: {} is gone before its time, with {left} sessions", record.name)
        })
    }
}

/// The backends that another document has at another address, and says so.
fn moved<'a>(before: &'a Catalog, after: &'a Catalog) -> impl Iterator<Item = (BackendId, &'a Backend)> + 'a {
    let changed = before.revision != after.revision;
    let written = after.document.iter().filter(move |_| changed).flat_map(|document| &document.pools);
    let written = written.flat_map(|pool| &pool.backends);
    written.filter_map(|backend| {
        let mut named = before.backends.iter().filter(|(_, record)| record.name == backend.name);
        let was_there = before.backends.values().any(|record| record.address == backend.address);
        let from = named.find(|(_, record)| Some(record.address) == backend.moved_from);
        from.filter(|_| !was_there).map(|(id, _)| (*id, backend))
    })
}

/// I3: a backend that says where it was is the same one.
fn has_not_moved(after: &Catalog, id: BackendId, to: &Backend) -> Option<String> {
    let there = after.backends.get(&id).is_some_and(|record| record.address == to.address);
    (!there).then(|| {
        format!(
            "I3 NoUnforcedMove: {} is another backend at {}, its sessions stay behind",
            to.name, to.address
        )
    })
}

/// A name takes no pool's backends away by leading to nothing.
fn emptied(before: &Catalog, after: &Catalog) -> Option<String> {
    let is_empty = |catalog: &Catalog, pool: &PoolId| {
        catalog.discovered.get(pool).map(|discovered| discovered.backends.is_empty())
    };
    let emptied =
        |pool: &&PoolId| is_empty(before, pool) == Some(false) && is_empty(after, pool) == Some(true);
    before
        .pools
        .iter()
        .find(emptied)
        .map(|pool| format!("discovery: the backends of pool {pool} are gone with their name"))
}

/// No backend has more than its pool's bound after a session was placed there: none but that changed. Shares of those that
/// start slowly may be off by a hundredth: they grow in steps.
#[must_use]
pub fn beyond_bound(view: &View, placed: &Binding) -> Option<String> {
    const HUNDREDTH: f64 = 0.01;
    let pool = view.catalog.pool(placed.pool)?;
    let percent = pool.bounded_load?;
    let taking = || view.catalog.backends_of(placed.pool).filter(|(_, record)| record.takes_new());
    let share = |record: &BackendRecord| {
        let started = pool.slow_start.map_or(1.0, |start| share(taking_since(record), view.time, start));
        f64::from(record.weight) * started
    };
    let total: u64 = taking().map(|(id, _)| view.counts.of_backend(id)).sum();
    let (id, record) = taking().find(|(id, _)| *id == placed.backend)?;
    let others: f64 = taking().filter(|(other, _)| *other != id).map(|(_, record)| share(record)).sum();
    let slack = pool.slow_start.map_or(0.0, |_| f64::from(record.weight) * HUNDREDTH);
    let own = share(record) + slack;
    let of_all = own / (own + (others - slack * taking().count() as f64).max(0.0));
    let most = (f64::from(percent) / 100.0 * total as f64 * of_all - 1e-6).ceil();
    let sessions = view.counts.of_backend(id);
    (sessions as f64 > most).then(|| {
        format!("the bound: {} got its session {sessions} of {total}, and may have {most}", record.name)
    })
}
