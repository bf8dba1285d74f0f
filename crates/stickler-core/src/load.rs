//! What backends have to do, as nodes tell each other: requests in flight and in queues, and how long responses take.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::BackendId;

/// Steps into which a doubling of time is cut: a time is known to within a fifth.
const STEPS: u32 = 4;

/// How many buckets there are: the last one is for everything from an hour on.
pub const BUCKETS: usize = 128;

/// One backend's load by one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendLoad {
    /// The backend.
    pub backend: BackendId,
    /// Requests that were sent and are not over.
    pub in_flight: u32,
    /// Requests that wait until it has room.
    pub waiting: u32,
    /// The node gives it nothing new for a while.
    pub ejected: bool,
    /// Of the last one to two minutes.
    pub response_times: ResponseTimes,
}

/// How long responses took, from the request's first byte to their head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseTimes {
    counts: BTreeMap<u8, u64>,
}

/// The bucket of a time.
#[must_use]
pub fn bucket(time: Duration) -> u8 {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
    let octave = micros.ilog2();
    let within = u64::from(micros) * u64::from(STEPS) / (1 << octave) - u64::from(STEPS);
    u8::try_from(u64::from(octave * STEPS) + within).unwrap_or(u8::MAX)
}

/// Where a bucket ends.
fn end_of(bucket: u8) -> Duration {
    let (octave, within) = (u32::from(bucket) / STEPS, u32::from(bucket) % STEPS);
    Duration::from_micros((1_u64 << octave) * u64::from(STEPS + within + 1) / u64::from(STEPS))
}

impl ResponseTimes {
    /// Counts so many responses in a bucket.
    pub fn add(&mut self, bucket: u8, count: u64) {
        if count > 0 {
            let counted = self.counts.entry(bucket).or_default();
            *counted = counted.saturating_add(count);
        }
    }

    /// Counts in what another node has counted, as far as there are such times.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.counts.iter().filter(|(bucket, _)| usize::from(**bucket) < BUCKETS) {
            self.add(*bucket, *count);
        }
    }

    /// How many responses.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The time within which so many of a thousand responses came, a fifth too long at most; `None` without any.
    #[must_use]
    pub fn within(&self, per_mille: u64) -> Option<Duration> {
        let wanted = (u128::from(self.count()) * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(bucket, count)| {
            seen += u128::from(*count);
            (seen >= wanted).then(|| end_of(*bucket))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_and_more_is_in_the_last_bucket() {
        assert_eq!(usize::from(bucket(Duration::from_secs(24 * 3600))), BUCKETS - 1);
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(ResponseTimes::default().within(500), None);
    }

    #[test]
    fn what_another_node_can_not_have_measured_is_not_counted() {
        let mut times = ResponseTimes::default();
        let other = ResponseTimes { counts: BTreeMap::from([(3, u64::MAX), (200, 5), (u8::MAX, 1)]) };
        times.merge(&other);
        times.merge(&other);
        assert_eq!(times.count(), u64::MAX);
        assert_eq!(times.within(1000), Some(end_of(3)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_right_to_within_a_fifth_or_a_microsecond(
            mut micros in proptest::collection::vec(1_u64..60_000_000, 1..200),
            per_mille in 1_u64..=1000,
        ) {
            let mut times = ResponseTimes::default();
            micros.iter().for_each(|micros| times.add(bucket(Duration::from_micros(*micros)), 1));
            micros.sort_unstable();
            let exact = micros[(micros.len() as u64 * per_mille).div_ceil(1000) as usize - 1];
            let found = u64::try_from(times.within(per_mille).unwrap().as_micros()).unwrap();
            prop_assert!(found >= exact && found <= exact + exact / 4 + 1, "{found} for {exact}");
        }
    }
}
