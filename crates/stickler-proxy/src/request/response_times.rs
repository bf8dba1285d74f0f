//! How long backends take to answer, by one node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use papaya::HashMap;
use stickler_core::ids::BackendId;
use stickler_core::load::{BUCKETS, ResponseTimes, bucket};

/// How long what is told reaches back: one to two of these.
const PERIOD: Duration = Duration::from_secs(60);

/// The response times of a node's backends. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct BackendTimes {
    times: Arc<HashMap<BackendId, Arc<Times>>>,
}

/// Of one backend: the period that goes on, and the one before. A count that comes in as they change places may be lost.
#[derive(Debug)]
struct Times {
    periods: [[AtomicU64; BUCKETS]; 2],
    present: AtomicUsize,
}

impl BackendTimes {
    /// Starts the task that forgets what is old; it ends with the last clone.
    pub(super) fn start() -> Self {
        let started = Self::default();
        let times = Arc::downgrade(&started.times);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                let Some(times) = times.upgrade() else { return };
                times.pin().values().for_each(|times| times.end_period());
            }
        });
        started
    }

    /// Takes note of a response that came after so long.
    pub(super) fn note(&self, backend: BackendId, time: Duration) {
        let times = self.times.pin();
        let times = times.get_or_insert_with(backend, Arc::default);
        let period = &times.periods[times.present.load(Ordering::Relaxed) % 2];
        period[usize::from(bucket(time)).min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// The response times of a backend over the last one to two minutes.
    pub(super) fn of(&self, backend: BackendId) -> ResponseTimes {
        let mut told = ResponseTimes::default();
        let times = self.times.pin();
        let periods = times.get(&backend).into_iter().flat_map(|times| &times.periods);
        for (count, bucket) in periods.flat_map(|period| period.iter().zip(0_u8..)) {
            told.add(bucket, count.load(Ordering::Relaxed));
        }
        told
    }

    /// Forgets the backends that are not `kept`.
    pub(super) fn retain(&self, mut kept: impl FnMut(BackendId) -> bool) {
        self.times.pin().retain(|backend, _| kept(*backend));
    }
}

impl Default for Times {
    fn default() -> Self {
        let period = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { periods: [period(), period()], present: AtomicUsize::new(0) }
    }
}

impl Times {
    fn end_period(&self) {
        let next = (self.present.load(Ordering::Relaxed) + 1) % 2;
        self.periods[next].iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.present.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_two_periods_is_forgotten() {
        let (times, backend) = (BackendTimes::default(), BackendId(1));
        times.note(backend, Duration::from_millis(5));
        let told = || times.of(backend).count();
        let end = || times.times.pin().values().for_each(|times| times.end_period());
        assert_eq!(told(), 1);
        end();
        times.note(backend, Duration::from_millis(5));
        assert_eq!(told(), 2);
        end();
        assert_eq!(told(), 1);
        end();
        assert_eq!(told(), 0);
    }
}
