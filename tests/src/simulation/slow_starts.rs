//! How many of those who could go anywhere a node sends to a shop that has just come up, and that no shop gets them all.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_core::document::cluster::Balance;
use stickler_core::state::BackendRecord;
use stickler_core::time::ClusterTime;

use super::pool_settings::PoolSettings;
use super::sent_requests::Seen;

/// See the module. Of one process of a node, which has sent all of them; judged where nodes, links and shops are well, and
/// nobody waits for room: who fails at one shop, or waits at it, chooses among the others.
#[derive(Clone, Debug, Default)]
pub struct SlowStarts {
    /// How long a shop takes to get its whole share; `None`: not judged.
    start: Option<Duration>,
    /// Whether a node goes by the requests that it has in flight to each shop.
    by_load: bool,
    /// Since when a shop takes new sessions, as the node sees it.
    taking: BTreeMap<&'static str, Duration>,
    odds: Odds,
}

/// How often something has happened, and how often it was to be expected at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    times: u32,
    at_most: f64,
}

/// A shop that takes new sessions.
#[derive(Clone, Copy, Debug)]
pub struct Taking {
    /// Which.
    pub shop: &'static str,
    /// How many requests of this node it has.
    pub open: usize,
    /// Since when it takes them, in cluster time.
    pub since: ClusterTime,
}

/// How long ago a request may have been decided on that leaves now: the pool's time-out for a connection, and some.
const LEAVES: Duration = Duration::from_millis(500);

/// Only shops are counted that get less than this share of all: with more, chance alone explains too much.
const FEW: f64 = 0.2;

/// One in so many runs may be judged wrongly: `e` to this.
const DOUBT: f64 = 25.0;

/// So many requests more a shop may have than another one, and so many times as many: those on their way to it are not
/// seen, and bound sessions have no choice.
const MORE: f64 = 20.0;
const TIMES: f64 = 3.0;
const ON_THEIR_WAY: usize = 2;

impl Odds {
    /// Takes in that something of this probability, at most, has happened or not.
    pub fn count(&mut self, happened: bool, at_most: f64) {
        self.times += u32::from(happened);
        self.at_most += at_most;
    }

    /// Whether it has happened more often than chance explains. For a sum of events each of which has at most its probability
    /// given all before, the chance to see `times` where `at_most` are expected is below `exp(-at_most * h(times / at_most))`,
    /// with `h(u) = u ln u - u + 1` (Freedman, On Tail Probabilities for Martingales, 1975).
    #[must_use]
    pub fn are_broken(&self) -> bool {
        let ratio = f64::from(self.times) / self.at_most.max(0.01);
        ratio > 1.0 && self.at_most.max(0.01) * (ratio * ratio.ln() - ratio + 1.0) > DOUBT
    }
}

impl SlowStarts {
    /// Of a process that has sent nothing.
    #[must_use]
    pub fn new(pool: &PoolSettings, well: bool) -> Self {
        let judged = well && pool.queue.is_none() && pool.ejection.is_none();
        let by_load =
            judged && pool.balance != Some(Balance::WeightedRoundRobin) && pool.retry_budget.is_none();
        Self { start: pool.slow_start.filter(|_| judged), by_load, ..Self::default() }
    }

    /// Takes in how the shops are doing.
    pub fn sees(&mut self, at: Duration, seen: &[Seen]) {
        let takes = |one: &&Seen| one.takes_new && !one.ejected;
        self.taking.retain(|shop, _| seen.iter().filter(takes).any(|one| one.shop == *shop));
        for one in seen.iter().filter(takes) {
            self.taking.entry(one.shop).or_insert(at);
        }
    }

    /// Takes in that a request which could go anywhere leaves for a shop. All shops are there, and were for a while.
    ///
    /// # Errors
    /// When a shop that has just come up has got more of them than its share, or one shop gets all.
    pub fn leaves(
        &mut self,
        at: Duration,
        time: ClusterTime,
        shop: &str,
        taking: &[Taking],
    ) -> Result<(), String> {
        // Which shops there were to choose from, for sure.
        let chosen_from = |one: &&Taking| self.taking.get(one.shop).is_some_and(|since| *since + LEAVES < at);
        let steady: Vec<Taking> = taking.iter().filter(chosen_from).copied().collect();
        self.is_even(time, shop, taking, &steady)?;
        let Some(start) = self.start else { return Ok(()) };
        for one in taking {
            let others = steady.iter().filter(|other| other.shop != one.shop);
            let shares: Vec<f64> = others.map(|other| share(other.since + LEAVES, time, start)).collect();
            let at_most = drawn(share(one.since, time, start), &shares);
            if let Some(at_most) = at_most.filter(|at_most| *at_most < FEW) {
                self.odds.count(one.shop == shop, at_most);
            }
        }
        if self.odds.are_broken() {
            return Err(format!("slow start: {shop} gets one more of a crowd, {:?}", self.odds));
        }
        Ok(())
    }

