//! What openraft is told about this project: the types of its log, its members and its answers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use openraft::impls::leader_id_std;
use openraft_rt::deterministic_rng::DeterministicRng;
use serde::{Deserialize, Serialize};
use stickler_core::ids::DirectoryId;
use stickler_core::state::{Batch, Outcome};

use crate::machine::StateMachine;
use crate::runtime::OrderedRuntime;

openraft::declare_raft_types!(
    /// The types by which this project uses openraft. Randomness comes from a seed of the node's own, so
    /// that a simulation repeats.
    pub Types:
        D = LoggedBatch,
        R = Outcomes,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = DeterministicRng<OrderedRuntime>,
);

/// The consensus core of one node.
pub(crate) type Raft = openraft::Raft<Types, StateMachine>;

/// A position in the log with the term that wrote it.
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<Types>;

/// A batch of commands as the log holds it: shared, since the log, the tail cache and every link to a peer
/// hold it at the same time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoggedBatch(pub Arc<Batch>);

impl fmt::Debug for LoggedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LoggedBatch {
    /// Says how much there is, not what: commands hold clients' keys and the cluster's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands at {}", self.0.commands.len(), self.0.stamp.time)
    }
}

/// What a batch came to, one outcome for each command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outcomes(pub Vec<Outcome>);

/// What the membership says of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where the other nodes reach it.
    pub address: SocketAddr,
    /// The data directory that is this member: a node that comes with another one is not it.
    pub directory: DirectoryId,
}
