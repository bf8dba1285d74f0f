//! What a node's parts publish to each other and to its workers: the view of the applied state, how far it
//! has come, and on what footing the node stands. Readers never wait for a writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::LogIndex;
use stickler_core::lease::{Footing, Standing};
use stickler_core::state::{Catalog, View};
use stickler_core::time::ClusterTime;
use stickler_rt::watch;

/// How far the state machine has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The last applied entry.
    pub(crate) index: LogIndex,
    /// The term that wrote it.
    pub(crate) term: u64,
    /// The last applied entry that ended an epoch: the leader wants to hear of it at once, because
    /// somebody waits for the stable index to reach it.
    pub(crate) ended_epoch: LogIndex,
    /// Commands that this process has applied.
    pub(crate) commands: u64,
}

/// Published state of one node.
#[derive(Debug)]
pub(crate) struct Published {
    view: ArcSwap<View>,
    applied: watch::Sender<Applied>,
    /// The catalog alone, for those whom bindings don't concern.
    catalog: watch::Sender<Arc<Catalog>>,
    footing: FootingCell,
    /// What came with the last lease; for whoever leads next.
    granted: Mutex<Option<Granted>>,
    /// Raised whenever something changed that a held request may wait for.
    changes: watch::Sender<u64>,
}

/// The node's lease and what came with it, as single words that workers read on every request.
#[derive(Debug)]
struct FootingCell {
    /// End of the lease by the node's clock, in nanoseconds; 0 when there is none.
    lease_until: AtomicU64,
    /// How often the node has heard from a leader, doubled; odd while it is isolated. One word, so that a
    /// node that is told of new entries never counts as isolated while it takes them in.
    heard: AtomicU64,
    stable: AtomicU64,
    /// Cluster time minus the node's clock, in milliseconds (two's complement).
    time_offset: AtomicU64,
}

/// Cluster time as the leader had it when it granted a lease, at the earliest.
#[derive(Clone, Copy, Debug)]
struct Granted {
    time: ClusterTime,
    /// When the answer came, by the node's clock.
    at: Duration,
    /// When the lease ends: no leader is known to have been in office for longer.
    until: Duration,
}

/// The bit of `heard` that says that the node is isolated.
const ISOLATED: u64 = 1;

/// How often a node has heard from a leader, at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimesHeard(u64);

impl Published {
    pub(crate) fn new(view: View) -> Self {
        let footing = FootingCell {
            lease_until: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            stable: AtomicU64::new(0),
            time_offset: AtomicU64::new(0),
        };
        Self {
            catalog: watch::Sender::new(Arc::clone(&view.catalog)),
            view: ArcSwap::from_pointee(view),
            applied: watch::Sender::default(),
            footing,
            granted: Mutex::default(),
            changes: watch::Sender::default(),
        }
    }

    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    pub(crate) fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    pub(crate) fn applied_now(&self) -> Applied {
        *self.applied.borrow()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// Publishes the state after an entry. The table behind the view is already at this entry.
    pub(crate) fn publish(&self, view: View, applied: Applied) {
        self.catalog.send_if_modified(|known| {
            let changed = !Arc::ptr_eq(known, &view.catalog);
            if changed {
                *known = Arc::clone(&view.catalog);
            }
            changed
        });
        self.view.store(Arc::new(view));
        self.applied.send_replace(applied);
        self.wake();
    }

    /// The node holds a lease until `until`.
    pub(crate) fn lease(&self, until: Duration) {
        self.footing.lease_until.fetch_max(nanoseconds(until), Ordering::Release);
        self.heard_leader();
        self.wake();
    }

    /// The leader said with a lease what time it is in the cluster. The answer came at `now`.
    pub(crate) fn granted_at(&self, time: ClusterTime, now: Duration, until: Duration) {
        let granted = Granted { time, at: now, until };
        *self.granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(granted);
    }

    /// Cluster time from which an office goes on that begins now: the log's, or what has passed by this node's clock
    /// since the last leader told it, as long as that one's lease lasts. Entries are rare while sessions are only
    /// used, and what passes between the last one and the next leader's first would not count.
    pub(crate) fn time_of_office(&self, now: Duration) -> ClusterTime {
        let granted = *self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let told = granted.map(|told| told.time + now.min(told.until).saturating_sub(told.at));
        self.view().time.max(told.unwrap_or_default())
    }

    /// There is a leader: it answered, if only to deny a lease, or new entries come from it. The node is not
    /// isolated, but must catch up. Called before an entry changes anything: what lies between a node's old
    /// view and the newest is nothing to route by.
    pub(crate) fn heard_leader(&self) {
        let next = |heard: u64| Some((heard | ISOLATED).wrapping_add(1));
        let before = self.footing.heard.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        if before.is_ok_and(|heard| heard & ISOLATED != 0) {
            self.wake();
        }
    }

    /// How often a leader was heard; for [`Published::no_leader`].
    pub(crate) fn times_heard(&self) -> TimesHeard {
        TimesHeard(self.footing.heard.load(Ordering::Acquire) & !ISOLATED)
    }

    /// The node has tried and can't reach a leader, nor has it heard from one since it began to.
    pub(crate) fn no_leader(&self, since: TimesHeard) {
        let isolated = since.0 | ISOLATED;
        let changed =
            self.footing.heard.compare_exchange(since.0, isolated, Ordering::AcqRel, Ordering::Acquire);
        if changed.is_ok() {
            self.wake();
        }
    }

    /// The leader announced a stable index. It never goes back.
    pub(crate) fn announce_stable(&self, stable: LogIndex) {
        if self.footing.stable.fetch_max(stable.0, Ordering::AcqRel) < stable.0 {
            self.wake();
        }
    }

    /// The leader said what time it is in the cluster, and the node's clock said `now` at that time or
    /// before.
    pub(crate) fn cluster_time(&self, time: ClusterTime, now: Duration) {
        let offset = time.0.wrapping_sub(milliseconds(now));
        self.footing.time_offset.store(offset, Ordering::Release);
    }

    pub(crate) fn stable(&self) -> LogIndex {
        LogIndex(self.footing.stable.load(Ordering::Acquire))
    }

    /// What is left of the lease.
    pub(crate) fn lease_left(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.footing.lease_until.load(Ordering::Acquire)).saturating_sub(now)
    }

    /// On what footing the node stands at this moment of its clock.
    pub(crate) fn standing(&self, now: Duration) -> Standing {
        let past = deliberate::active(Fault::LeasePastItsEnd).then_some(Duration::from_millis(500));
        let footing = if !self.lease_left(now.saturating_sub(past.unwrap_or_default())).is_zero() {
            Footing::Leased
        } else if self.footing.heard.load(Ordering::Acquire) & ISOLATED != 0 {
            Footing::Isolated
        } else {
            Footing::CatchingUp
        };
        let offset = self.footing.time_offset.load(Ordering::Acquire);
        Standing { footing, stable: self.stable(), time: ClusterTime(milliseconds(now).wrapping_add(offset)) }
    }

    fn wake(&self) {
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }
}

fn nanoseconds(reading: Duration) -> u64 {
    u64::try_from(reading.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(reading: Duration) -> u64 {
    u64::try_from(reading.as_millis()).unwrap_or(u64::MAX)
}
