//! The leader's office: one task that knows whether this node leads, keeps the book of leases, and
//! announces the stable index. On a node that does not lead it denies everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::Instant;
use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::{LogIndex, NodeId};
use stickler_core::lease::{Denial, LeaseAnswer, LeaseBook, LeaseRequest, Office};
use stickler_core::receipt::Holdings;
use stickler_core::time::ClusterTime;
use stickler_rt::{Clock, Moment, Shutdown, watch};
use tokio::sync::{mpsc, oneshot};

use crate::peers::{LeaseMessage, LeaseNews};
use crate::published::{Applied, Published};
use crate::raft::{Raft, Types};

type Metrics = openraft::RaftMetrics<Types>;

/// One term of office of this node, from the moment at which it has applied the term's first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) number: u64,
    pub(crate) first_entry: LogIndex,
    /// Cluster time when the office began, and what this node's clock said then.
    base: ClusterTime,
    began: Moment,
}

impl Term {
    /// Cluster time at a moment of the leader's clock.
    pub(crate) fn cluster_time(&self, now: Moment) -> ClusterTime {
        self.base + now.since(self.began)
    }
}

/// What lease streams say to the office, and what others ask.
pub(crate) enum LeaseCall {
    /// A stream was opened, which wants to hear announcements.
    Joined { news: mpsc::Sender<LeaseNews> },
    /// A message came on it.
    Message { message: LeaseMessage, news: mpsc::Sender<LeaseNews> },
    /// Somebody wants to know who holds a lease. Dropped unanswered by a node that does not lead.
    Holdings { answer: oneshot::Sender<Holdings> },
}

/// Takes calls to the office. Clones feed the same queue.
#[derive(Clone)]
pub(crate) struct OfficeHandle(mpsc::Sender<LeaseCall>);

/// Calls that may wait. A call beyond is dropped: nodes ask again.
const WAITING: usize = 1024;

impl OfficeHandle {
    pub(crate) fn call(&self, call: LeaseCall) {
        if self.0.try_send(call).is_err() {
            tracing::debug!("a lease call was dropped: the office is overrun or closed");
        }
    }

    /// Which members hold a lease, by the book; `None` on a node that does not lead.
    pub(crate) async fn holdings(&self) -> Option<Holdings> {
        let (answer, holdings) = oneshot::channel();
        self.call(LeaseCall::Holdings { answer });
        holdings.await.ok()
    }
}

/// The receiving end of an [`OfficeHandle`].
pub(crate) struct OfficeQueue(mpsc::Receiver<LeaseCall>);

/// The office's queue, and its two ends.
pub(crate) fn office_queue() -> (OfficeHandle, OfficeQueue) {
    let (calls, queue) = mpsc::channel(WAITING);
    (OfficeHandle(calls), OfficeQueue(queue))
}

/// The one task that owns the book of leases.
pub(crate) struct OfficeOwner {
    pub(crate) raft: Raft,
    pub(crate) clock: Clock,
    pub(crate) published: Arc<Published>,
    pub(crate) queue: OfficeQueue,
    pub(crate) term: watch::Sender<Option<Term>>,
}

/// What the task carries from one event to the next.
struct Desk {
    /// The book, while this node is in office.
    book: Option<LeaseBook>,
    /// Streams that hear announcements, by a number of their own.
    listeners: BTreeMap<u64, mpsc::Sender<LeaseNews>>,
    next_listener: u64,
    announced: LogIndex,
}

