//! When records come due. Not replicated: an index that spares the leader a walk over all records, which
//! each node keeps for the day on which it leads. What it yields is only proposed; `apply` checks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::record::{Binding, SessionKey};
use crate::document::cluster::Affinity;
use crate::time::ClusterTime;

/// Width of one slot, in milliseconds. A record comes up at the end of its slot, so that it is never
/// looked at too early.
const SLOT: u64 = 16;

/// Records by the time at which to look at them again.
#[derive(Debug, Default)]
pub struct Deadlines {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    sessions: BTreeMap<u64, Vec<SessionKey>>,
    /// How many sessions all slots hold, those included that have ended or are held twice.
    entries: usize,
}

impl Slots {
    fn add(&mut self, session: SessionKey, at: ClusterTime) {
        self.sessions.entry(at.0.div_ceil(SLOT)).or_default().push(session);
        self.entries += 1;
    }
}

impl Deadlines {
    /// Yields `session` at the first [`Deadlines::due`] from `at` on.
    pub fn schedule(&self, session: SessionKey, at: ClusterTime) {
        self.lock().add(session, at);
    }

    /// Takes out sessions to look at, `limit` of them or a few more. Whoever takes them schedules those
    /// that live on.
    #[must_use]
    pub fn due(&self, now: ClusterTime, limit: usize) -> Vec<SessionKey> {
        let mut slots = self.lock();
        let mut due = Vec::new();
        while due.len() < limit {
            let first = slots.sessions.first_entry().filter(|slot| slot.key().saturating_mul(SLOT) <= now.0);
            let Some(slot) = first else { break };
            due.append(&mut slot.remove());
        }
        slots.entries -= due.len();
        due
    }

    /// When the next record comes up.
    #[must_use]
    pub fn next(&self) -> Option<ClusterTime> {
        self.lock().sessions.first_key_value().map(|(slot, _)| ClusterTime(slot.saturating_mul(SLOT)))
    }

    /// Forgets every entry. Whoever does schedules all records anew, as when a time-out changes.
    pub fn clear(&self) {
        *self.lock() = Slots::default();
    }

    /// How many entries there are, those of ended sessions included.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.lock().entries
    }

    /// Forgets every entry and takes these instead.
    pub(super) fn replace(&self, ends: impl IntoIterator<Item = (SessionKey, ClusterTime)>) {
        let mut slots = Slots::default();
        for (session, at) in ends {
            slots.add(session, at);
        }
        *self.lock() = slots;
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a binding ends if it is not used again (I8).
///
/// A node reports a use only when the replicated last use is older than an eighth of the idle time-out, so
/// the last use may be that much later than the one on record; a thirty-second is left for the report's
/// way. Later than its time-out by 5/32 and a proposal's way, a session has then ended: less than a fifth.
#[must_use]
pub fn deadline(binding: &Binding, policy: &Affinity) -> ClusterTime {
    let idle =
        binding.last_use + policy.idle_timeout + unreported(policy.idle_timeout) + policy.idle_timeout / 32;
    match policy.max_age {
        Some(age) => idle.min(binding.bound_at + age),
        None => idle,
    }
}

/// How old the replicated last use may be before a node reports a newer one.
#[must_use]
pub fn unreported(idle_timeout: Duration) -> Duration {
    idle_timeout / 8
}
