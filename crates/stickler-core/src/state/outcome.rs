//! What became of a command. A limit that was reached or a precondition that failed is an outcome with a
//! name, never a panic.

use serde::{Deserialize, Serialize};

use super::record::{Binding, SessionKey};
use crate::affinity::sealing::SealingKeyId;
use crate::ids::{Epoch, JobId, Revision};
use crate::time::ClusterTime;

/// One for each command, in the command's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Of a bind.
    Bind(BindOutcome),
    /// Of a rebind.
    Rebind(RebindOutcome),
    /// Of an unbind.
    Unbind(UnbindOutcome),
    /// Of a change that an operator asked for.
    Admin(AdminOutcome),
    /// Of a command that nobody waits for: a report, a touch, an expiry, the founding.
    Noted,
    /// Of a rotation of the sealing keys.
    Rotate(RotateOutcome),
    /// Of a mark.
    Marked(MarkOutcome),
    /// Of a job that was begun or changed.
    Job(JobOutcome),
}

/// Of a job that was begun or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobOutcome {
    /// Done, to this job.
    Done(JobId),
    /// Somebody was faster, or it is over: look at this job, and try again.
    Changed(JobId),
    /// This job is at work in the same pool: wait for it, or cancel it.
    Busy(JobId),
    /// There is no such backend, pool or job, or they are of different pools: look them up with `backend list`.
    Unknown,
}

/// Of a bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindOutcome {
    /// The session is bound.
    Bound {
        /// The name under which the binding is found: another key than asked for when that is an alias.
        session: SessionKey,
        /// The binding, as it was made or found.
        binding: Binding,
        /// Whether this bind made it.
        created: bool,
    },
    /// There is no binding for this proposer.
    Refused(BindRefusal),
}

/// Why a bind was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum BindRefusal {
    /// No backend of the pool takes new sessions: check `backend list`.
    #[error("no backend of the pool takes new sessions")]
    NoBackend,
    /// Every backend of the pool, or the one that was asked for, has as many sessions as it may.
    #[error("the backend has as many sessions as it may have")]
    BackendFull,
    /// The affinity has as many sessions as it may: raise `max_sessions`, or wait.
    #[error("the affinity has as many sessions as it may have")]
    AffinityFull,
    /// The cluster holds as many records as it may: raise `limits.max_bindings`.
    #[error("the cluster has as many bindings as it may have")]
    TableFull,
    /// The backend that holds the session is down, in maint, or removed.
    #[error("the backend that created the session can't keep it")]
    BackendUnusable,
    /// The key belongs to another backend than the one that created the session.
    #[error("the identifier belongs to a session on another backend")]
    OnAnotherBackend,
    /// The session that the bind belongs to has ended.
    #[error("the session has ended")]
    Ended,
    /// The bind arrived after its deadline, or its proposer had seen so little that nobody remembers whether
    /// its session has ended since.
    #[error("the bind arrived too late")]
    Late,
    /// The cluster document has no such affinity or pool any more.
    #[error("the cluster document no longer has this affinity or pool")]
    Unknown,
}

/// Of a rebind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebindOutcome {
    /// The session has a new binding.
    Moved(Binding),
    /// Somebody else was first: this is the session's binding now.
    Superseded(Binding),
    /// The session has ended.
    NotBound,
    /// It stays where it is.
    Refused(RebindRefusal),
}

/// Why a rebind was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum RebindRefusal {
    /// The replicated state does not bear out the reason (I3).
    #[error("the reason for the move does not hold")]
    ReasonDoesNotHold,
    /// No other backend of the pool takes new sessions.
    #[error("no other backend of the pool takes new sessions")]
    NoBackend,
    /// Every other backend of the pool has as many sessions as it may.
    #[error("every other backend of the pool has as many sessions as it may have")]
    BackendFull,
    /// There is no backend of this id: look it up with `backend list`.
    #[error("there is no such backend")]
    UnknownBackend,
    /// A session stays within its pool: name a backend of that pool.
    #[error("the backend belongs to another pool than the session")]
    AnotherPool,
    /// The backend that an operator named takes no sessions: `backend list` shows whether it is down, not checked
    /// yet, drained, in maint, or of weight 0.
    #[error("the backend takes no sessions")]
    BackendUnusable,
    /// There is nothing to do.
    #[error("the session is on this backend already")]
    AlreadyThere,
}

/// Of an unbind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnbindOutcome {
    /// The session has ended.
    Unbound,
    /// There was no such session.
    NotBound,
    /// The session has a newer epoch, which was left alone.
    Superseded(Epoch),
}

/// Of a change that an operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminOutcome {
    /// Done; the thing has this revision now.
    Done(Revision),
    /// It has changed since the operator looked, and has this revision now: look again.
    Changed(Revision),
    /// There is no such thing: look it up with `backend list`.
    Unknown,
}

/// Of a rotation of the sealing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotateOutcome {
    /// The key of this id was added.
    Rotated(SealingKeyId),
    /// The newest key is this one, not the one that the proposer saw: somebody was faster, or it is a retry
    /// of what has happened. 0 before the cluster's birth.
    Changed(SealingKeyId),
    /// The ring has [`MAX_SEALING_KEYS`](super::MAX_SEALING_KEYS) keys. At this cluster time the oldest one's
    /// overlap is over, and another can be added.
    Full(ClusterTime),
}

/// Of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkOutcome {
    /// Tokens without a record that were issued before this bring nothing back.
    Marked(ClusterTime),
    /// There are as many marks as there may be: try again when the oldest has had its ten minutes.
    Full,
}
