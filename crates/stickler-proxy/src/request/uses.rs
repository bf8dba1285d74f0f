//! Reports the use of sessions to the cluster: only of those whose replicated last use has grown old, many
//! in one entry. An open request, stream or WebSocket is use until it ends.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::{Rc, Weak};
use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch};
use stickler_core::routing::Routed;
use stickler_core::state::{Command, Record, SessionKey, Touch, Use, unreported};
use stickler_raft::Cluster;
use stickler_rt::{Moment, Shutdown};
use tokio::sync::mpsc;

use crate::hold::Hold;

/// Uses in one command.
const AT_ONCE: usize = 2000;

/// How long uses are gathered. A sixteenth of the shortest time-out that a document may have.
const GATHER: Duration = Duration::from_millis(20);

/// Uses that may wait to be gathered. One beyond is dropped: the session's next use is reported instead.
const WAITING: usize = 16 * 1024;

/// How long a report is worth proposing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session that was just reported is not reported again for this long: the report is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

/// How often open exchanges are looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
struct Used {
    session: SessionKey,
    epoch: Epoch,
    at: Moment,
}

/// Takes the uses of all workers of a node. Clones are the same.
#[derive(Clone)]
pub(super) struct UseReporter {
    cluster: Cluster,
    uses: mpsc::Sender<Used>,
}

impl UseReporter {
    /// Starts the task that gathers and reports.
    pub(super) fn start(cluster: Cluster) -> Self {
        let (uses, waiting) = mpsc::channel(WAITING);
        tokio::spawn(gather(cluster.clone(), waiting));
        Self { cluster, uses }
    }

    /// Reports a use now, if the one on record is old.
    pub(super) fn used(&self, session: &Routed, idle_timeout: Duration) {
        let now = self.cluster.standing().time;
        if now.since(session.last_use) >= unreported(idle_timeout) {
            self.report(session.session, session.epoch);
        }
    }

    fn report(&self, session: SessionKey, epoch: Epoch) {
        let at = self.cluster.outside().clock.now();
        let _ = self.uses.try_send(Used { session, epoch, at });
    }
}

async fn gather(cluster: Cluster, mut waiting: mpsc::Receiver<Used>) {
    let mut reported: HashMap<SessionKey, Moment> = HashMap::new();
    while let Some(first) = waiting.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut gathered: BTreeMap<SessionKey, Used> = BTreeMap::new();
        gathered.insert(first.session, first);
        while gathered.len() < AT_ONCE
            && let Ok(next) = waiting.try_recv()
        {
            gathered.insert(next.session, next);
        }
        let now = cluster.outside().clock.now();
        reported.retain(|_, at| now.since(*at) < ON_ITS_WAY);
        let uses: Vec<Use> = gathered
            .into_values()
            .filter(|used| is_first(reported.entry(used.session), now))
            .map(|used| Use {
                session: used.session,
                epoch: used.epoch,
                age: milliseconds(now.since(used.at)),
            })
            .collect();
        if !uses.is_empty() {
            cluster.submit(Command::Touch(Touch { uses }), PATIENCE);
        }
    }
}

/// Whether a session was not reported a moment ago. One that was keeps the time of that report: a session
/// in use all the time must be reported again, too.
fn is_first(reported: Entry<'_, SessionKey, Moment>, now: Moment) -> bool {
    match reported {
        Entry::Occupied(_) => false,
        Entry::Vacant(unreported) => {
            unreported.insert(now);
            true
        }
    }
}

fn milliseconds(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

/// The exchanges of one worker that are open.
pub(super) struct OpenUses {
    reporter: UseReporter,
    /// By age, so that what is reported comes in an order that a seed repeats.
    open: RefCell<BTreeMap<u64, Open>>,
    next: Cell<u64>,
}

struct Open {
    by: OpenBy,
    ended: Option<Moment>,
    close: Shutdown,
}

/// By what session an exchange is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenBy {
    /// The key under which the binding stands.
    pub(super) session: SessionKey,
    /// The binding's epoch.
    pub(super) epoch: Epoch,
    /// Where the exchange goes on.
    pub(super) backend: BackendId,
    /// The affinity's.
    pub(super) idle_timeout: Duration,
    /// How long a stream may go on once its epoch has ended.
    pub(super) grace: Duration,
}

