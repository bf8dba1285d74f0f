//! Sessions that an operator means by a rule and not by their names: which they are, what is done to them, and
//! what has come of it.

use std::time::Duration;

use crate::ids::{AffinityId, BackendId, Epoch, LogIndex};
use crate::state::{
    Binding, Command, MoveReason, NotBefore, Outcome, RETURN_WINDOW, Rebind, RebindOutcome, RebindRefusal,
    Record, SessionKey, Unbind, UnbindOutcome, View,
};
use crate::time::ClusterTime;

/// Which sessions. What is `None` narrows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Of this affinity.
    pub affinity: Option<AffinityId>,
    /// On this backend.
    pub backend: Option<BackendId>,
    /// Begun longer ago than this.
    pub older_than: Option<Duration>,
}

/// When a rule was given. It means the sessions that were there then: later ones, and those that have moved since,
/// have a higher epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The last epoch that was drawn.
    pub epoch: Epoch,
    /// Cluster time.
    pub time: ClusterTime,
}

/// What is done to the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// They end.
    Unbind,
    /// They move to this backend.
    Move {
        /// The backend.
        to: BackendId,
    },
}

impl Rule {
    /// Whether the rule means this session.
    #[must_use]
    pub fn means(&self, given: Given, session: &SessionKey, binding: &Binding) -> bool {
        binding.epoch <= given.epoch
            && self.affinity.is_none_or(|affinity| affinity == session.affinity)
            && self.backend.is_none_or(|backend| backend == binding.backend)
            && self.older_than.is_none_or(|age| given.time.since(binding.bound_at) > age)
    }

    /// Sessions that the rule means: all of them or, if there are more, `most`, which is above 0.
    #[must_use]
    pub fn find(&self, given: Given, view: &View, most: usize) -> Vec<(SessionKey, Epoch)> {
        let mut found = Vec::new();
        view.table.visit(|session, record| {
            if let Record::Binding(binding) = record
                && self.means(given, session, binding)
            {
                found.push((*session, binding.epoch));
            }
            found.len() < most
        });
        // The table yields them in no order; with one, a seed of the simulation is one run.
        found.sort_unstable();
        found
    }

    /// How many sessions the rule means.
    #[must_use]
    pub fn count(&self, given: Given, view: &View) -> u64 {
        let mut count = 0;
        view.table.visit(|session, record| {
            count += u64::from(matches!(record, Record::Binding(of) if self.means(given, session, of)));
            true
        });
        count
    }

    /// What keeps tokens without a record from bringing sessions back that the rule means. `None` when those of
    /// that age bring nothing back anyway.
    #[must_use]
    pub fn mark(&self) -> Option<NotBefore> {
        let age = self.older_than.unwrap_or_default();
        (age < RETURN_WINDOW).then(|| NotBefore {
            affinity: self.affinity,
            backend: self.backend,
            age: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Deed {
    /// The command that does it to one session, if that still has this epoch.
    #[must_use]
    pub const fn command(self, session: SessionKey, epoch: Epoch) -> Command {
        match self {
            Self::Unbind => Command::Unbind(Unbind { session, epoch }),
            Self::Move { to } => {
                Command::Rebind(Rebind { session, epoch, reason: MoveReason::Operator, candidate: Some(to) })
            }
        }
    }
}

/// What has come of a rule so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sessions that were ended or moved.
    pub done: u64,
    /// Sessions that had a newer epoch by then, and were left alone.
    pub superseded: u64,
    /// Sessions that had ended by themselves.
    pub gone: u64,
    /// Sessions that the cluster refused to move, and why the last of them.
    pub refused: u64,
    /// See `refused`.
    pub refusal: Option<RebindRefusal>,
    /// The last log entry of all.
    pub index: LogIndex,
}

impl Tally {
    /// Counts what came of one command of a [`Deed`]. Other outcomes count for nothing.
    pub fn count(&mut self, index: LogIndex, outcome: &Outcome) {
        self.index = self.index.max(index);
        match outcome {
            Outcome::Unbind(UnbindOutcome::Unbound) | Outcome::Rebind(RebindOutcome::Moved(_)) => {
                self.done += 1;
            }
            Outcome::Unbind(UnbindOutcome::Superseded(_)) | Outcome::Rebind(RebindOutcome::Superseded(_)) => {
                self.superseded += 1;
            }
            Outcome::Unbind(UnbindOutcome::NotBound) | Outcome::Rebind(RebindOutcome::NotBound) => {
                self.gone += 1;
            }
            Outcome::Rebind(RebindOutcome::Refused(refusal)) => {
                self.refused += 1;
                self.refusal = Some(*refusal);
            }
            Outcome::Bind(_)
            | Outcome::Admin(_)
            | Outcome::Rotate(_)
            | Outcome::Marked(_)
            | Outcome::Job(_)
            | Outcome::Noted => {}
        }
    }
}
