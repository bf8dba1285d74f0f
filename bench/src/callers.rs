//! Callers in a closed loop: each does one thing after the other, as fast as it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stickler_rt::{Clock, Moment};
use tokio::task::JoinSet;

use crate::figures::Measured;

/// What one caller does again and again.
pub trait Operation: Clone + Send + 'static {
    /// Does it for the session of this number. The error is for people.
    fn perform(&mut self, number: u64) -> impl Future<Output = Result<(), String>> + Send;
}

/// Deals out sessions, each once. Clones deal from the same ones.
#[derive(Clone, Debug)]
pub struct Sessions {
    dealt: Arc<AtomicU64>,
    first: u64,
    count: u64,
    again: bool,
}

impl Sessions {
    /// `count` sessions from number `first` on; with `again`, over and over.
    pub fn new(first: u64, count: u64, again: bool) -> Self {
        Self { dealt: Arc::default(), first, count, again }
    }

    fn next(&self) -> Option<u64> {
        let dealt = self.dealt.fetch_add(1, Ordering::Relaxed);
        if dealt < self.count {
            return Some(self.first + dealt);
        }
        (self.again && self.count > 0).then(|| self.first + dealt % self.count)
    }
}

/// The 128-bit key of the session of this number, spread like the hashes that real sessions have.
pub fn key(number: u64) -> u128 {
    let upper = spread(number);
    u128::from(upper) << 64 | u128::from(spread(upper ^ number))
}

/// A bijection in which every bit depends on all: the finalizer of SplitMix64.
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// When callers begin to count, and when they end.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// What happens before is not counted.
    pub warm_up: Duration,
    /// How long is measured, unless no session is left before.
    pub measured: Duration,
}

/// Lets every caller perform until the window is over or no session is left. Counted is what was answered in
/// the window.
pub async fn drive<O: Operation>(callers: Vec<O>, sessions: Sessions, window: Window) -> Measured {
    let clock = Clock::start();
    let from = clock.now() + window.warm_up;
    let until = from + window.measured;
    let mut under_way = JoinSet::new();
    for operation in callers {
        under_way.spawn(call(operation, sessions.clone(), clock.clone(), from, until));
    }
    let mut all = Measured::new();
    let mut last = from;
    while let Some(ended) = under_way.join_next().await {
        match ended {
            Ok((measured, ended_at)) => {
                last = last.max(ended_at);
                all.merge(measured);
            }
            Err(error) => {
                all.failed += 1;
                all.first_failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
    all.seconds = last.min(until).since(from).as_secs_f64();
    all
}

async fn call<O: Operation>(
    mut operation: O,
    sessions: Sessions,
    clock: Clock,
    from: Moment,
    until: Moment,
) -> (Measured, Moment) {
    let mut measured = Measured::new();
    let mut began = clock.now();
    while began < until
        && let Some(number) = sessions.next()
    {
        let result = operation.perform(number).await;
        let ended = clock.now();
        match result {
            Ok(()) if ended >= from => {
                // One that stalls over the window's end is too late for the rate, but not for its latency.
                measured.done += u64::from(ended <= until);
                let microseconds = ended.since(began).as_micros();
                measured.latencies.add(u64::try_from(microseconds).unwrap_or(u64::MAX), 1);
            }
            Ok(()) => {}
            Err(failure) => {
                measured.failed += 1;
                measured.first_failure.get_or_insert(failure);
            }
        }
        began = ended;
    }
    (measured, began)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<u64>>>);

    impl Operation for Noted {
        async fn perform(&mut self, number: u64) -> Result<(), String> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.0.lock().unwrap().push(number);
            if number == 13 { Err("thirteen".to_owned()) } else { Ok(()) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_session_is_dealt_once_and_failures_are_not_counted_as_done() {
        let noted = Noted::default();
        let window = Window { warm_up: Duration::ZERO, measured: Duration::from_secs(60) };
        let measured = drive(vec![noted.clone(); 4], Sessions::new(10, 100, false), window).await;
        assert_eq!((measured.done, measured.failed), (99, 1));
        assert_eq!(measured.first_failure.as_deref(), Some("thirteen"));
        let numbers: BTreeSet<u64> = noted.0.lock().unwrap().iter().copied().collect();
        assert_eq!(numbers, (10..110).collect());
        // it ended with its sessions, and the rate is that of the time it took: 25 rounds of 10 ms
        assert!((measured.seconds - 0.25).abs() < 0.05, "{}", measured.seconds);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_window_is_counted() {
        let window = Window { warm_up: Duration::from_millis(105), measured: Duration::from_millis(500) };
        let measured = drive(vec![Noted::default(); 2], Sessions::new(100, 5, true), window).await;
        assert_eq!(measured.done, 100);
        assert!((measured.latencies.slowest() - 10.0).abs() < 1.5, "{}", measured.latencies.slowest());
    }

    #[test]
    fn keys_are_spread_and_never_come_twice() {
        let keys: BTreeSet<u128> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        let small = keys.iter().filter(|key| **key < u128::MAX / 4).count();
        assert!((2_300..2_700).contains(&small), "{small}");
    }
}
