//! What the binding table holds for a key.

use serde::{Deserialize, Serialize};

use crate::ids::{AffinityId, BackendId, Epoch, KeyHash, LogIndex, PoolId};
use crate::time::ClusterTime;

/// The name of a session: an affinity and the client's key under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// The policy that recognised the client.
    pub affinity: AffinityId,
    /// The client's identity under it.
    pub key: KeyHash,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// It belongs to a backend.
    Binding(Binding),
    /// It is an older name of another session.
    Alias(Alias),
    /// It belonged to a backend until a moment ago. Kept until every node that routes knows.
    Ended(Ended),
}

/// The replicated record (affinity, key) → backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// The backend that owns the session.
    pub backend: BackendId,
    /// The pool from which the backend was taken, and from which its successor would be.
    pub pool: PoolId,
    /// The version of this binding; every bind and rebind takes a new one.
    pub epoch: Epoch,
    /// How it came to this backend.
    pub cause: Cause,
    /// When the session began; a rebind does not change it.
    pub bound_at: ClusterTime,
    /// The last use that was reported.
    pub last_use: ClusterTime,
    /// The binding may be used by a node once the stable index has reached this position: until then a
    /// node that holds a lease may still route the key by its previous epoch. 0 when there was none.
    pub usable_from: LogIndex,
    /// The log entry that last changed this record.
    pub changed_at: LogIndex,
    /// The session was begun by a token without a record, of which its client may have more.
    pub returned: bool,
    /// The backend that it had to leave, and goes back to where its affinity says so.
    pub home: Home,
}

/// A backend that a session goes back to, in four bytes: a record is as large as before with it. An id above 2³² is none;
/// ids are counted up from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home(u32);

impl Home {
    /// Nowhere.
    pub const NONE: Self = Self(0);

    /// This backend.
    #[must_use]
    pub fn at(backend: BackendId) -> Self {
        Self(u32::try_from(backend.0).unwrap_or(0))
    }

    /// The backend, if there is one.
    #[must_use]
    pub fn backend(self) -> Option<BackendId> {
        (self.0 > 0).then_some(BackendId(u64::from(self.0)))
    }
}

/// An older identifier of a session whose application gave it a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alias {
    /// The key that the session has now (under the same affinity).
    pub to: KeyHash,
    /// The last epoch that this key had in its own right.
    pub epoch: Epoch,
    /// When the alias ends.
    pub until: ClusterTime,
    /// As for a binding: the epoch of `to` may be used for this key from here on.
    pub usable_from: LogIndex,
    /// The log entry that last changed this record.
    pub changed_at: LogIndex,
}

/// The memory of an epoch that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ended {
    /// The last epoch of the key.
    pub epoch: Epoch,
    /// When it ended.
    pub ended_at: ClusterTime,
    /// The log entry that ended it. The next epoch of the key may be used once the stable index has
    /// reached it, and a bind that was proposed by an older view is refused.
    pub changed_at: LogIndex,
    /// A token without a record may name it: it is remembered until no such token is good any more.
    pub returned: bool,
}

/// How a binding came to its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Chosen for a new session before anything was sent.
    Placed,
    /// The backend had already created the session.
    Adopted,
    /// A new identifier of a session that was already bound there.
    Inherited,
    /// Moved there.
    Moved(MoveReason),
    /// The client came back with a token without a record that names it.
    Returned,
}

/// Why a live binding changes its backend (I3). `apply` refuses a move whose reason does not hold in the
/// replicated state at that index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MoveReason {
    /// A majority of all voters reported the backend down.
    BackendDown,
    /// An operator put the backend in maint.
    BackendMaint,
    /// The backend is no longer in the cluster document.
    BackendRemoved,
    /// The backend is drained and its deadline has passed.
    DrainDeadline,
    /// An operator moved this session.
    Operator,
    /// The backend was started again and has forgotten the session.
    BackendRestarted,
    /// The backend that the session had to leave is up again, and its affinity says to go back.
    BackendBack,
    /// A job that an operator has begun moved it.
    Job,
}

impl Record {
    /// The log entry that last changed this record.
    #[must_use]
    pub const fn changed_at(&self) -> LogIndex {
        match self {
            Self::Binding(binding) => binding.changed_at,
            Self::Alias(alias) => alias.changed_at,
            Self::Ended(ended) => ended.changed_at,
        }
    }

    /// The highest epoch that this key has had in its own right (I2).
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Binding(binding) => binding.epoch,
            Self::Alias(alias) => alias.epoch,
            Self::Ended(ended) => ended.epoch,
        }
    }
}
