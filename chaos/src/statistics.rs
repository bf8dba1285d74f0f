//! Figures about durations.

use std::time::Duration;

/// Durations that were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    values: Vec<Duration>,
}

impl Durations {
    /// Takes one more.
    pub(crate) fn add(&mut self, value: Duration) {
        self.values.push(value);
    }

    /// Takes those of another, too.
    pub(crate) fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }

    /// The smallest of which this share (0 to 1) of all are no larger; zero when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The median.
    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The longest; zero when there are none.
    pub(crate) fn worst(&self) -> Duration {
        self.quantile(1.0)
    }
}

impl FromIterator<Duration> for Durations {
    fn from_iter<T: IntoIterator<Item = Duration>>(values: T) -> Self {
        Self { values: values.into_iter().collect() }
    }
}

/// In milliseconds, for tables.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// In seconds, for tables.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// How many there were in a second.
pub(crate) fn rate(count: usize, duration: Duration) -> String {
    format!("{:.0}/s", count as f64 / duration.as_secs_f64().max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let durations: Durations = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(durations.median(), Duration::from_millis(50));
        assert_eq!(durations.quantile(0.99), Duration::from_millis(99));
        assert_eq!(durations.worst(), Duration::from_millis(100));
        assert_eq!(Durations::default().worst(), Duration::ZERO);
    }
}
