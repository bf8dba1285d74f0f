//! The ring of sealing keys: which there are, and for how long the older ones still open tokens.
//!
//! All of it goes by log index and cluster time, so that every node has the same ring at the same index. A
//! new key seals only from the stable index on that has passed it: no node that holds a lease can then meet
//! a token that it can't open. The keys before it open what they have sealed until their overlap is over.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::State;
use super::catalog::Catalog;
use super::command::RotateKey;
use super::outcome::RotateOutcome;
use crate::affinity::sealing::SealingKeyId;
use crate::deliberate::{self, Fault};
use crate::ids::LogIndex;
use crate::secrets::KeptSecret;
use crate::time::ClusterTime;

/// The most keys that a ring has. A rotation beyond is refused until the oldest key's overlap is over.
pub const MAX_SEALING_KEYS: usize = 8;

/// One key, and since when it is in the ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RingKey {
    /// The id that its tokens carry.
    pub id: SealingKeyId,
    /// Its secret.
    pub secret: KeptSecret,
    /// The entry that added it: it seals once the stable index has reached this.
    pub added_at: LogIndex,
    /// Cluster time at that entry.
    pub added: ClusterTime,
    /// When a newer key was added: it opens tokens for the document's overlap from then on. `None` for the
    /// newest key.
    pub superseded: Option<ClusterTime>,
}

/// The sealing keys of a cluster, the oldest first. Empty before the cluster's birth, and never after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ring {
    keys: Vec<RingKey>,
    generation: u64,
}

impl RingKey {
    /// When it opens no token any more; `None` while it is the newest key.
    #[must_use]
    pub fn opens_until(&self, overlap: Duration) -> Option<ClusterTime> {
        self.superseded.map(|since| since + overlap)
    }
}

impl Ring {
    /// The keys, the oldest first.
    #[must_use]
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// The key that was added last, which seals already or soon will.
    #[must_use]
    pub fn newest(&self) -> Option<&RingKey> {
        self.keys.last()
    }

    /// Raised by every change, so that whatever was made of the ring knows that it is old.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The key that seals at this stable index: the newest that it has reached. The very first key waits for
    /// nothing, since a node that does not know it has no document either.
    #[must_use]
    pub fn sealing(&self, stable: LogIndex) -> Option<&RingKey> {
        let known = |key: &&RingKey| key.added_at <= stable || deliberate::active(Fault::SealBeforeStable);
        self.keys.iter().rev().find(known).or_else(|| self.keys.first())
    }

    /// Adds a key, which no other has had the id of: the newest key never leaves the ring.
    pub(super) fn add(&mut self, secret: KeptSecret, added_at: LogIndex, added: ClusterTime) -> SealingKeyId {
        let id = SealingKeyId(self.newest().map_or(0, |key| key.id.0) + 1);
        if let Some(older) = self.keys.last_mut() {
            older.superseded = Some(added);
        }
        self.keys.push(RingKey { id, secret, added_at, added, superseded: None });
        self.generation += 1;
        id
    }

    /// How many of the oldest keys are over: their overlap is, and the key after them may seal on all nodes.
    fn retired(&self, now: ClusterTime, stable: LogIndex, overlap: Duration) -> usize {
        let over = |pair: &&[RingKey]| {
            pair[0].opens_until(overlap).is_some_and(|until| until <= now) && pair[1].added_at <= stable
        };
        self.keys.windows(2).take_while(over).count()
    }
}

impl Catalog {
    /// How long a key opens tokens after a newer one was added. Without a document none has sealed any.
    #[must_use]
    pub fn overlap(&self) -> Duration {
        self.document.as_ref().map_or(Duration::ZERO, |document| document.sealing.overlap)
    }

    /// Whether the next entry, if it is of this time and stable index, takes old keys out of the ring.
    #[must_use]
    pub fn has_retired_keys(&self, now: ClusterTime, stable: LogIndex) -> bool {
        self.ring.retired(now, stable, self.overlap()) > 0
    }

    /// The newest key, when it is so old that whoever leads should propose one after it.
    #[must_use]
    pub fn rotation_due(&self, now: ClusterTime) -> Option<SealingKeyId> {
        let sealing = &self.document.as_ref()?.sealing;
        let newest = self.ring.newest()?;
        let old = now.since(newest.added) >= sealing.rotate_every;
        (old && self.ring.keys.len() < MAX_SEALING_KEYS).then_some(newest.id)
    }
}

impl State {
    /// Adds a key, if the newest one is still that which the proposer saw.
    pub(super) fn rotate_key(&mut self, rotate: &RotateKey) -> RotateOutcome {
        let ring = &self.catalog.ring;
        let (Some(newest), Some(oldest)) = (ring.newest(), ring.keys.first()) else {
            return RotateOutcome::Changed(SealingKeyId(0));
        };
        if newest.id != rotate.expected {
            return RotateOutcome::Changed(newest.id);
        }
        if ring.keys.len() >= MAX_SEALING_KEYS {
            let until = oldest.opens_until(self.catalog.overlap());
            return RotateOutcome::Full(until.unwrap_or(self.time));
        }
        let (index, now) = (self.applied, self.time);
        let ring = &mut Arc::make_mut(&mut self.catalog).ring;
        RotateOutcome::Rotated(ring.add(rotate.secret.clone(), index, now))
    }

    /// Forgets keys whose overlap is over.
    pub(super) fn retire_keys(&mut self) {
        let retired = self.catalog.ring.retired(self.time, self.stable, self.catalog.overlap());
        if retired > 0 {
            let ring = &mut Arc::make_mut(&mut self.catalog).ring;
            ring.keys.drain(..retired);
            ring.generation += 1;
        }
    }
}
