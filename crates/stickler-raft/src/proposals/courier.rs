//! Takes a node's proposals to the leader, in batches: whatever has gathered while a batch was under way
//! is the next one. No timer: alone, a proposal travels at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use stickler_core::ids::{LogIndex, NodeId};
use stickler_core::state::{Command, Outcome};
use stickler_rt::{BoxFuture, Clock, Shutdown, watch};
use tokio::sync::mpsc;

use super::leader_log::LeaderLog;
use super::leader_stream::LeaderStream;
use super::proposal::{Answer, Persistence, Proposal, ProposeError};
use crate::peers::{Links, NotCommitted};

/// Commands in one batch.
const BATCH: usize = 4096;

/// Batches under way at once. Two keep the way to the leader busy while the first is being synced.
const UNDER_WAY: usize = 2;

/// How long to wait before asking again when nobody leads.
const NO_LEADER_PAUSE: Duration = Duration::from_millis(10);

type Tried = (Vec<Proposal>, Result<(LogIndex, Vec<Outcome>), NotCommitted>);

/// The one task that takes proposals from a node to the leader.
pub(crate) struct Courier {
    pub(crate) own: NodeId,
    pub(crate) clock: Clock,
    pub(crate) queue: mpsc::Receiver<Proposal>,
    pub(crate) leader: watch::Receiver<Option<NodeId>>,
    pub(crate) leader_log: LeaderLog,
    pub(crate) links: Arc<Links>,
}

impl Courier {
    /// Runs until `shutdown`; what waits then is answered as unknown or unavailable.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut waiting: VecDeque<Proposal> = VecDeque::new();
        let mut under_way: FuturesUnordered<BoxFuture<'static, Tried>> = FuturesUnordered::new();
        let mut stream: Option<LeaderStream> = None;
        loop {
            self.expire(&mut waiting);
            let mut pause = !waiting.is_empty();
            while under_way.len() < UNDER_WAY && !waiting.is_empty() {
                let Some(attempt) = self.attempt(&mut stream, &mut waiting) else { break };
                under_way.push(attempt);
                pause = false;
            }
            let room = waiting.len() < BATCH;
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                Some((proposals, result)) = under_way.next() => {
                    if settle(proposals, result, &mut waiting) {
                        // A refusal means that the leader is not yet known to all: give it a moment.
                        tokio::time::sleep(NO_LEADER_PAUSE).await;
                    }
                }
                received = self.queue.recv(), if room => match received {
                    Some(first) => {
                        waiting.push_back(first);
                        while waiting.len() < BATCH && let Ok(next) = self.queue.try_recv() {
                            waiting.push_back(next);
                        }
                    }
                    None => break,
                },
                changed = self.leader.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(NO_LEADER_PAUSE), if pause && under_way.is_empty() => {}
            }
        }
        for proposal in waiting {
            proposal.expire();
        }
    }

    /// Sends the next batch on its way; `None` while nobody leads.
    fn attempt(
        &self,
        stream: &mut Option<LeaderStream>,
        waiting: &mut VecDeque<Proposal>,
    ) -> Option<BoxFuture<'static, Tried>> {
        let leader = (*self.leader.borrow())?;
        let proposals: Vec<Proposal> = waiting.drain(..waiting.len().min(BATCH)).collect();
        let commands: Vec<Command> = proposals.iter().map(|proposal| proposal.command.clone()).collect();
        // The latest deadline: those whose time is over before that are answered when the batch is.
        let patience = proposals.iter().map(|proposal| proposal.deadline).max()?.since(self.clock.now());
        if leader == self.own {
            let leader_log = self.leader_log.clone();
            return Some(Box::pin(async move {
                let result = within(patience, leader_log.propose(commands)).await;
                (proposals, result)
            }));
        }
        if !stream.as_ref().is_some_and(|stream| stream.is_open_to(leader)) {
            *stream = self.links.target(leader).map(|target| LeaderStream::open(&self.links, target));
        }
        let Some(open) = stream.as_mut() else {
            waiting.extend(proposals);
            return None;
        };
        let answer = open.propose(commands);
        Some(Box::pin(async move {
            let result = within(patience, answer).await;
            (proposals, result)
        }))
    }

    fn expire(&self, waiting: &mut VecDeque<Proposal>) {
        let now = self.clock.now();
        for _ in 0..waiting.len() {
            if let Some(proposal) = waiting.pop_front() {
                if proposal.deadline <= now {
                    proposal.expire();
                } else {
                    waiting.push_back(proposal);
                }
            }
        }
    }
}

async fn within<T>(
    patience: Duration,
    attempt: impl Future<Output = Result<T, NotCommitted>>,
) -> Result<T, NotCommitted> {
    tokio::time::timeout(patience, attempt).await.unwrap_or(Err(NotCommitted::Unknown))
}

/// Answers a batch, or queues it again. Returns whether it was refused.
fn settle(
    proposals: Vec<Proposal>,
    result: Result<(LogIndex, Vec<Outcome>), NotCommitted>,
    waiting: &mut VecDeque<Proposal>,
) -> bool {
    match result {
        Ok((index, outcomes)) => {
            for (proposal, outcome) in proposals.into_iter().zip(outcomes) {
                let _ = proposal.answer.send(Ok(Answer { index, outcome }));
            }
            false
        }
        Err(NotCommitted::NotLeading) => {
            waiting.extend(proposals);
            true
        }
        Err(NotCommitted::Unknown) => {
            for mut proposal in proposals {
                if proposal.persistence == Persistence::Report {
                    proposal.fail(ProposeError::Unknown);
                } else {
                    proposal.unsure = true;
                    waiting.push_back(proposal);
                }
            }
            true
        }
    }
}
