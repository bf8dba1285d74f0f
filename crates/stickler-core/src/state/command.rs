//! What the log holds: batches of commands under one stamp. Proposers only propose; `apply` decides.
//!
//! Every command carries its precondition (an epoch, a revision, a report number, or the index that its
//! proposer had seen), so that a retry after an unknown outcome can't hit a newer session.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::jobs::{AtDeadline, Work};
use super::record::{MoveReason, SessionKey};
use super::verdict::Finding;
use crate::affinity::sealing::SealingKeyId;
use crate::discovery::DiscoveredBackend;
use crate::document::cluster::{ClusterDocument, Rate};
use crate::ids::{
    AffinityId, BackendId, ClusterId, Epoch, Incarnation, JobId, KeyHash, LogIndex, NodeId, PoolId, Revision,
};
use crate::secrets::KeptSecret;
use crate::time::ClusterTime;

/// One log entry. The order of the variants and fields below is part of the log's format: new ones go to
/// the end of an enum, and a change of a struct is a new format version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// What the leader knew when it proposed the entry.
    pub stamp: Stamp,
    /// Applied in order, each seeing the effects of those before it.
    pub commands: Vec<Command>,
}

/// What the leader adds to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Cluster time by the leader's monotonic clock.
    pub time: ClusterTime,
    /// The stable index that the leader has announced.
    pub stable: LogIndex,
    /// The leader's wall clock in milliseconds since 1970, shown to people and used by no decision.
    pub wall: u64,
}

/// A change that is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster's birth.
    Found(Found),
    /// Create a binding, or learn of the one that is there.
    Bind(Bind),
    /// Move a binding to another backend.
    Rebind(Rebind),
    /// End a binding.
    Unbind(Unbind),
    /// Report the use of sessions.
    Touch(Touch),
    /// End bindings and aliases whose time is over.
    Expire(Expire),
    /// Report what a node's checks of a backend found.
    Report(Report),
    /// Ask every voter to check a backend at once.
    Suspect(Suspect),
    /// Change a backend's admin state.
    SetAdmin(SetAdmin),
    /// Replace the cluster document.
    ApplyDocument(Box<ApplyDocument>),
    /// Add a sealing key.
    RotateKey(RotateKey),
    /// Keep tokens without a record from bringing back what an operator has ended.
    NotBefore(NotBefore),
    /// Report what a node served while it was cut off.
    ServedIsolated(ServedIsolated),
    /// Begin a job.
    StartJob(StartJob),
    /// Pause a job, let it go on, or end it.
    ChangeJob(ChangeJob),
    /// Announce that sessions are about to move.
    Announce(Announce),
    /// Take that back.
    Withdraw(Withdraw),
    /// Report that a node holds the requests of announced sessions, and that none of theirs goes on.
    Quiet(Quiet),
    /// Take in what a pool's name leads to.
    Discover(Discover),
    /// Remove backends whose leave is over.
    Retire(Retire),
}

/// The cluster's birth: drawn by its founder, fixed for ever. A second one changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Found {
    /// The cluster's name.
    pub cluster: ClusterId,
    /// Key of the affinity-key hash. Never changes: every stored key depends on it.
    pub hash_key: KeptSecret,
    /// Secret of the first sealing key of cookies.
    pub sealing_secret: KeptSecret,
}

/// Create a binding, or learn of the one that is there: the first binder wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The session.
    pub session: SessionKey,
    /// What the proposer knows about where the session is.
    pub origin: Origin,
    /// The applied index of the view by which the proposer found no binding. If a session of this key has
    /// ended since, the bind belongs to the ended session and is refused.
    pub seen: LogIndex,
    /// Cluster time after which the bind is refused, since its proposer has given up.
    pub deadline: ClusterTime,
}

/// Where a bind comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Nothing was sent yet: the candidate is advice, `apply` may choose another of the pool.
    Place {
        /// Where to choose from.
        pool: PoolId,
        /// The proposer's choice.
        candidate: Option<BackendId>,
    },
    /// This backend already holds the session: this one or a refusal.
    Adopt {
        /// The backend that created the session.
        backend: BackendId,
    },
    /// A new identifier of a session that is bound: the old key becomes an alias of the new one.
    Inherit {
        /// The session's identifier until now, under the same affinity.
        from: KeyHash,
        /// The epoch by which the request that changed the identifier was routed. If it has ended, the
        /// new identifier is adopted as a session of its own.
        epoch: Epoch,
        /// The backend that changed it.
        backend: BackendId,
    },
    /// A client shows a token without a record, as long as that is good: this backend, or another one of the pool when
    /// this one can't have it.
    Return {
        /// Where to choose from when the backend is gone.
        pool: PoolId,
        /// The backend that the token names.
        backend: BackendId,
        /// When the token was sealed.
        issued: ClusterTime,
    },
}

/// Move a binding to another backend, if its epoch is still this one and the reason holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebind {
    /// The session.
    pub session: SessionKey,
    /// The epoch that the proposer wants to end.
    pub epoch: Epoch,
    /// Why.
    pub reason: MoveReason,
    /// The proposer's choice: advice, except for [`MoveReason::Operator`].
    pub candidate: Option<BackendId>,
}

/// End a binding, if its epoch is still this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unbind {
    /// The session.
    pub session: SessionKey,
    /// The epoch that the proposer wants to end.
    pub epoch: Epoch,
}

/// Uses of sessions, reported by one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The sessions that were used.
    pub uses: Vec<Use>,
}

