//! Which backends get nothing new from one node for a while, by what became of the requests that it sent there.
//!
//! This is one node's own view, and it moves nobody: where bound sessions go is the cluster's verdict alone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::deliberate::{self, Fault};
use crate::document::cluster::Ejection;
use crate::ids::BackendId;

/// What one node has seen of its backends. Those of which it has seen nothing bad take no room.
#[derive(Debug, Default)]
pub struct Ejections {
    seen: BTreeMap<BackendId, Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Errors in a row.
    errors: u32,
    /// Ejections in a row: so many times `time` is how long the last one was, as long as that is below `longest`.
    ejections: u32,
    /// When the last ejection ends, by the node's clock.
    ends: Duration,
}

/// What comes of one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Nothing.
    Nothing,
    /// There were so many errors in a row that the backend is to be probed. It is not ejected, because it is already or
    /// because no more of its pool may be.
    Suspect,
    /// The same, and it is ejected for so long.
    Ejected(Duration),
}

impl Ejections {
    /// Whether nothing bad is known of any backend.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether a backend gets nothing new at `now`, by the node's clock.
    #[must_use]
    pub fn is_ejected(&self, backend: BackendId, now: Duration) -> bool {
        self.seen.get(&backend).is_some_and(|seen| now < seen.ends)
    }

    /// A request to `backend` went well.
    pub fn note_success(&mut self, backend: BackendId, policy: &Ejection, now: Duration) {
        let Some(seen) = self.seen.get_mut(&backend) else { return };
        seen.errors = 0;
        if now >= seen.ends && seen.in_a_row(policy, now) == 0 {
            self.seen.remove(&backend);
        }
    }

    /// A request to `backend` went wrong. `pool` are all backends of its pool, itself included.
    pub fn note_error(
        &mut self,
        backend: BackendId,
        policy: &Ejection,
        pool: impl IntoIterator<Item = BackendId>,
        now: Duration,
    ) -> Noted {
        let seen = self.seen.entry(backend).or_default();
        seen.errors += 1;
        if seen.errors < policy.consecutive_errors {
            return Noted::Nothing;
        }
        seen.errors = 0;
        let (mut backends, mut ejected) = (0, 0);
        for other in pool {
            backends += 1;
            ejected += usize::from(self.is_ejected(other, now));
        }
        let most = most_ejected(backends, policy.max_share);
        let too_many = ejected >= most && !deliberate::active(Fault::EjectEverybody);
        if too_many || self.is_ejected(backend, now) {
            return Noted::Suspect;
        }
        let seen = self.seen.entry(backend).or_default();
        let longest = times(policy.longest, policy.time).saturating_add(1);
        seen.ejections = (seen.in_a_row(policy, now) + 1).min(longest);
        let length = policy.time.saturating_mul(seen.ejections).min(policy.longest);
        seen.ends = now + length;
        Noted::Ejected(length)
    }

    /// Forgets the backends that are not `kept`.
    pub fn retain(&mut self, mut kept: impl FnMut(BackendId) -> bool) {
        self.seen.retain(|backend, _| kept(*backend));
    }
}

impl Seen {
    /// The ejections that still count: one less for each `time` that the backend was back.
    fn in_a_row(&self, policy: &Ejection, now: Duration) -> u32 {
        self.ejections.saturating_sub(times(now.saturating_sub(self.ends), policy.time))
    }
}

/// How often `part` fits into `whole`.
fn times(whole: Duration, part: Duration) -> u32 {
    u32::try_from(whole.as_nanos() / part.as_nanos().max(1)).unwrap_or(u32::MAX)
}

/// How many of a pool of so many backends may be ejected at once: `max_share` percent of them, rounded down, but one
/// where that is none, and never all.
#[must_use]
pub fn most_ejected(backends: usize, max_share: u8) -> usize {
    (backends * usize::from(max_share) / 100).max(1).min(backends.saturating_sub(1))
}
