//! Ends sessions, and removes backends, whose time is over: looks at what comes due, and proposes to end it while this node
//! leads.

use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::{Epoch, Revision};
use stickler_core::state::{Command, Deadlines, Expire, Record, Retire, SessionKey, View, deadline};
use stickler_core::time::ClusterTime;
use stickler_rt::{Clock, Shutdown, watch};

use crate::blocking::Blocking;
use crate::office::Term;
use crate::proposals::LeaderLog;
use crate::published::Published;

/// Sessions in one entry.
const AT_ONCE: usize = 1000;

/// Pause between two looks. A session ends at most this much later than it could.
const PAUSE: Duration = Duration::from_millis(20);

/// When a session that was proposed, or is due on a node that does not lead, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The one task that ends sessions.
pub(crate) struct Sweeper {
    pub(crate) clock: Clock,
    pub(crate) published: Arc<Published>,
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) leader_log: LeaderLog,
    pub(crate) blocking: Blocking,
}

impl Sweeper {
    /// Runs until `shutdown`.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut revision = Revision(0);
        loop {
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            let view = View::clone(&self.published.view());
            if view.catalog.revision != revision {
                // Time-outs may have become shorter: what was scheduled by the old ones is too late.
                revision = view.catalog.revision;
                let all = view.clone();
                if self.blocking.run(move || schedule_all(&all)).await.is_err() {
                    return;
                }
            }
            self.sweep(&view).await;
            self.retire(&view).await;
        }
    }

    /// Removes the backends whose leave is over.
    async fn retire(&self, view: &View) {
        let Some(term) = self.term.borrow().clone() else { return };
        let backends = view.catalog.have_left(&view.counts, term.cluster_time(self.clock.now()));
        if backends.is_empty() {
            return;
        }
        let command = Command::Retire(Retire { backends });
        if let Err(error) = self.leader_log.propose(vec![command]).await {
            tracing::debug!(%error, "the removal of backends was not committed; it is proposed again");
        }
    }

    async fn sweep(&self, view: &View) {
        let term = self.term.borrow().clone();
        let now = term.as_ref().map_or(view.time, |term| term.cluster_time(self.clock.now()));
        let due = view.deadlines.due(now, AT_ONCE);
        let over: Vec<(SessionKey, Epoch)> =
            due.into_iter().filter_map(|session| judge(view, &view.deadlines, session, now)).collect();
        for (session, _) in &over {
            view.deadlines.schedule(*session, now + LOOK_AGAIN);
        }
        if term.is_some() && !over.is_empty() {
            let command = Command::Expire(Expire { sessions: over });
            if let Err(error) = self.leader_log.propose(vec![command]).await {
                tracing::debug!(%error, "an expiry was not committed; it is proposed again");
            }
        }
    }
}

/// Whether a session's time is over; one that lives on is scheduled anew.
fn judge(
    view: &View,
    deadlines: &Deadlines,
    session: SessionKey,
    now: ClusterTime,
) -> Option<(SessionKey, Epoch)> {
    let record = view.table.get(&session)?;
    let at = ends_at(view, session, &record)?;
    if at <= now {
        return Some((session, record.epoch()));
    }
    deadlines.schedule(session, at);
    None
}

/// When a record ends; `None` for one that has.
fn ends_at(view: &View, session: SessionKey, record: &Record) -> Option<ClusterTime> {
    match record {
        Record::Binding(binding) => {
            // An affinity that is gone has no sessions: they end at once.
            let policy = view.catalog.affinity(session.affinity);
            Some(policy.map_or(ClusterTime(0), |policy| deadline(binding, policy)))
        }
        Record::Alias(alias) if view.locate(session).is_none() => Some(alias.until.min(view.time)),
        Record::Alias(alias) => Some(alias.until),
        Record::Ended(_) => None,
    }
}

fn schedule_all(view: &View) {
    view.deadlines.clear();
    view.table.visit(|session, record| {
        if let Some(at) = ends_at(view, *session, record) {
            view.deadlines.schedule(*session, at);
        }
        true
    });
}
