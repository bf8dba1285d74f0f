//! Step 6: which requests are tried again after an exchange failed, and how many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use hyper::body::Incoming;
use papaya::HashMap;
use stickler_core::deliberate::{self, Fault};
use stickler_core::document::cluster::Pool;
use stickler_core::ids::PoolId;
use stickler_core::retry_budget::RetryBudget;
use stickler_rt::Moment;

use super::node::{PATIENCE, ProxyCounters};
use super::steps::{Router, Routing};
use crate::exchange_error::{ExchangeCause, ExchangeError};

/// How often a request may be sent again after it was sent.
const MOST_SENT_AGAIN: u32 = 2;

/// The budgets of a node's pools. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryBudgets {
    pools: Arc<HashMap<PoolId, Arc<PoolBudget>>>,
}

#[derive(Debug)]
struct PoolBudget {
    requests: AtomicU64,
    /// The last second that the budget was told of, so that requests take its lock once in a second.
    second: AtomicU64,
    budget: Mutex<RetryBudget>,
}

impl Default for PoolBudget {
    fn default() -> Self {
        Self { requests: AtomicU64::new(0), second: AtomicU64::new(u64::MAX), budget: Mutex::default() }
    }
}

/// What was done so far to get one request through.
#[derive(Debug, Default)]
pub(super) struct Tries {
    counted: bool,
    /// It was tried before, and nothing had been sent.
    unsent: bool,
    sent_again: u32,
}

impl RetryBudgets {
    /// Counts one request to a pool.
    fn count(&self, pool: PoolId, now: Moment) {
        let pool = self.of(pool);
        let second = now.0.as_secs();
        if pool.second.load(Ordering::Relaxed) != second
            && pool.second.swap(second, Ordering::Relaxed) != second
        {
            let requests = pool.requests.load(Ordering::Relaxed);
            pool.lock().begin_second(now.0, requests);
        }
        pool.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self, pool: PoolId, percent: u8, now: Moment) -> bool {
        let pool = self.of(pool);
        let requests = pool.requests.load(Ordering::Relaxed);
        pool.lock().take(now.0, requests, percent)
    }

    /// Forgets the pools that are not `kept`.
    pub(super) fn retain(&self, mut kept: impl FnMut(PoolId) -> bool) {
        self.pools.pin().retain(|pool, _| kept(*pool));
    }

    fn of(&self, pool: PoolId) -> Arc<PoolBudget> {
        Arc::clone(self.pools.pin().get_or_insert_with(pool, Arc::default))
    }
}

impl PoolBudget {
    fn lock(&self) -> MutexGuard<'_, RetryBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tries {
    /// Whether the request was sent before, so that it must not go by a connection that may be closing again.
    pub(super) const fn was_sent(&self) -> bool {
        self.sent_again > 0
    }
}

impl Router {
    /// Counts a request to its pool, once.
    pub(super) fn count_request(&self, tries: &mut Tries, pool: PoolId) {
        if !std::mem::replace(&mut tries.counted, true) {
            self.proxy.budgets.count(pool, self.proxy.cluster.outside().clock.now());
        }
    }

    /// The request whose exchange failed, if it may be tried again.
    pub(super) fn again<E>(
        &self,
        routing: &Routing<'_>,
        (pool, settings): (PoolId, &Pool),
        tries: &mut Tries,
        error: ExchangeError<E>,
    ) -> Option<Box<Request<Incoming>>> {
        let now = self.proxy.cluster.outside().clock.now();
        let counters = &self.proxy.counters;
        tries.sent_again += u32::from(error.sent_again);
        let in_budget = || {
            let within = self.proxy.budgets.take(pool, settings.retry_budget, now);
            if !within {
                ProxyCounters::count(&counters.over_budget);
            }
            within
        };
        if let Some(unsent) = error.unsent.filter(|_| now < routing.deadline.get()) {
            // Nothing was tried: it only took too long.
            if matches!(error.cause, ExchangeCause::Invalid(_)) {
                return Some(unsent);
            }
            // A session that waits for the voters' verdict looks often whether it is there; that is one retry.
            if !tries.unsent && !in_budget() {
                return None;
            }
            if !std::mem::replace(&mut tries.unsent, true) {
                ProxyCounters::count(&counters.retried);
            }
            return Some(unsent);
        }
        let often = tries.sent_again >= MOST_SENT_AGAIN && !deliberate::active(Fault::RetryForEver);
        let sent = error.swallowed.filter(|_| !often)?;
        if !in_budget() {
            return None;
        }
        tries.sent_again += 1;
        ProxyCounters::count(&counters.sent_again);
        // The backend may have worked on it for longer than anybody waits for the cluster.
        routing.deadline.set(now + PATIENCE);
        Some(sent)
    }
}
