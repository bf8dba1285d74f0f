//! What this node shows of itself and of its replica, in the admin API's words.

use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_core::state::Catalog;
use stickler_core::time::ClusterTime;
use stickler_proto::admin::{ListMembersReply, Member, ShowDocumentReply, StatusReply};
use stickler_raft::{Cluster, ConsensusStatus, MemberStatus};

use crate::metrics::footing_name;
use crate::readiness::Ready;

/// Cluster time as this node knows it.
pub(super) fn time(cluster: &Cluster) -> ClusterTime {
    // The clock goes on between two entries; a node that never held a lease knows the last entry's time.
    cluster.view().time.max(cluster.standing().time)
}

/// A duration in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn status(cluster: &Cluster, status: &ConsensusStatus, ready: &Ready) -> StatusReply {
    let view = cluster.view();
    let sessions = view.catalog.affinities.iter().map(|affinity| view.counts.of_affinity(*affinity)).sum();
    StatusReply {
        node: cluster.node().0,
        cluster: cluster.cluster_id().map(|id| id.to_string()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: status.role.to_owned(),
        term: status.term,
        leader: status.leader.map_or(0, |leader| leader.0),
        applied_index: status.applied.0,
        committed_index: status.committed.0,
        stable_index: status.standing.stable.0,
        footing: footing_name(status.standing.footing).to_owned(),
        lease_milliseconds: milliseconds(status.lease_left),
        state_hash: format!("{:032x}", status.state_hash),
        sessions,
        cluster_time_milliseconds: time(cluster).0,
        document_revision: view.catalog.revision.0,
        store_failed: cluster.store_failure().is_some(),
        ready: ready.answers(),
        readiness: ready.to_string(),
    }
}

pub(super) fn members(members: &[MemberStatus], leader: Option<NodeId>) -> ListMembersReply {
    let members = members.iter().map(|member| Member {
        node: member.node.0,
        peer_address: member.member.address.to_string(),
        directory: member.member.directory.to_string(),
        voter: member.voter,
        leader: leader == Some(member.node),
    });
    ListMembersReply { members: members.collect() }
}

pub(super) fn document(catalog: &Catalog) -> ShowDocumentReply {
    let text = catalog.document.as_ref().map(|document| document.source.clone()).unwrap_or_default();
    ShowDocumentReply { text, revision: catalog.revision.0 }
}
