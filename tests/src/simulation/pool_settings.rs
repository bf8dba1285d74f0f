//! What a plan's document says about shops, and about the requests of each node itself: how shops are checked and
//! chosen, when one gets nothing new for a while, how many requests it may have at once, and what is tried again.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::document::cluster::{Balance, Ejection};

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
    /// How shops are checked.
    pub check: Check,
    /// How long a shop that has come up takes to get its whole share; `None`: no time.
    pub slow_start: Option<Duration>,
    /// How a shop is chosen; `None`: as a document has it that says nothing.
    pub balance: Option<Balance>,
    /// Where guests are sent whose shop is away; `None`: nowhere, they are refused.
    pub redirect_to: Option<&'static str>,
    /// How fast sessions with Stickler's cookie leave a shop that is gone.
    pub leaving: Leaving,
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

/// How shops are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// They are asked for a page, which says in which life they are; one that drains says so with a header.
    #[default]
    Page,
    /// The same, and 404 says that it drains.
    Status,
    /// The page must have the right words in it, too.
    Words,
    /// They must accept a connection, and say nothing.
    Connection,
}

/// See [`PoolSettings::leaving`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaving {
    /// As many in a second as there are.
    #[default]
    Fast,
    /// One after the other.
    Slow,
}

/// The words of a page that is as it should be.
pub const WELL: &str = "all is well";

/// Where guests may be sent: a place that looks at the path and the query itself, and one that is told of them.
pub const ELSEWHERE: [&str; 2] =
    ["https://elsewhere.internal{path}{query}", "https://sorry.internal/?asked={path}&with={query}"];

/// How often a run's document says anything of requests, and how often each of the settings where it does.
const ANY: f64 = 0.5;
const EACH: f64 = 0.7;

impl PoolSettings {
    /// The settings of a plan.
    pub fn draw(random: &mut StdRng) -> Self {
        let of_requests = random.random_bool(ANY);
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
        let mut chosen = || of_requests && random.random_bool(EACH);
        Self {
            ejection: chosen().then_some(ejection),
            queue: chosen().then_some(queue),
            retry_budget: chosen().then_some(budget),
            bounded_load: chosen().then_some(bound),
            discovery: chosen(),
            ..Self::of_shops(random)
        }
    }

    /// Those about shops alone.
    fn of_shops(random: &mut StdRng) -> Self {
        let start = Duration::from_millis(random.random_range(1000..20_000));
        let balances = [Balance::WeightedRoundRobin, Balance::FewestSessions, Balance::Rendezvous];
        let balance = balances[random.random_range(0..3)];
        Self {
            check: [Check::Page, Check::Page, Check::Status, Check::Words, Check::Connection]
                [random.random_range(0..5)],
            slow_start: random.random_bool(0.3).then_some(start),
            balance: random.random_bool(0.4).then_some(balance),
            redirect_to: random.random_bool(0.5).then_some(ELSEWHERE[random.random_range(0..2)]),
            leaving: if random.random_bool(0.5) { Leaving::Slow } else { Leaving::Fast },
            ..Self::default()
        }
    }

    /// Settings under which there are many shops, whoever comes is sent to one at once, and one that comes up starts slowly.
    #[must_use]
    pub fn for_newcomers(self, random: &mut StdRng) -> Self {
        let slow_start = Some(Duration::from_millis(random.random_range(6000..20_000)));
        // What sessions count for must not count for those who come.
        let bounded_load = self.bounded_load.or(random.random_bool(0.5).then_some(100));
        let (ejection, queue, retry_budget) = (None, None, None);
        Self { ejection, queue, retry_budget, bounded_load, discovery: true, slow_start, ..self }
    }

    /// Whether requests go by anything that a document does not have which says nothing of them.
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
        let start = self.slow_start.map(|start| format!("slow_start = \"{}ms\"\n", start.as_millis()));
        let balance = self.balance.map(|balance| format!("balance = \"{}\"\n", balance.name()));
        [queue, retry, bound, start, balance].into_iter().flatten().collect()
    }

    /// The table `[pool.check]`.
    #[must_use]
    pub fn of_check(&self) -> String {
        let page = "path = \"/health\"\ninstance_header = \"X-Boot\"\n";
        let asks = match self.check {
            Check::Page => format!("{page}drain_header = \"X-Drain\"\n"),
            Check::Status => format!("{page}drain_status = 404\n"),
            Check::Words => format!("{page}drain_header = \"X-Drain\"\nbody = \"{WELL}\"\n"),
            Check::Connection => String::new(),
        };
        format!("[pool.check]\n{asks}interval = \"200ms\"\ntimeout = \"150ms\"\n")
    }

    /// The keys of the affinity of guests that say what becomes of them when their shop is away.
    #[must_use]
    pub fn of_guests(&self) -> String {
        self.redirect_to.map_or_else(
            || "when_down = \"reject\"\n".to_owned(),
            |to| format!("when_down = \"redirect\"\nredirect_to = \"{to}\"\n"),
        )
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

impl Check {
    /// Whether a shop that is started again in place is found out: it says in which life it is.
    #[must_use]
    pub fn tells_lives(self) -> bool {
        self != Self::Connection
    }
}

impl Leaving {
    /// So many sessions, in such a time.
    #[must_use]
    pub const fn rate(self) -> (u32, Duration) {
        match self {
            Self::Fast => (20, Duration::from_secs(1)),
            Self::Slow => (1, Duration::from_secs(2)),
        }
    }
}
