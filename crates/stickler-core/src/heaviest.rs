//! Which keys of an affinity have the most requests: one address with a thousand people behind it, or one API key of a
//! crawler, can be the hot spot that no balancing takes away.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{AffinityId, KeyHash};

/// Keys that are counted for one affinity at once.
const COUNTED: usize = 128;

/// One of the heaviest keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heavy {
    /// The key.
    pub key: KeyHash,
    /// At most so many requests.
    pub requests: u64,
    /// Of these, so many may have been of other keys.
    pub uncertain: u64,
}

/// The heaviest keys of each affinity over the last one to two periods.
#[derive(Debug, Default)]
pub struct HeaviestKeys {
    current: BTreeMap<AffinityId, SpaceSaving>,
    previous: BTreeMap<AffinityId, SpaceSaving>,
}

impl HeaviestKeys {
    /// Counts requests of a key.
    pub fn count(&mut self, affinity: AffinityId, key: KeyHash, requests: u64) {
        self.current.entry(affinity).or_default().count(key, requests);
    }

    /// Ends a period: what was counted before the one that ends is forgotten.
    pub fn end_period(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }

    /// The heaviest keys of an affinity, the heaviest first, and how many requests all keys had.
    #[must_use]
    pub fn of(&self, affinity: AffinityId, most: usize) -> (Vec<Heavy>, u64) {
        let nothing = SpaceSaving::default();
        let current = self.current.get(&affinity).unwrap_or(&nothing);
        let previous = self.previous.get(&affinity).unwrap_or(&nothing);
        (SpaceSaving::heaviest([current, previous], most), current.total + previous.total)
    }
}

/// Space-Saving (Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams,
/// 2005): in the memory of a few keys, every key that has more than its share of all requests is found. A new key takes
/// the place of the one with the fewest requests, and its count, which may be too high by as much.
#[derive(Debug, Default)]
struct SpaceSaving {
    /// Requests and how many of them are uncertain.
    counters: BTreeMap<KeyHash, (u64, u64)>,
    total: u64,
}

impl SpaceSaving {
    fn count(&mut self, key: KeyHash, requests: u64) {
        self.total += requests;
        if let Some((counted, _)) = self.counters.get_mut(&key) {
            *counted += requests;
            return;
        }
        let fewest = self.fewest();
        if fewest > 0 {
            let least = self.counters.iter().find(|(_, (counted, _))| *counted == fewest);
            if let Some(least) = least.map(|(key, _)| *key) {
                self.counters.remove(&least);
            }
        }
        self.counters.insert(key, (fewest + requests, fewest));
    }

    /// As many requests as a key may have had that is not counted: 0 while there is room for all.
    fn fewest(&self) -> u64 {
        let fewest = self.counters.values().map(|(counted, _)| *counted).min();
        fewest.filter(|_| self.counters.len() >= COUNTED).unwrap_or(0)
    }

    /// The heaviest keys of several counts together.
    fn heaviest(counts: [&Self; 2], most: usize) -> Vec<Heavy> {
        let keys: BTreeSet<KeyHash> =
            counts.iter().flat_map(|count| count.counters.keys()).copied().collect();
        let heavy = |key: KeyHash| {
            let each = counts.map(|count| {
                let fewest = count.fewest();
                count.counters.get(&key).copied().unwrap_or((fewest, fewest))
            });
            Heavy { key, requests: each[0].0 + each[1].0, uncertain: each[0].1 + each[1].1 }
        };
        let mut heaviest: Vec<Heavy> = keys.into_iter().map(heavy).collect();
        heaviest.sort_by_key(|heavy| Reverse((heavy.requests, heavy.key)));
        heaviest.truncate(most);
        heaviest
    }
}
