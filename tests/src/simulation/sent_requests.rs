//! What one process of a node sends to shops, as its network sees it, and what is promised about that: how many at once,
//! how often, and that a shop which is ejected gets nothing new.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use stickler_core::ids::BackendId;

use super::pool_settings::PoolSettings;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct SentRequests {
    settings: PoolSettings,
    /// By the requests' numbers, in the order in which they left.
    sent: BTreeMap<u64, Vec<Sending>>,
    /// Exchanges that go on, by shop and connection.
    open: BTreeMap<&'static str, BTreeMap<u64, Open>>,
    /// What was taken from the budget.
    retries: Vec<Retry>,
    /// By which id each shop is known, and since when exchanges with it are all by that id.
    ids: BTreeMap<&'static str, (BackendId, Duration)>,
    /// Since when a shop is ejected, and the others can do without it.
    spared: BTreeMap<&'static str, Duration>,
    /// Since when a shop takes no new sessions.
    closed: BTreeMap<&'static str, Duration>,
    /// How many shops were ejected, of how many, when it was last looked.
    share: (usize, usize),
    /// How often shops were ejected.
    ejections: u64,
}

/// A request that leaves, as its head says.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its number.
    pub number: u64,
    /// Its method.
    pub method: Method,
    /// Whether it is of a session, or begins one that has a name already.
    pub has_session: bool,
}

/// A connection to a shop, before a request leaves by it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The shop, and the id by which the node knows it.
    pub shop: (&'static str, BackendId),
    /// Its number among the process's connections.
    pub connection: u64,
    /// Whether requests have gone by it before.
    pub reused: bool,
}

/// A request left.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    at: Duration,
    reused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    id: BackendId,
    began: Duration,
}

/// A request that was sent again on the pool's budget: it was taken after the try before, and before this one.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    tried: Duration,
    again: Duration,
}

/// How a shop is doing, as a node sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Which.
    pub shop: &'static str,
    /// The node gives it nothing new.
    pub ejected: bool,
    /// It takes new sessions.
    pub takes_new: bool,
}

/// Within this time retries count together, by the quickest clock: what the budget counts is nine seconds or more.
const WINDOW: Duration = Duration::from_millis(8500);

/// Retries in that time that any pool has.
const FLOOR: u64 = 100;

/// How long after it was decided on a request leaves at most, the wait in a queue aside: the pool's time-out for a
/// connection, and some.
const LEAVES: Duration = Duration::from_millis(500);

/// How long an exchange takes at most: the pool's time-out for an answer, and some.
const EXCHANGE: Duration = Duration::from_secs(3);

/// The budget: within so many seconds, a share of the requests is sent again, and a few in any case. `asked` is how many
/// requests the node was asked, which may be more than count.
#[must_use]
pub fn is_within_budget(retries: &[Retry], now: Duration, percent: u8, asked: u64) -> bool {
    let from = now.saturating_sub(WINDOW);
    let within = retries.iter().filter(|retry| retry.tried >= from && retry.again <= now).count() as u64;
    within <= FLOOR + asked * u64::from(percent) / 100
}

/// Once: a request may leave after these times at which it has left before. What an idle connection swallowed as it was
/// being closed is sent again if it is safe; where idempotent requests are tried again, they are sent three times in all.
#[must_use]
pub fn may_leave(method: &Method, idempotent: bool, before: &[Sending]) -> bool {
    let swallowed = before.iter().all(|sending| sending.reused);
    match before.len() {
        0 => true,
        1 if method.is_safe() && swallowed => true,
        1 | 2 => idempotent && method.is_idempotent(),
        _ => false,
    }
}

/// The share: so many of a pool's backends may be ejected at once by one node. One may where there are others, and all
/// never are.
#[must_use]
pub fn may_be_ejected(ejected: usize, pool: usize, percent: u8) -> bool {
    match ejected {
        0 => true,
        1 => pool > 1,
        several => several < pool && several * 100 <= pool * usize::from(percent),
    }
}

