//! How fast sessions leave a shop that is gone, where nobody asks for them: no faster than their affinity says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stickler_core::ids::{Epoch, KeyHash};

use super::pool_settings::{Leaving, PoolSettings};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct LeavingRate {
    leaving: Leaving,
    /// Whether who asks may be told that there is no room, after its session has moved: nothing can be judged then.
    waits: bool,
    /// When sessions that nobody had asked for were moved since their shop was gone, by the epoch that this gave.
    moved: BTreeMap<Epoch, (KeyHash, Duration)>,
    /// Every epoch that has been looked at.
    known: BTreeSet<Epoch>,
    /// When a request of a session last left.
    asked: BTreeMap<KeyHash, Duration>,
}

/// Who has not asked for so long is gone: no client rests for longer. Who has moves its session itself.
const GONE: Duration = Duration::from_secs(3);

/// How far behind its pace whoever moves them may be, and catch up.
const BEHIND: Duration = Duration::from_secs(1);

impl LeavingRate {
    /// Of a run with these settings.
    #[must_use]
    pub fn new(pool: &PoolSettings) -> Self {
        Self { leaving: pool.leaving, waits: pool.queue.is_some(), ..Self::default() }
    }

    /// Takes in that a request of a session leaves for a shop.
    pub fn asks(&mut self, at: Duration, session: KeyHash) {
        self.asked.insert(session, at);
        // It may have moved more than once before a request of its client could leave.
        self.moved.retain(|_, (moved, _)| *moved != session);
    }

    /// Takes in that a session has left a shop that is gone, by a move that gave this epoch.
    pub fn moves(&mut self, at: Duration, session: KeyHash, epoch: Epoch) {
        let gone = self.asked.get(&session).is_some_and(|asked| *asked + GONE < at);
        if self.known.insert(epoch) && gone {
            self.moved.insert(epoch, (session, at));
        }
    }

    /// Within any time no more have moved than the rate says. `offices`: when nodes were seen to lead, each of which begins
    /// with one at once, while those that the one before has proposed are still on their way.
    ///
    /// # Errors
    /// When there were more.
    pub fn is_kept(&self, offices: &[Duration]) -> Result<(), String> {
        if self.waits {
            return Ok(());
        }
        let mut moved: Vec<Duration> = self.moved.values().map(|(_, at)| *at).collect();
        moved.sort_unstable();
        let (most, period) = self.leaving.rate();
        for (place, first) in moved.iter().enumerate() {
            for (count, last) in (1_u32..).zip(&moved[place..]) {
                // Clocks may be off in rate by a few parts in a hundred.
                let time = (*last - *first).mul_f64(1.05) + BEHIND;
                let begun = offices.iter().filter(|at| **at + BEHIND >= *first && *at <= last).count();
                let paced = f64::from(most) * time.as_secs_f64() / period.as_secs_f64();
                if f64::from(count) > paced + 1.0 + begun as f64 {
                    return Err(format!(
                        "failover: {count} sessions of {most} in {period:?} have left from {first:?} to {last:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn sessions_that_nobody_asks_for_leave_one_after_the_other() {
        let mut all = LeavingRate::new(&PoolSettings { leaving: Leaving::Slow, ..PoolSettings::default() });
        (0..4).for_each(|session| all.asks(SECOND, KeyHash(session)));
        let leave = |all: &mut LeavingRate, at: u32, session: u128, epoch: u64| {
            all.moves(SECOND * at, KeyHash(session), Epoch(epoch));
        };
        leave(&mut all, 2, 0, 7);
        leave(&mut all, 2, 1, 8);
        assert_eq!(all.is_kept(&[]), Ok(()), "their clients may have asked for them");
        leave(&mut all, 9, 1, 9);
        leave(&mut all, 12, 2, 10);
        assert_eq!(all.is_kept(&[]), Ok(()));
        leave(&mut all, 12, 3, 11);
        assert!(all.is_kept(&[]).is_err());
        assert_eq!(all.is_kept(&[SECOND * 12]), Ok(()), "a new leader begins with one");
        all.asks(SECOND * 13, KeyHash(3));
        assert_eq!(all.is_kept(&[]), Ok(()), "its client has asked for it");
    }
}