    /// Where requests go by how many each shop has for its share, no shop has far more than all others.
    fn is_even(
        &self,
        time: ClusterTime,
        shop: &str,
        taking: &[Taking],
        steady: &[Taking],
    ) -> Result<(), String> {
        let Some(own) = steady.iter().find(|one| one.shop == shop) else { return Ok(()) };
        let share = |one: &Taking| self.start.map_or(1.0, |start| share(one.since, time, start));
        let as_much = |one: &Taking| share(own) / share(one);
        let others = || taking.iter().filter(|one| one.shop != shop);
        // One of those on their way to a shop that gets few of them weighs more.
        let most = others().map(|one| ((one.open + ON_THEIR_WAY) as f64 * as_much(one)).max(one.open as f64));
        let most = most.fold(0.0, f64::max);
        let could = steady.iter().any(|one| one.shop != shop && as_much(one) <= 2.0);
        if self.by_load && could && own.open as f64 > MORE + TIMES * most {
            return Err(format!("a crowd: {shop} gets one more, of {taking:?}"));
        }
        Ok(())
    }
}

/// The share of a whole one that a shop has, which takes new sessions since then.
#[must_use]
pub fn share(since: ClusterTime, now: ClusterTime, start: Duration) -> f64 {
    (now.since(since).as_secs_f64() / start.as_secs_f64()).clamp(0.01, 1.0)
}

/// How probable it is at most that a shop is chosen which has this share, beside others that have these: that it is drawn
/// at all, where two different ones are and the one with fewer requests is taken. Beside one other it is always drawn.
fn drawn(share: f64, others: &[f64]) -> Option<f64> {
    let all: f64 = others.iter().sum();
    let rest = all - others.iter().copied().fold(0.0, f64::max);
    (others.len() > 1 && share < 1.0).then(|| (share / (all + share) + share / (rest + share)).min(1.0))
}

/// Since when a backend takes new sessions, or could have.
#[must_use]
pub fn taking_since(record: &BackendRecord) -> ClusterTime {
    record.health.since.max(record.admin_since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_is_drawn_as_often_as_its_share_says_or_less() {
        assert_eq!(drawn(0.5, &[1.0]), None, "beside one other it is always drawn");
        assert_eq!(drawn(1.0, &[1.0, 1.0]), None, "it has its whole share");
        let at_most = drawn(0.1, &[1.0, 1.0]).unwrap();
        assert!((at_most - (0.1 / 2.1 + 0.1 / 1.1)).abs() < 1e-9);
    }

    #[test]
    fn odds_are_broken_by_what_chance_does_not_explain() {
        let odds = |times: u32, of: u32, at_most: f64| {
            let mut odds = Odds::default();
            (0..of).for_each(|one| odds.count(one < times, at_most));
            odds.are_broken()
        };
        assert!(!odds(0, 100, 0.1) && !odds(10, 100, 0.1) && !odds(25, 100, 0.1));
        assert!(odds(40, 100, 0.1) && odds(33, 100, 0.05));
        assert!(!odds(3, 3, 0.01), "three are too few to say anything");
    }

    #[test]
    fn a_crowd_that_goes_to_one_shop_alone_is_told_from_one_that_does_not() {
        let mut all = SlowStarts::new(&PoolSettings::default(), true);
        let seen = ["web-1", "web-2"].map(|shop| Seen { shop, ejected: false, takes_new: true });
        all.sees(Duration::ZERO, &seen);
        let taking = |open: [usize; 2]| {
            [("web-1", open[0]), ("web-2", open[1])].map(|(shop, open)| Taking {
                shop,
                open,
                since: ClusterTime(0),
            })
        };
        let mut leaves = |open| all.leaves(Duration::from_secs(9), ClusterTime(9000), "web-1", &taking(open));
        assert_eq!(leaves([20, 0]), Ok(()));
        assert_eq!(leaves([56, 10]), Ok(()));
        assert!(leaves([57, 10]).is_err());
    }
}