impl SentRequests {
    /// Of a process that has sent nothing.
    #[must_use]
    pub fn new(settings: PoolSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes in that a request leaves. `asked` is how many the node was asked so far.
    ///
    /// # Errors
    /// When it must not: how it is called that was broken, and by what.
    pub fn leaves(&mut self, at: Duration, way: Way, head: &Head, asked: u64) -> Result<(), String> {
        let (shop, id) = way.shop;
        let known = self.ids.entry(shop).or_insert((id, Duration::ZERO));
        if known.0 != id {
            *known = (id, at + EXCHANGE);
        }
        let judged = self
            .has_room(at, shop)
            .and_then(|()| self.is_welcome(at, shop, head))
            .and_then(|()| self.goes_again(at, way, head, asked));
        self.open.entry(shop).or_default().insert(way.connection, Open { id, began: at });
        judged
    }

    /// Takes in that a connection's exchange is over; whether one was.
    pub fn ends(&mut self, shop: &str, connection: u64) -> bool {
        self.open.get_mut(shop).is_some_and(|open| open.remove(&connection).is_some())
    }

    /// Takes in how the shops are doing. `ejections` is how many there were so far.
    ///
    /// # Errors
    /// When more are ejected than may be.
    pub fn sees(&mut self, at: Duration, ejections: u64, seen: &[Seen]) -> Result<(), String> {
        if std::mem::replace(&mut self.ejections, ejections) != ejections {
            // One may have been back for a moment.
            self.spared.clear();
        }
        let well = seen.iter().filter(|one| one.takes_new && !one.ejected).count();
        for one in seen {
            // One of the others may be the one that a request has failed at.
            if one.ejected && well > 1 {
                self.spared.entry(one.shop).or_insert(at);
            } else {
                self.spared.remove(one.shop);
            }
            if one.takes_new {
                self.closed.remove(one.shop);
            } else {
                self.closed.entry(one.shop).or_insert(at);
            }
        }
        let ejected = seen.iter().filter(|one| one.ejected).count();
        // Shops may leave while others are ejected: the share counts as one is.
        let (before, of) = std::mem::replace(&mut self.share, (ejected, seen.len()));
        let of = of.max(seen.len());
        match &self.settings.ejection {
            Some(policy) if ejected > before && !may_be_ejected(ejected, of, policy.max_share) => {
                Err(format!(
                    "the share: {ejected} of {} shops are ejected, and {} % may be",
                    of, policy.max_share
                ))
            }
            None if ejected > 0 => Err(format!("the share: {ejected} shops are ejected, and none may be")),
            _ => Ok(()),
        }
    }

    /// The limit: a shop has no more requests of one node than `max_requests`. What begins or ends at this very moment may
    /// do so in any order.
    fn has_room(&self, at: Duration, shop: &str) -> Result<(), String> {
        let (Some(queue), Some((id, since))) = (self.settings.queue, self.ids.get(shop)) else {
            return Ok(());
        };
        let counts = |open: &&Open| open.id == *id && open.began >= *since && open.began < at;
        let open = self.open.get(shop).map_or(0, |open| open.values().filter(counts).count());
        if open <= queue.max_requests as usize {
            return Ok(());
        }
        Err(format!("the limit: {shop} has {open} requests at once, and {} may be", queue.max_requests))
    }

    /// A shop that is ejected, or takes no new sessions, gets no requests of new sessions, and none that need no session.
    fn is_welcome(&self, at: Duration, shop: &str, head: &Head) -> Result<(), String> {
        let waited = self.settings.queue.map_or(Duration::ZERO, |queue| queue.timeout * 21 / 20);
        // What a connection swallowed goes to the same shop again.
        let chooses = !head.has_session && !self.sent.contains_key(&head.number);
        if let Some(since) = self.closed.get(shop).filter(|since| **since + waited + LEAVES < at)
            && chooses
        {
            return Err(format!("drained: {shop} gets something new, and takes nothing new since {since:?}"));
        }
        match self.spared.get(shop) {
            Some(since) if chooses && *since + waited + LEAVES < at => {
                Err(format!("ejected: {shop} gets something new, and is ejected since {since:?} at least"))
            }
            _ => Ok(()),
        }
    }

    /// How often a request is sent, and how many are sent again.
    fn goes_again(&mut self, at: Duration, way: Way, head: &Head, asked: u64) -> Result<(), String> {
        let before = self.sent.entry(head.number).or_default();
        let budget = self.settings.retry_budget;
        let may = may_leave(&head.method, budget.is_some(), before);
        let last = before.last().copied();
        before.push(Sending { at, reused: way.reused });
        if !may {
            return Err(format!(
                "once: {} {} leaves for the {}. time",
                head.method,
                head.number,
                before.len()
            ));
        }
        // What an idle connection swallowed is nobody's failure, and is sent again for nothing.
        let (Some(percent), Some(last)) = (budget, last.filter(|last| !last.reused)) else { return Ok(()) };
        self.retries.push(Retry { tried: last.at, again: at });
        if is_within_budget(&self.retries, at, percent, asked) {
            return Ok(());
        }
        let all = self.retries.len();
        Err(format!("the budget: {all} of {asked} requests were sent again, and {percent} % may be"))
    }

    /// How many requests a shop has.
    #[must_use]
    pub fn open_at(&self, shop: &str) -> usize {
        self.open.get(shop).map_or(0, BTreeMap::len)
    }

    /// Whether a shop has as many requests as it may have.
    #[must_use]
    pub fn is_full(&self, shop: &str) -> bool {
        self.settings.queue.is_some_and(|queue| self.open_at(shop) >= queue.max_requests as usize)
    }

    /// Whether a request that leaves now has left before.
    #[must_use]
    pub fn has_left_before(&self, number: u64) -> bool {
        self.sent.get(&number).is_some_and(|sent| sent.len() > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sent(reused: &[bool]) -> Vec<Sending> {
        reused.iter().map(|reused| Sending { at: SECOND, reused: *reused }).collect()
    }

    #[test]
    fn what_is_not_idempotent_leaves_once_and_the_rest_three_times() {
        for idempotent in [false, true] {
            assert!(may_leave(&Method::POST, idempotent, &[]));
            assert!(!may_leave(&Method::POST, idempotent, &sent(&[true])));
            assert!(may_leave(&Method::GET, idempotent, &sent(&[true])));
            assert_eq!(may_leave(&Method::GET, idempotent, &sent(&[false])), idempotent);
            assert_eq!(may_leave(&Method::PUT, idempotent, &sent(&[true])), idempotent);
            assert_eq!(may_leave(&Method::GET, idempotent, &sent(&[true, false])), idempotent);
            assert!(!may_leave(&Method::GET, idempotent, &sent(&[true, false, false])));
        }
    }

    #[test]
    fn a_budget_counts_what_was_taken_within_its_time() {
        let retry = |at: u32| Retry { tried: SECOND * at, again: SECOND * (at + 1) };
        let mut retries = vec![retry(20); 105];
        assert!(is_within_budget(&retries, SECOND * 22, 10, 50));
        retries.push(retry(20));
        assert!(!is_within_budget(&retries, SECOND * 22, 10, 50));
        assert!(is_within_budget(&retries, SECOND * 22, 10, 60));
        assert!(is_within_budget(&retries, SECOND * 40, 10, 50), "it is long ago");
    }

    #[test]
    fn one_backend_of_several_may_be_ejected_and_never_all() {
        assert!(may_be_ejected(0, 1, 30) && !may_be_ejected(1, 1, 100));
        assert!(may_be_ejected(1, 3, 1) && !may_be_ejected(2, 3, 66));
        assert!(may_be_ejected(2, 3, 67) && !may_be_ejected(3, 3, 100));
    }

    #[test]
    fn a_limit_is_broken_by_those_that_have_begun_before() {
        let queue = super::super::pool_settings::Queue { max_requests: 2, timeout: SECOND, longest: 9 };
        let mut all = SentRequests::new(PoolSettings { queue: Some(queue), ..PoolSettings::default() });
        let way = |connection| Way { shop: ("web-1", BackendId(1)), connection, reused: false };
        let head = |number| Head { number, method: Method::GET, has_session: true };
        for number in 1..=3 {
            assert_eq!(all.leaves(SECOND, way(number), &head(number), 9), Ok(()));
        }
        assert!(all.clone().leaves(SECOND * 2, way(4), &head(4), 9).is_err());
        assert!(all.ends("web-1", 2));
        assert_eq!(all.leaves(SECOND * 2, way(4), &head(4), 9), Ok(()));
    }
}
