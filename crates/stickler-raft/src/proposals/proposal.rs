//! What is proposed, and what came of it.

use std::time::Duration;

use stickler_core::ids::LogIndex;
use stickler_core::state::{Command, Outcome};
use stickler_rt::{Clock, Moment};
use tokio::sync::{mpsc, oneshot};

/// Proposals that may wait on one node. More means that no leader has been found for a while, or that the
/// cluster is overrun: refusing is better than growing.
const WAITING: usize = 65_536;

/// What a committed command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The log entry.
    pub index: LogIndex,
    /// What `apply` decided.
    pub outcome: Outcome,
}

/// Why a proposal has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader took it in time; nothing has happened. Check that a majority of the nodes is up.
    #[error("no leader could be reached; nothing has happened")]
    Unavailable,
    /// It may have been committed, or may still be. Look at the state before trying again.
    #[error("the outcome is unknown: it may have happened, or may still")]
    Unknown,
    /// Too many proposals wait on this node; nothing has happened.
    #[error("too many proposals are waiting; nothing has happened")]
    Overloaded,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
}

/// What to do when the outcome of an attempt is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Try again until the deadline: the command's own precondition makes that harmless.
    Retry,
    /// Say so: a second attempt would be refused by the first one's effect, and hide that it happened.
    Report,
}

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) command: Command,
    pub(crate) deadline: Moment,
    pub(crate) persistence: Persistence,
    /// Whether an attempt was made whose outcome is unknown.
    pub(crate) unsure: bool,
    pub(crate) answer: oneshot::Sender<Result<Answer, ProposeError>>,
}

impl Proposal {
    pub(crate) fn fail(self, error: ProposeError) {
        // Whoever asked may have gone; nobody else wants to know.
        let _ = self.answer.send(Err(error));
    }

    /// Ends a proposal whose time is over.
    pub(crate) fn expire(self) {
        let error = if self.unsure { ProposeError::Unknown } else { ProposeError::Unavailable };
        self.fail(error);
    }
}

/// Takes proposals. Clones feed the same queue.
#[derive(Clone, Debug)]
pub struct Proposals {
    queue: mpsc::Sender<Proposal>,
    clock: Clock,
}

impl Proposals {
    pub(crate) fn new(clock: Clock) -> (Self, mpsc::Receiver<Proposal>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { queue, clock }, waiting)
    }

    /// Proposes `command` and waits for its outcome, `patience` at most.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(
        &self,
        command: Command,
        patience: Duration,
        persistence: Persistence,
    ) -> Result<Answer, ProposeError> {
        let (answer, outcome) = oneshot::channel();
        let deadline = self.clock.now() + patience;
        let proposal = Proposal { command, deadline, persistence, unsure: false, answer };
        self.queue.try_send(proposal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopped,
        })?;
        outcome.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Proposes `command` without waiting; what it reports is reported again later if it is lost.
    pub fn submit(&self, command: Command, patience: Duration) {
        let (answer, _) = oneshot::channel();
        let deadline = self.clock.now() + patience;
        let proposal = Proposal { command, deadline, persistence: Persistence::Retry, unsure: false, answer };
        if self.queue.try_send(proposal).is_err() {
            tracing::debug!("a report was dropped: the queue of proposals is full or closed");
        }
    }
}
