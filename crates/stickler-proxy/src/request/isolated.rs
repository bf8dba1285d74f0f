//! What this node serves while it holds no lease: counted by session, and reported to the cluster when it is back, as
//! far as the cluster did otherwise meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::{BackendId, Epoch};
use stickler_core::lease::Footing;
use stickler_core::routing::Ticket;
use stickler_core::state::{Command, Served, ServedIsolated, SessionKey, View};
use stickler_raft::{Cluster, Persistence};

/// Sessions that are remembered. What a node serves beyond that while it is cut off is not reported.
const REMEMBERED: usize = 100_000;

/// Sessions in one report.
const AT_ONCE: usize = 1000;

/// How often the node looks whether it is back.
const LOOK: Duration = Duration::from_millis(100);

/// How long a report is worth proposing before it is made anew.
const PATIENCE: Duration = Duration::from_secs(5);

type Ledger = BTreeMap<(SessionKey, Epoch, BackendId), u64>;

/// What the workers of a node served without a lease. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct IsolatedLedger {
    // Only requests on a node that is cut off come here.
    served: Arc<Mutex<Ledger>>,
}

impl IsolatedLedger {
    /// Starts the task that reports; it ends with the last clone, and lets go of the cluster.
    pub(super) fn start(cluster: Cluster) -> Self {
        let ledger = Self::default();
        tokio::spawn(report(Arc::downgrade(&ledger.served), cluster));
        ledger
    }

    /// Counts a request that goes to its backend now.
    pub(super) fn note(&self, ticket: &Ticket, unrecorded: impl FnOnce() -> Option<SessionKey>) {
        let (session, epoch) = match ticket.session {
            Some(routed) => (Some(routed.session), routed.epoch),
            None => (unrecorded(), Epoch(0)),
        };
        let Some(session) = session else { return };
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let room = served.len() < REMEMBERED;
        match served.get_mut(&(session, epoch, ticket.backend)) {
            Some(requests) => *requests += 1,
            None if room => {
                served.insert((session, epoch, ticket.backend), 1);
            }
            None => {}
        }
    }

    async fn report(&self, cluster: &Cluster) {
        // A node with a lease has applied what was committed while it was away.
        let view = View::clone(&cluster.view());
        let reported =
            |served: &Served| may_conflict(&view, served) && !deliberate::active(Fault::ForgetConflicts);
        let mut left = self.take().into_iter().filter(reported).peekable();
        while left.peek().is_some() {
            let served: Vec<Served> = left.by_ref().take(AT_ONCE).collect();
            let report = ServedIsolated { node: cluster.node(), served };
            let command = Command::ServedIsolated(report.clone());
            if cluster.propose(command, PATIENCE, Persistence::Retry).await.is_err() {
                // `apply` takes the same report twice for one.
                self.put_back(report.served.into_iter().chain(left));
                return;
            }
        }
    }

    fn take(&self) -> Vec<Served> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let served = std::mem::take(&mut *served).into_iter();
        let one = |((session, epoch, backend), requests)| Served { session, epoch, backend, requests };
        served.map(one).collect()
    }

    fn put_back(&self, unreported: impl Iterator<Item = Served>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        for one in unreported {
            *served.entry((one.session, one.epoch, one.backend)).or_default() += one.requests;
        }
    }
}

async fn report(ledger: Weak<Mutex<Ledger>>, cluster: Cluster) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(served) = ledger.upgrade() else { return };
        if cluster.standing().footing == Footing::Leased {
            IsolatedLedger { served }.report(&cluster).await;
        }
    }
}

/// Whether the cluster may have done otherwise. What it did not is no news to anybody.
fn may_conflict(view: &View, served: &Served) -> bool {
    match view.locate(served.session) {
        Some(located) => located.binding.backend != served.backend,
        None => served.epoch > Epoch(0) || view.table.get(&served.session).is_some(),
    }
}
