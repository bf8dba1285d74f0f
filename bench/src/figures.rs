//! What is measured, and the medians of it.

use hdrhistogram::Histogram;

/// The longest latency that is told from a longer one: ten minutes, in microseconds.
const LONGEST: u64 = 600_000_000;

/// Latencies in microseconds, three digits each.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("these are valid bounds"))
    }

    /// Adds one, in microseconds.
    pub fn add(&mut self, microseconds: u64, count: u64) {
        self.0.saturating_record_n(microseconds.max(1), count);
    }

    /// Adds those of others.
    pub fn merge(&mut self, others: &Self) {
        self.0.add(&others.0).expect("both have the same bounds");
    }

    /// The latency within which this share of them lies, in milliseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1_000.0
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The longest, in milliseconds.
    pub fn slowest(&self) -> f64 {
        self.0.max() as f64 / 1_000.0
    }

    /// Every latency in microseconds that occurred, with how often it did.
    pub fn occurred(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()))
    }
}

/// What callers did while they were measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How long that was.
    pub seconds: f64,
    /// What was acknowledged meanwhile.
    pub done: u64,
    /// What failed, in the warm-up, too.
    pub failed: u64,
    /// Why, the first time.
    pub first_failure: Option<String>,
    /// Of what was acknowledged.
    pub latencies: Latencies,
}

impl Measured {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { seconds: 0.0, done: 0, failed: 0, first_failure: None, latencies: Latencies::new() }
    }

    /// Adds what others did at the same time.
    pub fn merge(&mut self, others: Self) {
        self.seconds = self.seconds.max(others.seconds);
        self.done += others.done;
        self.failed += others.failed;
        self.first_failure = self.first_failure.take().or(others.first_failure);
        self.latencies.merge(&others.latencies);
    }

    /// What was acknowledged in a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.done as f64 / self.seconds } else { 0.0 }
    }
}

/// The median; of an even number the mean of the two in the middle. `None` of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[values.len() / 2 - 1] + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 100.0, 1.0, 2.0]), Some(3.0));
    }

    #[test]
    fn latencies_of_several_processes_add_up() {
        let mut all = Latencies::new();
        for process in 0..2 {
            let mut own = Latencies::new();
            (1..=100).for_each(|value| own.add(1_000 * (value + 100 * process), 1));
            let mut passed_on = Latencies::new();
            own.occurred().for_each(|(value, count)| passed_on.add(value, count));
            all.merge(&passed_on);
        }
        assert!((all.quantile(0.5) - 100.0).abs() < 1.0, "{}", all.quantile(0.5));
        assert!((all.quantile(0.99) - 198.0).abs() < 1.0, "{}", all.quantile(0.99));
        assert!((all.slowest() - 200.0).abs() < 1.0, "{}", all.slowest());
    }

    #[test]
    fn callers_at_the_same_time_share_its_seconds() {
        let one = Measured { seconds: 2.0, done: 10, ..Measured::new() };
        let mut all = Measured::new();
        all.merge(one.clone());
        all.merge(Measured { failed: 1, first_failure: Some("refused".to_owned()), ..one });
        assert_eq!(all.rate(), 10.0);
        assert_eq!((all.failed, all.first_failure.as_deref()), (1, Some("refused")));
    }
}
