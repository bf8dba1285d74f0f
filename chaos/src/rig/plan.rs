//! What a cluster under test consists of: its addresses, its files, and what stands in them. Pure.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::admin::AdminPlace;
use super::document::Document;
use super::network::namespaces::{backend_at, node_at};

/// Ports that one node needs: four of its own, and two for the links before it.
const PORTS_OF_A_NODE: usize = 6;

/// Ports that one backend needs: its own, and one for the link before it.
const PORTS_OF_A_BACKEND: usize = 2;

/// A cluster under test before it is started.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Everything of the cluster lies below here.
    pub directory: PathBuf,
    pub nodes: Vec<NodePlan>,
    pub backends: Vec<BackendPlan>,
    /// Where nodes look up the names of backends.
    pub name_server: Option<SocketAddr>,
}

/// One node of the plan.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    /// From 1 on.
    pub id: u64,
    /// Where it accepts the other nodes.
    pub peer: SocketAddr,
    /// Where the other nodes connect.
    pub advertised: SocketAddr,
    /// Where operators connect.
    pub admin: AdminPlace,
    /// Where `/readyz` is answered.
    pub status: SocketAddr,
    /// Where it accepts clients.
    pub listens: SocketAddr,
    /// Where clients connect.
    pub public: SocketAddr,
}

/// One backend of the plan.
#[derive(Clone, Debug)]
pub(super) struct BackendPlan {
    pub name: String,
    /// Where it listens.
    pub listens: SocketAddr,
    /// Where nodes connect.
    pub address: SocketAddr,
}

/// How the cluster is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// All on one loopback address, nothing in between.
    Direct,
    /// The same, but clients find every node at the same port, at an address of its own: what DNS can name.
    OnePort,
    /// Links before every node and backend.
    Links,
    /// Each node in a namespace of its own.
    Namespaces,
}

impl Plan {
    /// How many ports a plan of this size needs.
    pub(super) fn ports(nodes: usize, backends: usize) -> usize {
        nodes * PORTS_OF_A_NODE + backends * PORTS_OF_A_BACKEND
    }

    /// Deals out the ports, of which there are as many as [`Plan::ports`] says.
    pub(super) fn new(
        directory: &Path,
        nodes: usize,
        backends: usize,
        ports: &[u16],
        layout: Layout,
    ) -> Self {
        debug_assert_eq!(ports.len(), Self::ports(nodes, backends));
        let (of_nodes, of_backends) = ports.split_at(nodes * PORTS_OF_A_NODE);
        let one_port = of_nodes[3];
        let nodes = (1..).zip(of_nodes.chunks_exact(PORTS_OF_A_NODE)).map(|(id, ports)| match layout {
            Layout::Namespaces => NodePlan::in_namespace(id, directory),
            _ => NodePlan::on_loopback(id, ports, one_port, layout),
        });
        let backends = of_backends.chunks_exact(PORTS_OF_A_BACKEND).enumerate().map(|(place, ports)| {
            let name = format!("web-{}", place + 1);
            let listens = match layout {
                Layout::Namespaces => backend_at(place, PORT),
                _ => local(ports[0]),
            };
            let address = if layout == Layout::Links { local(ports[1]) } else { listens };
            BackendPlan { name, listens, address }
        });
        Self {
            directory: directory.to_owned(),
            nodes: nodes.collect(),
            backends: backends.collect(),
            name_server: None,
        }
    }

    /// Where a node's files lie.
    pub(super) fn node_directory(&self, node: &NodePlan) -> PathBuf {
        self.directory.join(format!("node-{}", node.id))
    }

    /// Where a node keeps what must survive it.
    pub(super) fn data_directory(&self, node: &NodePlan) -> PathBuf {
        self.disk(node).join("data")
    }

    /// What stands for a node's disk.
    pub(super) fn disk(&self, node: &NodePlan) -> PathBuf {
        self.node_directory(node).join("disk")
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
        let NodePlan { id, peer, admin, status, listens, .. } = node;
        let insecure = if peer.ip().is_loopback() { "" } else { "insecure_peers = true\n" };
        let mut text = format!(
            "version = 1\n\
             id = {id}\n\
             data_directory = '{}'\n\
             peer_address = \"{peer}\"\n\
             admin = \"{admin}\"\n\
             status_address = \"{status}\"\n\
             workers = 2\n{insecure}\n",
            self.data_directory(node).display(),
        );
        if let Some(server) = self.name_server {
            // writing to a String can't fail
            let _ = writeln!(text, "dns_servers = [\"{server}\"]\n");
        }
        for NodePlan { id, advertised, .. } in &self.nodes {
            // writing to a String can't fail
            let _ = write!(text, "[[member]]\nid = {id}\naddress = \"{advertised}\"\n\n");
        }
        let _ = write!(text, "[listener_addresses]\npublic = \"{listens}\"\n");
        text
    }

    /// What stands in the cluster document, with so many of the backends in its pool.
    pub(super) fn cluster_text(&self, document: &Document, in_pool: usize) -> String {
        let mut text = document.before_backends.clone();
        for BackendPlan { name, address, .. } in self.backends.iter().take(in_pool) {
            let further = &document.of_each_backend;
            let _ =
                write!(text, "[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n{further}\n\n");
        }
        text.push_str(&document.after_backends);
        text
    }
}

/// Every node's and backend's port where each has an address of its own.
const PORT: u16 = 8080;

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl NodePlan {
    fn on_loopback(id: u64, ports: &[u16], one_port: u16, layout: Layout) -> Self {
        let (peer, listens) = match layout {
            Layout::OnePort => (local(ports[0]), (own_address(id), one_port).into()),
            _ => (local(ports[0]), local(ports[3])),
        };
        let linked = |plain, port| if layout == Layout::Links { local(port) } else { plain };
        Self {
            id,
            peer,
            advertised: linked(peer, ports[4]),
            admin: AdminPlace::Tcp(local(ports[1])),
            status: local(ports[2]),
            listens,
            public: linked(listens, ports[5]),
        }
    }

    fn in_namespace(id: u64, directory: &Path) -> Self {
        let (peer, status, public) = (node_at(id, PORT + 1), node_at(id, PORT + 2), node_at(id, PORT));
        // Loopback addresses of a namespace can't be reached from outside; files can.
        let admin = AdminPlace::Unix(directory.join(format!("admin-{id}")));
        Self { id, peer, advertised: peer, admin, status, listens: public, public }
    }
}

/// The address of a node that shares its port with the others.
fn own_address(id: u64) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, u8::try_from(id).unwrap_or(0))
}
