//! What a cluster under test consists of: its addresses, its files, and what stands in them. Pure.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Ports that one node needs.
const PORTS_OF_A_NODE: usize = 4;

/// A cluster under test before it is started.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Everything of the cluster lies below here.
    pub directory: PathBuf,
    pub nodes: Vec<NodePlan>,
    pub backends: Vec<BackendPlan>,
}

/// One node of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodePlan {
    /// From 1 on.
    pub id: u64,
    /// Where the other nodes connect.
    pub peer: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// Where `/readyz` is answered.
    pub status: SocketAddr,
    /// Where clients connect.
    pub public: SocketAddr,
}

/// One backend of the plan.
#[derive(Clone, Debug)]
pub(super) struct BackendPlan {
    pub name: String,
    pub address: SocketAddr,
}

impl Plan {
    /// How many ports a plan of this size needs.
    pub(super) fn ports(nodes: usize, backends: usize) -> usize {
        nodes * PORTS_OF_A_NODE + backends
    }

    /// Deals out the ports, of which there are as many as [`Plan::ports`] says.
    pub(super) fn new(directory: &Path, nodes: usize, backends: usize, ports: &[u16]) -> Self {
        debug_assert_eq!(ports.len(), Self::ports(nodes, backends));
        let address = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let (of_nodes, of_backends) = ports.split_at(nodes * PORTS_OF_A_NODE);
        let nodes = (1..).zip(of_nodes.chunks_exact(PORTS_OF_A_NODE)).map(|(id, ports)| NodePlan {
            id,
            peer: address(&ports[0]),
            admin: address(&ports[1]),
            status: address(&ports[2]),
            public: address(&ports[3]),
        });
        let backends = (1..)
            .zip(of_backends)
            .map(|(number, port)| BackendPlan { name: format!("web-{number}"), address: address(port) });
        Self { directory: directory.to_owned(), nodes: nodes.collect(), backends: backends.collect() }
    }

    /// Where a node's files lie.
    pub(super) fn node_directory(&self, node: &NodePlan) -> PathBuf {
        self.directory.join(format!("node-{}", node.id))
    }

    /// Where a node keeps what must survive it.
    pub(super) fn data_directory(&self, node: &NodePlan) -> PathBuf {
        self.node_directory(node).join("data")
    }

    /// A node's file.
    pub(super) fn node_file(&self, node: &NodePlan) -> PathBuf {
        self.node_directory(node).join("node.toml")
    }

    /// Where a node's output goes.
    pub(super) fn log_file(&self, node: &NodePlan) -> PathBuf {
        self.node_directory(node).join("node.log")
    }

    /// What stands in a node's file.
    pub(super) fn node_text(&self, node: &NodePlan) -> String {
        let NodePlan { id, peer, admin, status, public } = node;
        let mut text = format!(
            "version = 1\n\
             id = {id}\n\
             data_directory = '{}'\n\
             peer_address = \"{peer}\"\n\
             admin = \"{admin}\"\n\
             status_address = \"{status}\"\n\
             workers = 2\n\n",
            self.data_directory(node).display(),
        );
        for NodePlan { id, peer, .. } in &self.nodes {
            // writing to a String can't fail
            let _ = write!(text, "[[member]]\nid = {id}\naddress = \"{peer}\"\n\n");
        }
        let _ = write!(text, "[listener_addresses]\npublic = \"{public}\"\n");
        text
    }

    /// What stands in the cluster document: one pool behind three routes, each of which recognises sessions
    /// in another way. No session expires during a run.
    pub(super) fn cluster_text(&self) -> String {
        let mut text = BEFORE_BACKENDS.to_owned();
        for BackendPlan { name, address } in &self.backends {
            let _ = write!(text, "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n\n");
        }
        text.push_str(AFTER_BACKENDS);
        text
    }
}

const BEFORE_BACKENDS: &str = r#"version = 1

[limits]
debug_headers = true

[[listener]]
name = "public"
address = "127.0.0.1:0"

[[pool]]
name = "web"

[pool.check]
path = "/health"
interval = "500ms"
timeout = "500ms"

"#;

const AFTER_BACKENDS: &str = r#"[[affinity]]
name = "own"
idle_timeout = "2h"

[[affinity.by]]
method = "application-cookie"
name = "SHOPSESSION"

[[affinity]]
name = "token"
idle_timeout = "2h"

[[affinity.by]]
method = "cookie"

[[affinity]]
name = "header"
idle_timeout = "2h"

[[affinity.by]]
method = "header"
name = "X-Session"

[[route]]
name = "own"
pool = "web"
affinity = "own"

[[route]]
name = "token"
path_prefix = "/token"
pool = "web"
affinity = "token"

[[route]]
name = "header"
path_prefix = "/api"
pool = "web"
affinity = "header"
"#;
