//! How many requests to one pool a node tries again: a share of what came in the last ten seconds, so that retries
//! can't make a pool's trouble several times worse.

use std::collections::VecDeque;
use std::time::Duration;

use crate::deliberate::{self, Fault};

/// What counts, in seconds: long enough that what was saved up before a backend broke carries over until the cluster's
/// verdict.
const WINDOW: u64 = 10;

/// Retries that every pool has in each second, so that one with little traffic can have any.
const FLOOR: u64 = 10;

/// One pool's retries on one node.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Those of the window in which there was a request, oldest first.
    seconds: VecDeque<Second>,
}

#[derive(Debug)]
struct Second {
    /// By the node's clock.
    number: u64,
    /// Requests before it.
    before: u64,
    /// Retries in it.
    retries: u64,
}

impl RetryBudget {
    /// Is told before the first request of each second how many there were so far. `now` is the node's clock.
    pub fn begin_second(&mut self, now: Duration, requests: u64) {
        let number = now.as_secs();
        while self.seconds.front().is_some_and(|second| second.number + WINDOW <= number) {
            self.seconds.pop_front();
        }
        if self.seconds.back().is_none_or(|second| second.number < number) {
            self.seconds.push_back(Second { number, before: requests, retries: 0 });
        }
    }

    /// Takes one retry out of the budget, if it is in it. `requests` is how many there were so far, that which is to be
    /// tried again included; `percent` of those in the window may be.
    pub fn take(&mut self, now: Duration, requests: u64, percent: u8) -> bool {
        self.begin_second(now, requests);
        let before = self.seconds.front().map_or(requests, |second| second.before);
        let share = requests.saturating_sub(before) * u64::from(percent) / 100;
        let retries: u64 = self.seconds.iter().map(|second| second.retries).sum();
        let within = retries < share + FLOOR * WINDOW || deliberate::active(Fault::RetryWithoutBudget);
        if let Some(second) = self.seconds.back_mut() {
            second.retries += u64::from(within);
        }
        within
    }
}
