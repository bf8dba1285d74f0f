//! What must hold of every history, as predicates that share no code with what they check.
//!
//! Property tests feed every change, the simulator what each node shows at each tick, and the chaos checker
//! what it recorded. An observer that missed something only finds less: nothing here takes an absence for
//! a violation.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::document::cluster::Affinity;
use crate::ids::{BackendId, Epoch, LogIndex, NodeId};
use crate::state::{AdminState, Binding, Catalog, Cause, MoveReason, Record, SessionKey, Verdict, View};
use crate::time::ClusterTime;

/// A broken promise, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// I1.
    #[error("I1 Agreement: epoch {epoch} of {session:?} is on two backends: {first:?} and {other:?}")]
    Agreement {
        /// The session.
        session: SessionKey,
        /// Its epoch that has two backends.
        epoch: Epoch,
        /// Who showed the first one, and which.
        first: (NodeId, BackendId),
        /// Who showed the other one, and which.
        other: (NodeId, BackendId),
    },
    /// I2.
    #[error("I2 MonotoneEpochs: {session:?} had epoch {before:?} and then {after:?}")]
    MonotoneEpochs {
        /// The session.
        session: SessionKey,
        /// A log index and the epoch at it.
        before: (LogIndex, Epoch),
        /// A later index and its lower epoch.
        after: (LogIndex, Epoch),
    },
    /// I3.
    #[error("I3 NoUnforcedMove: {session:?} at index {index}: {before:?} became {after:?}")]
    NoUnforcedMove {
        /// The session.
        session: SessionKey,
        /// The log index of the move.
        index: LogIndex,
        /// The live binding.
        before: Box<Binding>,
        /// The one that took its place.
        after: Box<Binding>,
    },
    /// I8.
    #[error("I8 OneTime: {session:?} ended at {ended_at}, not within {earliest} to {latest}")]
    OneTime {
        /// The session.
        session: SessionKey,
        /// When it ended, or when it was still there.
        ended_at: ClusterTime,
        /// Not before this.
        earliest: ClusterTime,
        /// Not after this.
        latest: ClusterTime,
    },
    /// I9.
    #[error("I9 SameState: at index {applied}, {first:?} and {other:?} have different state hashes")]
    SameState {
        /// The applied index of both.
        applied: LogIndex,
        /// A node and its hash.
        first: (NodeId, u128),
        /// Another node and its hash.
        other: (NodeId, u128),
    },
}

/// I1: one epoch of a key is on one backend.
#[must_use]
pub fn agree(first: (Epoch, BackendId), other: (Epoch, BackendId)) -> bool {
    first.0 != other.0 || first.1 == other.1
}

/// I2: at a later log index a key has no lower epoch. At the same index it may have, for an observer who
/// looks while an entry of several commands is applied.
#[must_use]
pub fn monotone(first: (LogIndex, Epoch), other: (LogIndex, Epoch)) -> bool {
    match first.0.cmp(&other.0) {
        Ordering::Less => first.1 <= other.1,
        Ordering::Equal => true,
        Ordering::Greater => first.1 >= other.1,
    }
}

/// I3: a live binding stays on its backend, or says why it left and `catalog` (as of the move) bears it out.
#[must_use]
pub fn stays_or_is_forced(before: &Binding, after: &Binding, catalog: &Catalog, now: ClusterTime) -> bool {
    if before.backend == after.backend {
        return true;
    }
    let Cause::Moved(reason) = after.cause else { return false };
    let Some(left) = catalog.backends.get(&before.backend) else {
        return matches!(
            reason,
            MoveReason::BackendRemoved | MoveReason::Operator | MoveReason::BackendBack | MoveReason::Job
        );
    };
    match (reason, left.admin) {
        (MoveReason::BackendRestarted, _) => left.has_forgotten(before.epoch),
        (MoveReason::BackendBack, _) => {
            let home =
                catalog.backends.get(&after.backend).filter(|_| before.home.backend() == Some(after.backend));
            home.is_some_and(|home| home.takes_new() && !home.has_forgotten(before.epoch))
        }
        (MoveReason::BackendRemoved, _) => left.has_left(now),
        // Of a job's moves the judge looks at the jobs.
        (MoveReason::Operator | MoveReason::Job, _) | (MoveReason::BackendMaint, AdminState::Maint) => true,
        (MoveReason::BackendDown, _) => left.health.verdict == Verdict::Down,
        (MoveReason::DrainDeadline, AdminState::Drain { deadline: Some(deadline) }) => deadline <= now,
        _ => false,
    }
}

/// I8: the first and the last moment at which a session may end that was last really used at `used`.
#[must_use]
pub fn may_end(began: ClusterTime, used: ClusterTime, policy: &Affinity) -> (ClusterTime, ClusterTime) {
    let idle = used + policy.idle_timeout;
    let earliest = policy.max_age.map_or(idle, |age| idle.min(began + age));
    (earliest, earliest + policy.idle_timeout / 5)
}

/// I9: at one applied index all nodes have one state hash.
#[must_use]
pub fn same_state(first: (LogIndex, u128), other: (LogIndex, u128)) -> bool {
    first.0 != other.0 || first.1 == other.1
}

/// Everything that was observed so far, of all nodes. Grows with what it is fed: for tests and checkers,
/// not for a node that runs for years.
#[derive(Clone, Debug, Default)]
pub struct History {
    epochs: BTreeMap<SessionKey, BTreeMap<Epoch, Seen>>,
    hashes: BTreeMap<LogIndex, (NodeId, u128)>,
    /// Last real uses by the user's own record.
    uses: BTreeMap<SessionKey, ClusterTime>,
}