/// An exchange's place among the open ones. It is taken when it is known by what session the exchange is open: with
/// the first request of a session, that is after the backend's answer.
#[derive(Clone, Default)]
pub(super) struct OpenPlace {
    taken: Rc<OnceCell<OpenUse>>,
    close: Shutdown,
}

impl OpenPlace {
    /// What the exchange keeps to its end.
    pub(super) fn hold(&self) -> Hold {
        Hold::new().with_guard(Rc::clone(&self.taken)).with_close(self.close.clone())
    }

    /// The exchange is open by this session from here on, if it is open at all.
    pub(super) fn take(&self, uses: &Rc<OpenUses>, by: OpenBy) {
        if Rc::strong_count(&self.taken) > 1 {
            self.taken.get_or_init(|| uses.begin(by, self.close.clone()));
        }
    }
}

/// Keeps an exchange counted as use until it is dropped.
pub(super) struct OpenUse {
    uses: Weak<OpenUses>,
    number: u64,
}

impl Drop for OpenUse {
    fn drop(&mut self) {
        let Some(uses) = self.uses.upgrade() else { return };
        let open = uses.open.borrow_mut().remove(&self.number);
        if let Some(open) = open {
            uses.report_if_old(&open);
        }
    }
}

impl OpenUses {
    pub(super) fn new(reporter: UseReporter) -> Rc<Self> {
        Rc::new(Self { reporter, open: RefCell::default(), next: Cell::new(0) })
    }

    /// Counts an exchange as use; `close` ends it when its session has moved or ended and the grace is over.
    fn begin(self: &Rc<Self>, by: OpenBy, close: Shutdown) -> OpenUse {
        let number = self.next.get();
        self.next.set(number + 1);
        self.open.borrow_mut().insert(number, Open { by, ended: None, close });
        OpenUse { uses: Rc::downgrade(self), number }
    }

    /// The sessions that have an open exchange on this worker.
    pub(super) fn sessions(&self) -> BTreeSet<SessionKey> {
        self.open.borrow().values().map(|open| open.by.session).collect()
    }

    /// Looks at what is open, again and again. Each worker runs one.
    pub(super) async fn watch(self: Rc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.reporter.cluster.outside().clock.now();
            for open in self.open.borrow_mut().values_mut() {
                if !self.has_ended(&mut open.by) {
                    self.report_if_old(open);
                    continue;
                }
                let ended = *open.ended.get_or_insert(now);
                if now.since(ended) >= open.by.grace {
                    open.close.trigger();
                }
            }
        }
    }

    fn report_if_old(&self, Open { by: open, .. }: &Open) {
        let cluster = &self.reporter.cluster;
        if let Some(Record::Binding(binding)) = cluster.view().table.get(&open.session)
            && binding.epoch == open.epoch
            && cluster.standing().time.since(binding.last_use) >= unreported(open.idle_timeout)
        {
            self.reporter.report(open.session, open.epoch);
        }
    }

    /// Whether the epoch by which an exchange was sent is over. A session that goes on under another name is
    /// followed there: it may end under that name, and the older one is forgotten before.
    fn has_ended(&self, open: &mut OpenBy) -> bool {
        let view = self.reporter.cluster.view();
        match view.table.get(&open.session) {
            Some(Record::Binding(binding)) => binding.epoch > open.epoch,
            Some(Record::Alias(alias)) if alias.epoch == open.epoch => match view.locate(open.session) {
                Some(found) if found.binding.backend == open.backend => {
                    (open.session, open.epoch) = (found.session, found.binding.epoch);
                    false
                }
                _ => true,
            },
            // A later session of this key got another name.
            Some(Record::Alias(alias)) => alias.epoch > open.epoch,
            Some(Record::Ended(ended)) => ended.epoch >= open.epoch,
            // Not applied here yet, or long forgotten.
            None => view.epoch > open.epoch,
        }
    }
}