impl OfficeOwner {
    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut metrics = self.raft.metrics();
        let mut applied = self.published.applied();
        let mut desk =
            Desk { book: None, listeners: BTreeMap::new(), next_listener: 0, announced: LogIndex(0) };
        loop {
            self.take_or_leave_office(&mut desk, &latest(&mut metrics), *applied.borrow_and_update());
            self.announce(&mut desk);
            let next = desk.book.as_ref().and_then(|book| book.next_change(self.clock.now().0));
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                changed = metrics.changed() => if changed.is_err() { return },
                changed = applied.changed() => if changed.is_err() { return },
                call = self.queue.0.recv() => match call {
                    Some(call) => self.answer(&mut desk, call, &latest(&mut metrics)),
                    None => return,
                },
                () = self.clock.sleep_until(Moment(next.unwrap_or(Duration::MAX))), if next.is_some() => {}
            }
        }
    }

    fn take_or_leave_office(&self, desk: &mut Desk, metrics: &Metrics, applied: Applied) {
        let leads = metrics.state == openraft::ServerState::Leader;
        let held = self.term.borrow().as_ref().map(|term| term.number);
        if !leads || held.is_some_and(|number| number != metrics.current_term) {
            if held.is_some() {
                tracing::info!(term = held, "office left");
                self.term.send_replace(None);
                desk.book = None;
            }
            return;
        }
        if held.is_none() && applied.term == metrics.current_term {
            let began = self.clock.now();
            let again = deliberate::active(Fault::RestartClusterTime);
            let base = if again { ClusterTime(0) } else { self.published.time_of_office(began.0) };
            let term = Term { number: metrics.current_term, first_entry: applied.index, base, began };
            // What an earlier leader announced is in the log's stamps at the least.
            let known = self.published.stable().max(self.published.view().stable);
            desk.book = Some(LeaseBook::new(began.0, known));
            tracing::info!(term = term.number, index = %term.first_entry, "office taken");
            self.term.send_replace(Some(term));
        }
    }

    /// Works out the stable index, and tells everybody if it has moved.
    fn announce(&self, desk: &mut Desk) {
        let Some(book) = desk.book.as_mut() else { return };
        let applied = self.published.applied_now();
        // Entries of a later term can be applied before this node learns that it was replaced: they say nothing
        // about the leases that its successor has granted.
        if self.term.borrow().as_ref().is_none_or(|term| term.number != applied.term) {
            return;
        }
        let stable = book.stable(self.clock.now().0, applied.index);
        if stable <= desk.announced {
            return;
        }
        desk.announced = stable;
        self.published.announce_stable(stable);
        // A listener that can't keep up misses an announcement; the next answer carries the index too.
        desk.listeners.retain(|_, news| {
            !matches!(news.try_send(LeaseNews::Stable(stable)), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    fn answer(&self, desk: &mut Desk, call: LeaseCall, metrics: &Metrics) {
        match call {
            LeaseCall::Joined { news } => {
                desk.listeners.retain(|_, news| !news.is_closed());
                desk.next_listener += 1;
                desk.listeners.insert(desk.next_listener, news);
            }
            LeaseCall::Message { message: LeaseMessage::Applied { node, incarnation, applied }, .. } => {
                if let Some(book) = desk.book.as_mut() {
                    book.note_applied(node, incarnation, applied);
                }
            }
            LeaseCall::Message { message: LeaseMessage::Request(request), news } => {
                let answer = self.lease(desk, &request, metrics);
                // Whoever does not read its answers asks again.
                let _ = news.try_send(LeaseNews::Answer(answer));
            }
            LeaseCall::Holdings { answer } => {
                let members: BTreeSet<NodeId> =
                    metrics.membership_config.membership().nodes().map(|(id, _)| NodeId(*id)).collect();
                if let Some(book) = desk.book.as_ref() {
                    let _ = answer.send(book.holdings(self.clock.now().0, &members));
                }
            }
        }
    }

    fn lease(&self, desk: &mut Desk, request: &LeaseRequest, metrics: &Metrics) -> LeaseAnswer {
        let now = self.clock.now();
        let term = self.term.borrow().clone();
        let commit = LogIndex(metrics.local_committed.map_or(0, |log_id| log_id.index()));
        let granted = match (&term, desk.book.as_mut()) {
            (Some(term), Some(book)) => {
                let office = Office {
                    first_entry: term.first_entry,
                    quorum_acknowledged: quorum_acknowledged(metrics, now),
                    commit,
                };
                book.request(now.0, request, &office)
            }
            _ => Err(Denial::NotLeading),
        };
        LeaseAnswer {
            reading: request.reading,
            incarnation: request.incarnation,
            granted,
            stable: self.published.stable(),
            commit,
            time: term.map(|term| term.cluster_time(now)),
        }
    }
}

/// The metrics as they are now.
fn latest(metrics: &mut openraft::type_config::alias::WatchReceiverOf<Types, Metrics>) -> Metrics {
    metrics.borrow_and_update().clone()
}

/// When the leader sent the last round that a quorum has answered, by this node's clock. A leader that is
/// the only voter is its own quorum at any time.
pub(crate) fn quorum_acknowledged(metrics: &Metrics, now: Moment) -> Option<Duration> {
    let voters = metrics.membership_config.membership().voter_ids().count();
    if voters == 1 {
        return Some(now.0);
    }
    let acknowledged = metrics.last_quorum_acked?;
    Some(now.0.saturating_sub(acknowledged.into_inner().elapsed()))
}
