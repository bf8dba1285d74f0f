//! Who may speak to this node: the same protocol, the same cluster, the member by the directory that the
//! membership names, and only to the directory that the caller means. Checked on every call, so that a
//! connection that outlives a change of membership ends with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use stickler_core::ids::{ClusterId, DirectoryId, NodeId};

use super::bodies::{Credentials, PROTOCOL};
use crate::raft::Member;
use crate::store::{ClusterError, IdentityStore};

/// Why a call was refused. An operator reads these in the log of both nodes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the caller sent no credentials: it is no node of this program")]
    NoCredentials,
    #[error("the caller speaks protocol {theirs}, this node {PROTOCOL}: run the same version on all nodes")]
    Protocol { theirs: u16 },
    #[error("the call is for node {meant}, this is node {own}: check the members' addresses")]
    OtherNode { meant: NodeId, own: NodeId },
    #[error(
        "the call is for data directory {meant}, this node runs on {own}: its directory was emptied or \
         exchanged; restore it, or remove the member and let it join anew"
    )]
    OtherDirectory { meant: DirectoryId, own: DirectoryId },
    #[error("the caller belongs to another cluster")]
    OtherCluster,
    #[error("the caller belongs to no cluster yet")]
    NoCluster,
    #[error(
        "node {node} comes with data directory {theirs}, the membership knows it by {known}: its directory \
         was emptied or exchanged; restore it, or remove the member and let it join anew"
    )]
    Impostor { node: NodeId, theirs: DirectoryId, known: DirectoryId },
    #[error("the cluster id could not be recorded: {0}")]
    Record(#[from] ClusterError),
}

/// Checks callers. Knows the membership as of the last change that this node has seen.
pub(crate) struct Gatekeeper {
    identity: Arc<dyn IdentityStore>,
    members: ArcSwap<BTreeMap<NodeId, Member>>,
}

impl Gatekeeper {
    pub(crate) fn new(identity: Arc<dyn IdentityStore>) -> Self {
        Self { identity, members: ArcSwap::default() }
    }

    /// Takes over the membership.
    pub(crate) fn set_members(&self, members: BTreeMap<NodeId, Member>) {
        self.members.store(Arc::new(members));
    }

    /// The membership's address and directory of a node.
    pub(crate) fn member(&self, node: NodeId) -> Option<Member> {
        self.members.load().get(&node).cloned()
    }

    /// The cluster that this node belongs to.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.identity.identity().cluster
    }

    /// What this node says of itself when it calls `to`.
    pub(crate) fn credentials(&self, to: NodeId, to_directory: Option<DirectoryId>) -> Credentials {
        let own = self.identity.identity();
        Credentials {
            protocol: PROTOCOL,
            cluster: own.cluster,
            from: own.node,
            from_directory: own.directory,
            from_incarnation: own.incarnation,
            to,
            to_directory,
        }
    }

    /// Whether a greeting may be answered.
    pub(crate) fn admit_greeting(&self, caller: &Credentials) -> Result<(), Refusal> {
        let own = self.identity.identity();
        if caller.protocol != PROTOCOL {
            return Err(Refusal::Protocol { theirs: caller.protocol });
        }
        if caller.to != own.node {
            return Err(Refusal::OtherNode { meant: caller.to, own: own.node });
        }
        Ok(())
    }

    /// Whether any other call may be answered. A node without a cluster joins that of its first caller
    /// which knows its directory: only a founder or a leader can.
    pub(crate) fn admit(&self, caller: &Credentials) -> Result<(), Refusal> {
        self.admit_greeting(caller)?;
        let own = self.identity.identity();
        match caller.to_directory {
            Some(meant) if meant == own.directory => {}
            Some(meant) => return Err(Refusal::OtherDirectory { meant, own: own.directory }),
            None => return Err(Refusal::NoCredentials),
        }
        if let Some(known) = self.member(caller.from).map(|member| member.directory)
            && known != caller.from_directory
        {
            return Err(Refusal::Impostor { node: caller.from, theirs: caller.from_directory, known });
        }
        match (caller.cluster, own.cluster) {
            (None, _) => Err(Refusal::NoCluster),
            (Some(theirs), Some(own)) if theirs != own => Err(Refusal::OtherCluster),
            (Some(_), Some(_)) => Ok(()),
            (Some(theirs), None) => Ok(self.identity.learn_cluster(theirs)?),
        }
    }
}
