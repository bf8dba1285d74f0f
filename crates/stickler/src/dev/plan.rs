//! What a demo cluster consists of: its addresses, its files, and what stands in them. Pure.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Ports that one node needs.
const PORTS_OF_A_NODE: usize = 4;

/// A demo cluster before it is started.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Everything of the cluster lies below here.
    pub directory: PathBuf,
    pub nodes: Vec<NodePlan>,
    pub backends: Vec<BackendPlan>,
}

/// One node of the plan. Everything is on loopback.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodePlan {
    /// From 1 on, so that it is also its place in the list plus one.
    pub id: u64,
    pub peer: SocketAddr,
    pub admin: SocketAddr,
    pub status: SocketAddr,
    pub public: SocketAddr,
}

/// One demo shop of the plan.
#[derive(Clone, Debug)]
pub(super) struct BackendPlan {
    pub name: String,
    pub address: SocketAddr,
}

impl Plan {
    /// How many ports a plan of this size needs.
    pub fn ports(nodes: usize, backends: usize) -> usize {
        nodes * PORTS_OF_A_NODE + backends
    }

    /// Deals out the ports, of which there are as many as [`Plan::ports`] says.
    pub fn new(directory: &Path, nodes: usize, backends: usize, ports: &[u16]) -> Self {
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
            .map(|(number, port)| BackendPlan { name: format!("shop-{number}"), address: address(port) });
        Self { directory: directory.to_owned(), nodes: nodes.collect(), backends: backends.collect() }
    }

    /// Where a node's files lie.
    pub fn node_directory(&self, node: &NodePlan) -> PathBuf {
        self.directory.join(format!("node-{}", node.id))
    }

    /// A node's file.
    pub fn node_file(&self, node: &NodePlan) -> PathBuf {
        self.node_directory(node).join("node.toml")
    }

    /// The cluster document's file.
    pub fn cluster_file(&self) -> PathBuf {
        self.directory.join("cluster.toml")
    }

    /// Where all shops keep orders.
    pub fn till(&self) -> PathBuf {
        self.directory.join("till")
    }

    /// Where the output of a process goes.
    pub fn log_file(&self, process: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{process}.log"))
    }

    /// What stands in a node's file.
    pub fn node_text(&self, node: &NodePlan) -> String {
        let data = self.node_directory(node).join("data");
        let NodePlan { id, peer, admin, status, public } = node;
        let mut text = format!(
            "version = 1\n\
             id = {id}\n\
             data_directory = {}\n\
             peer_address = \"{peer}\"\n\
             admin = \"{admin}\"\n\
             status_address = \"{status}\"\n\
             # Several nodes share this machine.\n\
             workers = 2\n\n",
            quoted(&data.to_string_lossy()),
        );
        for NodePlan { id, peer, .. } in &self.nodes {
            // writing to a String can't fail
            let _ = write!(text, "[[member]]\nid = {id}\naddress = \"{peer}\"\n\n");
        }
        let _ = write!(text, "[listener_addresses]\npublic = \"{public}\"\n");
        text
    }

    /// What stands in the cluster document: one pool of shops behind three routes, each of which recognises
    /// sessions in another way.
    pub fn cluster_text(&self) -> String {
        let mut text = CLUSTER_BEFORE_BACKENDS.to_owned();
        for BackendPlan { name, address } in &self.backends {
            let _ = write!(text, "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n\n");
        }
        text.push_str(CLUSTER_AFTER_BACKENDS);
        text
    }
}

impl NodePlan {
    /// What messages and files call the node.
    pub fn name(&self) -> String {
        format!("node-{}", self.id)
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

const CLUSTER_BEFORE_BACKENDS: &str = r#"# The cluster document of a demo. Change it, and give it to the cluster with `stickler apply`.
version = 1

[limits]
# Responses say which node and backend they come from.
debug_headers = true

# Each node has an address of its own for this, in its node file.
[[listener]]
name = "public"
address = "127.0.0.1:0"

[[pool]]
name = "shop"

[pool.check]
path = "/health"
interval = "500ms"
timeout = "500ms"

"#;

const CLUSTER_AFTER_BACKENDS: &str = r#"# The shop's own cookie, learned from its responses.
[[affinity]]
name = "own"

[[affinity.by]]
method = "application-cookie"
name = "SHOPSESSION"

# A cookie that Stickler makes.
[[affinity]]
name = "token"

[[affinity.by]]
method = "cookie"
path = "/token"

# A header that the client sends.
[[affinity]]
name = "api"

[[affinity.by]]
method = "header"
name = "X-Session"

[[route]]
name = "shop"
pool = "shop"
affinity = "own"

[[route]]
name = "token"
path_prefix = "/token"
pool = "shop"
affinity = "token"

[[route]]
name = "api"
path_prefix = "/api"
pool = "shop"
affinity = "api"
"#;

#[cfg(test)]
mod tests {
    use stickler_core::document::{check_cluster, check_node};

    use super::*;

    fn plan(directory: &str) -> Plan {
        let ports: Vec<u16> = (20_000..).take(Plan::ports(3, 3)).collect();
        Plan::new(Path::new(directory), 3, 3, &ports)
    }

    #[test]
    fn nodes_accept_the_files_that_are_written_for_them() {
        let plan = plan("/tmp/a \"quoted\" directory");
        for node in &plan.nodes {
            let file = check_node("node.toml", &plan.node_text(node)).unwrap();
            assert_eq!(file.id.0, node.id);
            assert_eq!(file.initial_members.len(), 3);
            assert_eq!(file.data_directory, plan.node_directory(node).join("data"));
            assert_eq!(file.listener_addresses["public"], node.public);
        }
    }

    #[test]
    fn the_cluster_accepts_the_document_that_is_written_for_it() {
        let plan = plan("/tmp/demo");
        let document = check_cluster("cluster.toml", &plan.cluster_text()).unwrap();
        assert_eq!(document.pools[0].backends.len(), 3);
        assert_eq!(document.routes.len(), 3);
        assert_eq!(document.affinities.len(), 3);
    }

    #[test]
    fn no_address_is_dealt_out_twice() {
        let plan = plan("/tmp/demo");
        let of_nodes = plan.nodes.iter().flat_map(|node| [node.peer, node.admin, node.status, node.public]);
        let addresses: std::collections::BTreeSet<SocketAddr> =
            of_nodes.chain(plan.backends.iter().map(|backend| backend.address)).collect();
        assert_eq!(addresses.len(), Plan::ports(3, 3));
    }
}
