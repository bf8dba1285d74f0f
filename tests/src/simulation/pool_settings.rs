//! What a plan's document says about the requests of each node itself: when a shop gets nothing new for a while, how many
//! requests it may have at once, and what is tried again.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::document::cluster::Ejection;

use super::document::SHOP;
use super::pool_changes::NAME;

/// The same in every document of a run.
#[derive(Clone, Debug, Default)]
pub struct PoolSettings {
    /// When a node ejects a shop; `None`: never.
    pub ejection: Option<Ejection>,
    /// How many requests of one node a shop may have; `None`: any number.
    pub queue: Option<Queue>,
    /// The share of requests that may be tried again, in percent, where idempotent ones are; `None`: only what was not
    /// sent is tried again.
    pub retry_budget: Option<u8>,
    /// The most sessions that a shop gets, in percent of its share; `None`: any number.
    pub bounded_load: Option<u32>,
    /// Whether a name leads to shops that the document does not name.
    pub discovery: bool,
}

/// See [`PoolSettings::queue`].
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// The most requests that one node has in flight to one shop.
    pub max_requests: u32,
    /// The longest wait for room there.
    pub timeout: Duration,
    /// How many wait.
    pub longest: u32,
}

/// How often a run's document says anything of it, and how often each of the three where it does.
const ANY: f64 = 0.5;
const EACH: f64 = 0.7;

impl PoolSettings {
    /// The settings of a plan.
    pub fn draw(random: &mut StdRng) -> Self {
        if !random.random_bool(ANY) {
            return Self::default();
        }
        let time = Duration::from_millis(random.random_range(800..2500));
        let ejection = Ejection {
            consecutive_errors: random.random_range(2..5),
            time,
            longest: time * random.random_range(1..4),
            max_share: [30, 50, 67, 100][random.random_range(0..4)],
        };
        let queue = Queue {
            max_requests: random.random_range(1..5),
            timeout: Duration::from_millis(random.random_range(300..1500)),
            longest: random.random_range(4..40),
        };
        let budget = random.random_range(0..20);
        let bound = [100, 125, 200][random.random_range(0..3)];
        let mut chosen = || random.random_bool(EACH);
        Self {
            ejection: chosen().then_some(ejection),
            queue: chosen().then_some(queue),
            retry_budget: chosen().then_some(budget),
            bounded_load: chosen().then_some(bound),
            discovery: chosen(),
        }
    }

    /// Whether they are any others than those that a document has which says nothing.
    #[must_use]
    pub const fn are_any(&self) -> bool {
        self.ejection.is_some() || self.queue.is_some() || self.retry_budget.is_some()
    }

    /// The keys of `[[pool]]`.
    #[must_use]
    pub fn of_pool(&self) -> String {
        let queue = self.queue.map(|Queue { timeout, longest, .. }| {
            format!("queue_timeout = \"{}ms\"\nmax_queue = {longest}\n", timeout.as_millis())
        });
        let retry =
            self.retry_budget.map(|budget| format!("retry = \"idempotent\"\nretry_budget = {budget}\n"));
        let bound = self.bounded_load.map(|percent| format!("bounded_load = {percent}\n"));
        [queue, retry, bound].into_iter().flatten().collect()
    }

    /// The table `[pool.ejection]`.
    #[must_use]
    pub fn of_ejection(&self) -> String {
        let Some(Ejection { consecutive_errors, time, longest, max_share }) = &self.ejection else {
            return String::new();
        };
        let (time, longest) = (time.as_millis(), longest.as_millis());
        format!(
            "[pool.ejection]\nconsecutive_errors = {consecutive_errors}\ntime = \"{time}ms\"\n\
             longest = \"{longest}ms\"\nmax_share = {max_share}\n"
        )
    }

    /// The table `[pool.dns]`.
    #[must_use]
    pub fn of_discovery(&self) -> String {
        if !self.discovery {
            return String::new();
        }
        format!("[pool.dns]\nname = \"{NAME}\"\nport = {SHOP}\n{}", self.of_backend())
    }

    /// The keys of `[[pool.backend]]`.
    #[must_use]
    pub fn of_backend(&self) -> String {
        self.queue.map(|queue| format!("max_requests = {}\n", queue.max_requests)).unwrap_or_default()
    }
}
