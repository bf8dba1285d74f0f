//! The leader's end of proposals: coalesces the batches of all nodes into one entry, stamps it, and hands
//! it to consensus.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::errors::ClientWriteError;
use stickler_core::ids::LogIndex;
use stickler_core::state::{Batch, Command, Outcome, Stamp};
use stickler_rt::{BoxFuture, Clock, Shutdown, wall_clock, watch};
use tokio::sync::{mpsc, oneshot};

use crate::office::Term;
use crate::peers::NotCommitted;
use crate::published::Published;
use crate::raft::{LoggedBatch, Outcomes, Raft};

/// Commands in one entry: about half a megabyte of binds, a few milliseconds of disk.
const ENTRY: usize = 8192;

/// Entries under way at once: one is being synced and sent while the next gathers and is appended.
const UNDER_WAY: usize = 2;

/// Batches of nodes that may wait. Each node keeps two under way.
const WAITING: usize = 256;

type Result<T> = std::result::Result<T, NotCommitted>;
type Reply = oneshot::Sender<Result<(LogIndex, Vec<Outcome>)>>;

struct Submitted {
    commands: Vec<Command>,
    reply: Reply,
}

/// Takes batches to the log, if this node leads. Clones feed the same queue.
#[derive(Clone)]
pub(crate) struct LeaderLog {
    queue: mpsc::Sender<Submitted>,
}

impl LeaderLog {
    /// Waits until the commands are committed and applied here.
    pub(crate) async fn propose(&self, commands: Vec<Command>) -> Result<(LogIndex, Vec<Outcome>)> {
        let (reply, outcome) = oneshot::channel();
        self.queue.send(Submitted { commands, reply }).await.map_err(|_| NotCommitted::NotLeading)?;
        outcome.await.unwrap_or(Err(NotCommitted::Unknown))
    }

    /// Whether the node's part in consensus has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.queue.is_closed()
    }
}

/// The one task that writes entries of commands.
pub(crate) struct LeaderLogOwner {
    pub(crate) raft: Raft,
    pub(crate) clock: Clock,
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) published: Arc<Published>,
    pub(crate) queue: LeaderLogQueue,
}

/// The receiving end of a [`LeaderLog`].
pub(crate) struct LeaderLogQueue(mpsc::Receiver<Submitted>);

/// A queue of batches, and its two ends.
pub(crate) fn leader_log() -> (LeaderLog, LeaderLogQueue) {
    let (queue, submitted) = mpsc::channel(WAITING);
    (LeaderLog { queue }, LeaderLogQueue(submitted))
}

/// An entry on its way, with whom to tell: how many of its commands, in order, are whose.
struct Entry {
    commands: Vec<Command>,
    replies: Vec<(usize, Reply)>,
}

impl LeaderLogOwner {
    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut under_way: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        loop {
            let room = under_way.len() < UNDER_WAY;
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                Some(()) = under_way.next() => {}
                submitted = self.queue.0.recv(), if room => match submitted {
                    Some(first) => {
                        if let Some(write) = self.write(first).await {
                            under_way.push(write);
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// Gathers what waits into one entry and hands it to consensus; the future ends when all are told.
    async fn write(&mut self, first: Submitted) -> Option<BoxFuture<'static, ()>> {
        let entry = self.gather(first);
        let Some(term) = self.term.borrow().clone() else {
            entry.fail(NotCommitted::NotLeading);
            return None;
        };
        let stamp = self.stamp(&term);
        let Entry { commands, replies } = entry;
        let batch = LoggedBatch(Arc::new(Batch { stamp, commands }));
        let (responder, outcome) = openraft::impls::ProgressResponder::complete_only();
        if self.raft.client_write_ff(batch, Some(responder)).await.is_err() {
            fail_all(replies, NotCommitted::Unknown);
            return None;
        }
        Some(Box::pin(async move {
            match outcome.await {
                Ok(Ok(written)) => {
                    let index = LogIndex(written.log_id.index());
                    answer(replies, index, written.data);
                }
                // Refused before it was appended: nothing has happened.
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => fail_all(replies, NotCommitted::NotLeading),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "an entry has no outcome");
                    fail_all(replies, NotCommitted::Unknown);
                }
                Err(_) => fail_all(replies, NotCommitted::Unknown),
            }
        }))
    }

    fn gather(&mut self, first: Submitted) -> Entry {
        let mut entry = Entry { commands: first.commands, replies: Vec::new() };
        entry.replies.push((entry.commands.len(), first.reply));
        while entry.commands.len() < ENTRY {
            let Ok(next) = self.queue.0.try_recv() else { break };
            entry.replies.push((next.commands.len(), next.reply));
            entry.commands.extend(next.commands);
        }
        entry
    }

    fn stamp(&self, term: &Term) -> Stamp {
        let wall = wall_clock(&self.clock).duration_since(UNIX_EPOCH).unwrap_or_default();
        Stamp {
            time: term.cluster_time(self.clock.now()),
            stable: self.published.stable(),
            wall: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Entry {
    fn fail(self, reason: NotCommitted) {
        fail_all(self.replies, reason);
    }
}

fn fail_all(replies: Vec<(usize, Reply)>, reason: NotCommitted) {
    for (_, reply) in replies {
        let _ = reply.send(Err(reason));
    }
}

fn answer(replies: Vec<(usize, Reply)>, index: LogIndex, outcomes: Outcomes) {
    let mut outcomes = outcomes.0.into_iter();
    for (count, reply) in replies {
        let _ = reply.send(Ok((index, outcomes.by_ref().take(count).collect())));
    }
}
