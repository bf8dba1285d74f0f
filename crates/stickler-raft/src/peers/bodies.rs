//! What nodes say to each other: the bodies behind the peer API's bytes, encoded by `store::codec`.
//!
//! The order of fields and variants is part of the wire format, as it is for the log.

use serde::{Deserialize, Serialize};
use stickler_core::ids::{ClusterId, DirectoryId, Incarnation, LogIndex, NodeId};
use stickler_core::lease::{LeaseAnswer, LeaseRequest};
use stickler_core::state::{Command, Outcome};

/// The version of the conversation between nodes. Nodes with another one refuse each other.
pub(crate) const PROTOCOL: u16 = 1;

/// Who speaks, to whom: carried by every call, checked by whoever is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) protocol: u16,
    /// `None` before the caller belongs to a cluster.
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) from: NodeId,
    pub(crate) from_directory: DirectoryId,
    pub(crate) from_incarnation: Incarnation,
    pub(crate) to: NodeId,
    /// `None` while the caller does not know it yet, which is enough for a greeting alone.
    pub(crate) to_directory: Option<DirectoryId>,
}

/// The answer to a greeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) node: NodeId,
    pub(crate) directory: DirectoryId,
    /// The cluster that the answering node belongs to.
    pub(crate) cluster: Option<ClusterId>,
    /// The directory by which that cluster's membership knows the node that greeted.
    pub(crate) knows_you_as: Option<DirectoryId>,
}

/// A batch of commands for the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProposeRequest {
    /// Numbers the batches of one stream.
    pub(crate) number: u64,
    pub(crate) commands: Vec<Command>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProposeAnswer {
    pub(crate) number: u64,
    pub(crate) result: Result<(LogIndex, Vec<Outcome>), NotCommitted>,
}

/// Why a batch has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum NotCommitted {
    /// The node that was asked does not lead; nothing has happened.
    #[error("the node that was asked does not lead")]
    NotLeading,
    /// The batch may have been committed, or may still be.
    #[error("the outcome is unknown")]
    Unknown,
}

/// What a node sends on its lease stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeaseMessage {
    /// Asks for a lease.
    Request(LeaseRequest),
    /// Reports progress, without asking.
    Applied { node: NodeId, incarnation: Incarnation, applied: LogIndex },
}

/// What the leader sends on a lease stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LeaseNews {
    /// Answers a request.
    Answer(LeaseAnswer),
    /// Announces a stable index, unasked.
    Stable(LogIndex),
}

/// Describes the snapshot whose bytes follow on the stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SnapshotIntroduction {
    pub(crate) vote: openraft::type_config::alias::VoteOf<crate::raft::Types>,
    pub(crate) meta: openraft::type_config::alias::SnapshotMetaOf<crate::raft::Types>,
}