/// One session's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The session.
    pub session: SessionKey,
    /// The epoch by which it was used.
    pub epoch: Epoch,
    /// How long before the report the use was, in milliseconds: an age means the same on every clock.
    pub age: u64,
}

/// End records whose time is over. `apply` checks each against its own time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expire {
    /// The records, each with the epoch that is to end.
    pub sessions: Vec<(SessionKey, Epoch)>,
}

/// What a node's checks of a backend found: sent at each transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The node that checked.
    pub node: NodeId,
    /// Its process.
    pub incarnation: Incarnation,
    /// Number of the report within the process: an older one that arrives late changes nothing.
    pub sequence: u64,
    /// The backend.
    pub backend: BackendId,
    /// What was found.
    pub finding: Finding,
}

/// A node found a backend unreachable in real traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// The node that noticed.
    pub node: NodeId,
    /// The backend.
    pub backend: BackendId,
}

/// Change a backend's admin state, if its revision is still this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAdmin {
    /// The backend.
    pub backend: BackendId,
    /// The state it shall have.
    pub admin: Admin,
    /// The backend's revision that the operator saw.
    pub expected: Revision,
}

/// A backend's admin state as an operator asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admin {
    /// New and bound sessions.
    Ready,
    /// Bound sessions only; with a deadline in milliseconds from now, after which they move.
    Drain {
        /// `None`: bound sessions stay until they end.
        deadline: Option<u64>,
    },
    /// No sessions at all.
    Maint,
}

/// Replace the cluster document, if its revision is still this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyDocument {
    /// The checked document.
    pub document: ClusterDocument,
    /// The revision that the operator saw.
    pub expected: Revision,
    /// What becomes of the sessions of backends that it no longer names.
    pub removal: Removal,
}

/// What becomes of the sessions of backends that are named no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// They stay until they end, or until the deadline, in milliseconds from now on.
    Drain {
        /// `None`: the one of their pool.
        deadline: Option<u64>,
    },
    /// They move, or end, with their next request, as their affinity says.
    Now,
}

/// Take in what a pool's name leads to, if what it led to still has this revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discover {
    /// The pool.
    pub pool: PoolId,
    /// The revision of what was discovered when the question was asked.
    pub expected: Revision,
    /// All of them, [`MOST_DISCOVERED`](crate::discovery::MOST_DISCOVERED) at most.
    pub backends: Vec<DiscoveredBackend>,
}

/// Remove backends that were leaving. `apply` checks each by its own time and counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retire {
    /// The backends.
    pub backends: BTreeSet<BackendId>,
}

/// Add a sealing key, if the newest one is still this one. It seals once the stable index has passed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateKey {
    /// The newest key that the proposer saw.
    pub expected: SealingKeyId,
    /// Secret of the key after it.
    pub secret: KeptSecret,
}

/// Keep tokens without a record from bringing sessions back, if they were issued before this entry. Doing it again
/// only makes the mark younger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotBefore {
    /// Of this affinity; `None` for all.
    pub affinity: Option<AffinityId>,
    /// For this backend; `None` for all.
    pub backend: Option<BackendId>,
    /// How long before the entry a token may have been issued all the same, in milliseconds of cluster time.
    pub age: u64,
}

/// What a node served while it was cut off, as far as it may conflict with what the others did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedIsolated {
    /// The node.
    pub node: NodeId,
    /// The sessions.
    pub served: Vec<Served>,
}

/// A session that a cut-off node served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The session.
    pub session: SessionKey,
    /// The epoch by which it was routed; 0 for a token without a record.
    pub epoch: Epoch,
    /// The backend that got its requests.
    pub backend: BackendId,
    /// How many there were.
    pub requests: u64,
}

/// Begin a job, if the newest one is still this one. See [`Job`](super::Job) for what the fields mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartJob {
    /// The newest job that the operator saw; 0 for none.
    pub expected: JobId,
    /// What is to be done.
    pub work: Work,
    /// In which pool; of a rebalance alone.
    pub pool: Option<PoolId>,
    /// Sessions of this affinity alone.
    pub affinity: Option<AffinityId>,
    /// How fast.
    pub rate: Rate,
    /// How long the requests of a session are held.
    pub hold: Duration,
    /// How long from now on it may take.
    pub deadline: Option<Duration>,
    /// What becomes of sessions that are left then.
    pub at_deadline: AtDeadline,
    /// Who is told of each session before it moves.
    pub hook: Option<String>,
}

/// Change a job's state, if its revision is still this one and it is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeJob {
    /// The job.
    pub job: JobId,
    /// The revision that the proposer saw.
    pub expected: Revision,
    /// What becomes of it.
    pub change: JobChange,
}

/// What becomes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobChange {
    /// It rests.
    Pause,
    /// It goes on.
    Resume,
    /// An operator ends it.
    Cancel,
    /// It has done what it could.
    Finish {
        /// Sessions that are left.
        left: u64,
    },
}

/// Announce that sessions are about to move, each if it still has this epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// The job.
    pub job: JobId,
    /// The sessions.
    pub sessions: Vec<(SessionKey, Epoch)>,
}

/// Take announced moves back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// The job.
    pub job: JobId,
    /// The sessions.
    pub sessions: Vec<(SessionKey, Epoch)>,
    /// Why.
    pub why: Withdrawn,
}

/// Why an announced move was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Withdrawn {
    /// An exchange went on for too long.
    NotQuiet,
    /// The application did not take its state out.
    HookFailed,
}

/// A node holds the requests of these sessions, whose moves are announced, and no exchange of theirs goes on there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// The node.
    pub node: NodeId,
    /// The sessions.
    pub sessions: Vec<(SessionKey, Epoch)>,
}
