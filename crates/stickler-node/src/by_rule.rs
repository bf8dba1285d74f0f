//! Ends or moves the sessions that a rule means, many in one log entry and at some pace. Each command carries the
//! epoch that was seen, so that a session which has moved or begun meanwhile is left alone.

use std::time::Duration;

use futures::future::join_all;
use stickler_core::by_rule::{Deed, Given, Rule, Tally};
use stickler_core::ids::{Epoch, LogIndex};
use stickler_core::lease::Footing;
use stickler_core::receipt::{Receipt, Wait};
use stickler_core::state::{Command, MarkOutcome, Outcome, RebindRefusal, SessionKey};
use stickler_raft::{Cluster, Persistence, ProposeError};
use stickler_rt::Moment;

/// Longest wait for the outcome of a batch, for this node to apply it, and for the receipt.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sessions that one walk through the table finds. Walking again is cheaper than keeping millions of names.
const FOUND: usize = 5000;

/// Batches in a second, where the pace is that high.
const BATCHES: u32 = 20;

/// The most sessions in a second.
pub const FASTEST: u32 = 100_000;

/// A session and the epoch by which it was seen.
pub type Seen = (SessionKey, Epoch);

/// Why a job ended early. What it has done by then is done; the same rule given again does the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// The node holds no lease, so its view may be old: ask another node.
    #[error("this node holds no lease, so its view may be old: ask another node")]
    NoLease,
    /// The node does not come to see what it has proposed: check its disk and its connections.
    #[error("this node has not applied its own changes in time")]
    Behind,
    /// There are as many marks against old tokens as there may be: try again in ten minutes.
    #[error("there were too many different rules in the last ten minutes: try again later")]
    TooManyMarks,
    /// The backend takes no more sessions: see `backend list`.
    #[error("{0}")]
    Refused(RebindRefusal),
    /// A proposal has no outcome.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The node is stopping, or has gone wrong.
    #[error("the sessions could not be gone through")]
    Walk,
}

/// A rule that is being carried out. Ends when it is dropped.
pub struct Job {
    cluster: Cluster,
    rule: Rule,
    deed: Deed,
    given: Given,
    meant: u64,
    tally: Tally,
    /// From the last walk.
    found: Vec<Seen>,
    batch: usize,
    pause: Duration,
    next_at: Moment,
}

impl Job {
    /// How many sessions a rule means; changes nothing.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn count(cluster: &Cluster, rule: Rule) -> Result<u64, Stopped> {
        leased(cluster)?;
        count(cluster, rule, given(cluster)).await
    }

    /// Takes a rule in, to be carried out at `rate` sessions a second. Where sessions are to end, tokens without a
    /// record bring none back from here on that the rule means.
    ///
    /// # Errors
    /// [`Stopped`]; nothing has happened, but for the mark against old tokens.
    pub async fn begin(cluster: &Cluster, rule: Rule, deed: Deed, rate: u32) -> Result<Self, Stopped> {
        leased(cluster)?;
        let index = match rule.mark().filter(|_| deed == Deed::Unbind) {
            Some(mark) => {
                let proposed =
                    cluster.propose(Command::NotBefore(mark), PATIENCE, Persistence::Retry).await?;
                if proposed.outcome == Outcome::Marked(MarkOutcome::Full) {
                    return Err(Stopped::TooManyMarks);
                }
                proposed.index
            }
            None => cluster.view().applied,
        };
        // What was bound before the mark is there, and what is bound after it knows the mark.
        applies(cluster, index).await?;
        let given = given(cluster);
        let meant = count(cluster, rule, given).await?;
        let rate = rate.clamp(1, FASTEST);
        let batch = (rate / BATCHES).max(1);
        Ok(Self {
            cluster: cluster.clone(),
            rule,
            deed,
            given,
            meant,
            tally: Tally { index, ..Tally::default() },
            found: Vec::new(),
            batch: usize::try_from(batch).unwrap_or(usize::MAX),
            pause: Duration::from_secs(1) * batch / rate,
            next_at: cluster.outside().clock.now(),
        })
    }

    /// The next sessions, when their time has come; none when all is done.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn next(&mut self) -> Result<Vec<Seen>, Stopped> {
        let clock = &self.cluster.outside().clock;
        clock.sleep_until(self.next_at).await;
        self.next_at = clock.now() + self.pause;
        leased(&self.cluster)?;
        if self.found.is_empty() {
            // Until then the table shows sessions that have ended.
            applies(&self.cluster, self.tally.index).await?;
            let (rule, given) = (self.rule, self.given);
            let found = self.cluster.walk(move |view| rule.find(given, view, FOUND)).await;
            self.found = found.map_err(|_| Stopped::Walk)?;
        }
        let rest = self.found.len().saturating_sub(self.batch);
        Ok(self.found.split_off(rest))
    }

    /// Does it to these sessions.
    ///
    /// # Errors
    /// [`Stopped`]; what could be done is done and counted.
    pub async fn carry_out(&mut self, sessions: &[Seen]) -> Result<(), Stopped> {
        let proposing = sessions.iter().map(|(session, epoch)| {
            // A second attempt is harmless: the epoch is a precondition.
            self.cluster.propose(self.deed.command(*session, *epoch), PATIENCE, Persistence::Retry)
        });
        let mut failed = None;
        for answer in join_all(proposing).await {
            match answer {
                Ok(answer) => self.tally.count(answer.index, &answer.outcome),
                Err(error) => failed = Some(error),
            }
        }
        match (self.tally.refusal, failed) {
            (Some(refusal), _) => Err(Stopped::Refused(refusal)),
            (None, Some(error)) => Err(Stopped::Propose(error)),
            (None, None) => Ok(()),
        }
    }

    /// How many sessions the rule meant when it was given.
    #[must_use]
    pub const fn meant(&self) -> u64 {
        self.meant
    }

    /// What has come of them so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The receipt for all that was done.
    pub async fn receipt(&self) -> Receipt {
        self.cluster.receipt(self.tally.index, Wait::Leased, PATIENCE).await
    }
}

async fn count(cluster: &Cluster, rule: Rule, given: Given) -> Result<u64, Stopped> {
    cluster.walk(move |view| rule.count(given, view)).await.map_err(|_| Stopped::Walk)
}

fn given(cluster: &Cluster) -> Given {
    let view = cluster.view();
    Given { epoch: view.epoch, time: view.time.max(cluster.standing().time) }
}

fn leased(cluster: &Cluster) -> Result<(), Stopped> {
    if cluster.standing().footing == Footing::Leased { Ok(()) } else { Err(Stopped::NoLease) }
}

/// Waits until this node has applied an entry.
async fn applies(cluster: &Cluster, index: LogIndex) -> Result<(), Stopped> {
    let mut changes = cluster.changes();
    let applied = async { while cluster.view().applied < index && changes.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, applied).await.map_err(|_| Stopped::Behind)
}
