//! What all workers of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stickler_core::ids::BackendId;
use stickler_core::state::Catalog;
use stickler_raft::Cluster;

use super::admission::Admissions;
use super::binder::Binder;
use super::isolated::IsolatedLedger;
use super::observed::Observed;
use super::queue::Queues;
use super::quiet::QuietBoard;
use super::response_times::BackendTimes;
use super::retries::RetryBudgets;
use super::signals::EjectedBackends;
use super::suspicions::Suspicions;
use super::uses::UseReporter;
use super::waiting::WaitingRoom;
use super::weights::Weights;
use crate::in_flight::InFlight;

/// Longest wait for anything a request needs of the cluster: a bind, a move, the stable index, a lease.
/// Longer than any election; shorter than a person's patience.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// The data plane of one node: what its workers share. Clones are the same.
#[derive(Clone)]
pub struct Proxy {
    pub(super) cluster: Cluster,
    pub(super) in_flight: InFlight,
    pub(super) binder: Binder,
    pub(super) uses: UseReporter,
    pub(super) suspicions: Suspicions,
    pub(super) observed: Observed,
    pub(super) admissions: Admissions,
    pub(super) isolated: IsolatedLedger,
    pub(super) weights: Weights,
    pub(super) waiting: WaitingRoom,
    pub(super) quiet: QuietBoard,
    pub(super) ejected: EjectedBackends,
    pub(super) queues: Queues,
    pub(super) budgets: RetryBudgets,
    pub(super) times: BackendTimes,
    pub(super) counters: Arc<ProxyCounters>,
}

impl Proxy {
    /// Starts the tasks that workers share on the current runtime. They end with the cluster handle's node.
    #[must_use]
    pub fn start(cluster: Cluster) -> Self {
        Self {
            in_flight: InFlight::new(),
            binder: Binder::new(cluster.clone()),
            uses: UseReporter::start(cluster.clone()),
            suspicions: Suspicions::new(cluster.clone()),
            observed: Observed::default(),
            admissions: Admissions::default(),
            isolated: IsolatedLedger::start(cluster.clone()),
            weights: Weights::start(),
            waiting: WaitingRoom::default(),
            quiet: QuietBoard::start(cluster.clone()),
            ejected: EjectedBackends::default(),
            queues: Queues::default(),
            budgets: RetryBudgets::default(),
            times: BackendTimes::start(),
            counters: Arc::default(),
            cluster,
        }
    }

    /// After backends have come or gone: what was removed must not be remembered for ever.
    pub fn forget_removed(&self, catalog: &Catalog) {
        self.in_flight.retain(|backend| catalog.backends.contains_key(&backend));
        let ejects = |pool| catalog.pool(pool).is_some_and(|pool| pool.ejection.is_some());
        self.ejected
            .retain(|backend| catalog.backends.get(&backend).is_some_and(|record| ejects(record.pool)));
        self.queues.retain(|backend| catalog.backends.contains_key(&backend));
        self.times.retain(|backend| catalog.backends.contains_key(&backend));
        self.budgets.retain(|pool| catalog.pools.contains(&pool));
    }

    /// Requests in flight by backend.
    #[must_use]
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// What affinities that only observe have seen.
    #[must_use]
    pub const fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Which keys have the most requests.
    #[must_use]
    pub const fn weights(&self) -> &Weights {
        &self.weights
    }

    /// How many requests wait right now for the backend of their session to come back.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether this node gives a backend nothing new for a while.
    #[must_use]
    pub fn is_ejected(&self, backend: BackendId) -> bool {
        self.ejected.is_ejected(backend, || self.cluster.outside().clock.now())
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<ProxyCounters> {
        &self.counters
    }
}

/// What the workers of a node have counted since its start.
#[derive(Debug, Default)]
pub struct ProxyCounters {
    /// Requests that were taken up.
    pub requests: AtomicU64,
    /// Requests that Stickler answered itself because it could not forward them.
    pub refused: AtomicU64,
    /// Sessions bound by a request of this node.
    pub bound: AtomicU64,
    /// Sessions moved by a request of this node.
    pub moved: AtomicU64,
    /// Binds that were refused after a backend had created the session; its identifier was held back.
    pub withheld: AtomicU64,
    /// Cookies of Stickler's name that were forged, malformed, or sealed with an unknown key.
    pub bad_tokens: AtomicU64,
    /// Requests that had to wait for a bind, a move, the stable index or a lease.
    pub held: AtomicU64,
    /// Requests of known sessions that were sent without a lease.
    pub isolated: AtomicU64,
    /// Sessions that were not begun since their client's address had begun too many.
    pub over_rate: AtomicU64,
    /// Requests that waited for the backend of their session to come back.
    pub waited: AtomicU64,
    /// Ejections of backends.
    pub ejections: AtomicU64,
    /// Requests that waited since their backend had as many as it may have.
    pub queued: AtomicU64,
    /// Requests of those that waited for too long.
    pub queue_timeouts: AtomicU64,
    /// Requests that were refused since too many waited for their backend.
    pub queue_full: AtomicU64,
    /// Requests that were tried again of which nothing had been sent.
    pub retried: AtomicU64,
    /// Times that a request was sent again after it had been sent.
    pub sent_again: AtomicU64,
    /// Requests that were not tried again since too many were.
    pub over_budget: AtomicU64,
    /// Connections closed since they had to begin with a PROXY header of a trusted proxy, and did not.
    pub refused_connections: AtomicU64,
}

impl ProxyCounters {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Name, help and value of each, for metrics.
    #[must_use]
    pub fn read(&self) -> [(&'static str, &'static str, u64); 18] {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("requests", "Requests taken up", value(&self.requests)),
            ("refused_requests", "Requests answered by Stickler itself", value(&self.refused)),
            ("bound_sessions", "Sessions bound through this node", value(&self.bound)),
            ("moved_sessions", "Sessions moved through this node", value(&self.moved)),
            (
                "withheld_identifiers",
                "Identifiers held back since their bind was refused",
                value(&self.withheld),
            ),
            ("bad_tokens", "Cookies that were forged or malformed", value(&self.bad_tokens)),
            ("held_requests", "Requests that waited for the cluster", value(&self.held)),
            ("isolated_requests", "Requests of known sessions served without a lease", value(&self.isolated)),
            (
                "sessions_over_rate",
                "Sessions not begun since their client's address had begun too many",
                value(&self.over_rate),
            ),
            ("waited_requests", "Requests that waited for a backend to come back", value(&self.waited)),
            ("ejections", "Times that a backend got nothing new for a while", value(&self.ejections)),
            ("queued_requests", "Requests that waited until their backend had room", value(&self.queued)),
            ("queue_timeouts", "Requests that waited too long for room", value(&self.queue_timeouts)),
            (
                "queue_full",
                "Requests refused since too many waited for their backend",
                value(&self.queue_full),
            ),
            ("retried_requests", "Unsent requests that were tried again", value(&self.retried)),
            ("sent_again", "Times that an idempotent request was sent again", value(&self.sent_again)),
            ("retries_over_budget", "Requests not tried again since too many were", value(&self.over_budget)),
            (
                "refused_connections",
                "Connections closed for want of a PROXY header of a trusted proxy",
                value(&self.refused_connections),
            ),
        ]
    }
}
