//! The node file in its checked, typed form: who this node is. What all nodes agree on is in `cluster.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::ids::NodeId;

/// Who this node is: read once at its start, from `node.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// This node's id, one of `initial_members` unless it joins later.
    pub id: NodeId,
    /// Where its log, snapshots and identity lie.
    pub data_directory: PathBuf,
    /// Where it accepts the other nodes.
    pub peer_address: SocketAddr,
    /// Where it accepts operators.
    pub admin: AdminAddress,
    /// Where it answers `/metrics`, `/livez` and `/readyz`.
    pub status_address: SocketAddr,
    /// Let `peer_address` lie beyond loopback although peers are not authenticated yet.
    pub insecure_peers: bool,
    /// The members that found the cluster, this node included, with their peer addresses as the others
    /// reach them. One entry is a cluster of one.
    pub initial_members: BTreeMap<NodeId, SocketAddr>,
    /// Addresses that replace the cluster document's for listeners of these names, on this node alone.
    pub listener_addresses: BTreeMap<String, SocketAddr>,
    /// Workers that accept clients; `None` is one for each core.
    pub workers: Option<usize>,
    /// Servers that are asked for the names of backends; none: those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// The file that has the key of the cluster's secrets; `None` where they are kept in the clear.
    pub secrets_key_file: Option<PathBuf>,
}

/// Where a node accepts operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A unix socket, reachable by whoever may open the file.
    Unix(PathBuf),
    /// A loopback address.
    Tcp(SocketAddr),
}