/// What was seen of one epoch of one key.
#[derive(Clone, Copy, Debug)]
struct Seen {
    backend: Option<(NodeId, BackendId)>,
    first: LogIndex,
    last: LogIndex,
}

impl History {
    /// Takes in a record that `node` showed when it had applied `applied` (I1, I2). Restarts and restores
    /// need no mention: an index means the same before and after.
    ///
    /// # Errors
    /// [`Violation::Agreement`], [`Violation::MonotoneEpochs`].
    pub fn record(
        &mut self,
        node: NodeId,
        applied: LogIndex,
        session: SessionKey,
        record: &Record,
    ) -> Result<(), Violation> {
        // A view's table may be newer than the view.
        let index = applied.max(record.changed_at());
        let epoch = record.epoch();
        let backend = match record {
            Record::Binding(binding) => Some((node, binding.backend)),
            Record::Alias(_) | Record::Ended(_) => None,
        };
        let epochs = self.epochs.entry(session).or_default();
        let lower = epochs.range(..epoch).next_back().map(|(lower, seen)| (seen.last, *lower));
        let higher = epochs.range(epoch.next()..).next().map(|(higher, seen)| (seen.first, *higher));
        for other in lower.into_iter().chain(higher) {
            if !monotone(other, (index, epoch)) {
                let (before, after) = (other.min((index, epoch)), other.max((index, epoch)));
                return Err(Violation::MonotoneEpochs { session, before, after });
            }
        }
        let seen = epochs.entry(epoch).or_insert(Seen { backend, first: index, last: index });
        seen.first = seen.first.min(index);
        seen.last = seen.last.max(index);
        match (seen.backend, backend) {
            (Some(first), Some(other)) if !agree((epoch, first.1), (epoch, other.1)) => {
                return Err(Violation::Agreement { session, epoch, first, other });
            }
            (None, Some(_)) => seen.backend = backend,
            _ => {}
        }
        Ok(())
    }

    /// Takes in everything that a node's view shows (I1, I2).
    ///
    /// # Errors
    /// Those of [`History::record`].
    pub fn view(&mut self, node: NodeId, view: &View) -> Result<(), Violation> {
        let mut found = Ok(());
        view.table.visit(|session, record| {
            found = self.record(node, view.applied, *session, record);
            found.is_ok()
        });
        found
    }

    /// Takes in a node's state hash (I9).
    ///
    /// # Errors
    /// [`Violation::SameState`].
    pub fn hash(&mut self, node: NodeId, applied: LogIndex, hash: u128) -> Result<(), Violation> {
        let first = *self.hashes.entry(applied).or_insert((node, hash));
        if same_state((applied, first.1), (applied, hash)) {
            Ok(())
        } else {
            Err(Violation::SameState { applied, first, other: (node, hash) })
        }
    }

    /// Takes in that one command of the entry at `index` made `after` of the live binding `before`.
    /// `catalog` and `now` are those of that moment (I3).
    ///
    /// # Errors
    /// [`Violation::NoUnforcedMove`].
    pub fn changed(
        &self,
        index: LogIndex,
        session: SessionKey,
        (before, after): (Binding, Binding),
        (catalog, now): (&Catalog, ClusterTime),
    ) -> Result<(), Violation> {
        if stays_or_is_forced(&before, &after, catalog, now) {
            Ok(())
        } else {
            Err(Violation::NoUnforcedMove {
                session,
                index,
                before: Box::new(before),
                after: Box::new(after),
            })
        }
    }

    /// Takes in a real use of a session: a request that a backend answered, not a report of one.
    pub fn used(&mut self, session: SessionKey, at: ClusterTime) {
        let last = self.uses.entry(session).or_default();
        *last = at.max(*last);
    }

    /// Takes in that a session's time was over at `now` by expiry (I8). An unbind is none.
    ///
    /// # Errors
    /// [`Violation::OneTime`] when that was too early or too late.
    pub fn expired(
        &mut self,
        session: SessionKey,
        binding: &Binding,
        policy: &Affinity,
        now: ClusterTime,
    ) -> Result<(), Violation> {
        let (earliest, latest) = self.end_of(session, binding, policy);
        self.uses.remove(&session);
        if earliest <= now && now <= latest {
            Ok(())
        } else {
            Err(Violation::OneTime { session, ended_at: now, earliest, latest })
        }
    }

    /// Takes in that a session was there at `now`, under a leader that expires without delay (I8).
    ///
    /// # Errors
    /// [`Violation::OneTime`] when it should have ended.
    pub fn lives(
        &self,
        session: SessionKey,
        binding: &Binding,
        policy: &Affinity,
        now: ClusterTime,
    ) -> Result<(), Violation> {
        let (earliest, latest) = self.end_of(session, binding, policy);
        if now <= latest {
            Ok(())
        } else {
            Err(Violation::OneTime { session, ended_at: now, earliest, latest })
        }
    }

    /// A session that nobody reported as used was used at its record's own last use, when it was bound or
    /// moved for a request.
    fn end_of(
        &self,
        session: SessionKey,
        binding: &Binding,
        policy: &Affinity,
    ) -> (ClusterTime, ClusterTime) {
        let used = self.uses.get(&session).copied().unwrap_or(binding.last_use);
        may_end(binding.bound_at, used, policy)
    }
}
