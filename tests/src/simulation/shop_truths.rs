//! How shops really are, as against what nodes take them for: whether their checks pass, and whether they drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use stickler_core::ids::{BackendId, NodeId};
use stickler_core::state::BackendRecord;

use super::pool_settings::Check;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct ShopTruths {
    check: Check,
    /// Nodes and links are well all the time: every node gets to know every shop.
    well: bool,
    shops: BTreeMap<&'static str, Truth>,
    /// Where each node has a backend, and since when.
    seen: BTreeMap<(NodeId, BackendId), (SocketAddr, Duration)>,
    /// Since when a node has had a backend otherwise than it is.
    wrong: BTreeMap<(NodeId, BackendId), Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    /// Its process is gone, or its machine.
    dead: bool,
    /// Its page has other words.
    ill: bool,
    /// It says that it drains.
    drains: bool,
    /// Since when `dead` and `ill` are what they are.
    since: Duration,
    /// Since when `drains` is what it is.
    drains_since: Duration,
}

/// How long a node may have a backend otherwise than it is, where nodes and links are well: until three checks have failed, all
/// have reported, and the entry is there. A hand-over of leadership may come in between.
const KNOWN: Duration = Duration::from_millis(1500);

/// The same for one that is well, and down: connections take their time now and then, and a check that waits for one has
/// failed. Three in a row take a healthy backend down, and two must pass in a row before it is up.
const BACK: Duration = Duration::from_millis(2500);

impl ShopTruths {
    /// Of a run whose shops are checked like this; whether nodes and links are well all the time.
    #[must_use]
    pub fn new(check: Check, well: bool) -> Self {
        Self { check, well, ..Self::default() }
    }

    /// Whether nodes find out that a shop was started again in place.
    #[must_use]
    pub fn tell_lives(&self) -> bool {
        self.check.tells_lives()
    }

    /// Takes in that a shop's process is gone, or there again.
    pub fn dies(&mut self, at: Duration, shop: &'static str, dead: bool) {
        let truth = self.shops.entry(shop).or_default();
        (truth.dead, truth.since) = (dead, at);
    }

    /// Takes in that a shop's page has other words, or the right ones again.
    pub fn is_ill(&mut self, at: Duration, shop: &'static str, ill: bool) {
        let truth = self.shops.entry(shop).or_default();
        (truth.ill, truth.since) = (ill, at);
    }

    /// Takes in that a shop drains, or does so no more.
    pub fn drains(&mut self, at: Duration, shop: &'static str, drains: bool) {
        let truth = self.shops.entry(shop).or_default();
        (truth.drains, truth.drains_since) = (drains, at);
    }

    /// Since when no shop's process is gone; `None` while one is.
    #[must_use]
    pub fn all_there_since(&self) -> Option<Duration> {
        if self.shops.values().any(|truth| truth.dead) {
            return None;
        }
        Some(self.shops.values().map(|truth| truth.since).max().unwrap_or_default())
    }

    /// A node has a shop for up that is, and for down that is not; and it drains where it says so.
    ///
    /// # Errors
    /// When the node has had it otherwise for too long.
    pub fn are_known(
        &mut self,
        at: Duration,
        node: NodeId,
        (id, shop): (BackendId, &'static str),
        record: &BackendRecord,
    ) -> Result<(), String> {
        let seen = self.seen.entry((node, id)).or_insert((record.address, at));
        if seen.0 != record.address {
            *seen = (record.address, at);
        }
        if !self.well || record.leaving.is_some() {
            return Ok(());
        }
        let truth = self.shops.get(shop).copied().unwrap_or_default();
        let wrong_words = truth.ill && self.check == Check::Words;
        let passes = !truth.dead && !wrong_words;
        let drains = truth.drains && self.check != Check::Connection;
        let health = &record.health;
        let as_it_is = passes == health.is_up() && (!passes || drains == health.drains);
        if as_it_is {
            self.wrong.remove(&(node, id));
            return Ok(());
        }
        // What it was before, or elsewhere, says nothing.
        let changed = truth.since.max(truth.drains_since).max(seen.1);
        let wrong = self.wrong.entry((node, id)).or_insert(at);
        *wrong = changed.max(*wrong);
        let longest = if passes && !health.is_up() { BACK } else { KNOWN };
        if at < *wrong + longest {
            return Ok(());
        }
        Err(format!(
            "checks: since {wrong:?} {shop} is {:?} on node {node}, drains: {}; and it passes: {passes}, drains: {drains}",
            health.verdict, health.drains
        ))
    }
}
