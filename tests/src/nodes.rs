//! Whole nodes in one process, over real sockets and real files, with shops behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use stickler_core::affinity::sealing::SealingKeyId;
use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::document::node::{AdminAddress, NodeFile};
use stickler_core::ids::{BackendId, LogIndex, NodeId};
use stickler_core::lease::Footing;
use stickler_core::state::{
    Admin, AdminOutcome, ApplyDocument, Command, Outcome, Removal, RotateOutcome, SetAdmin,
};
use stickler_node::Node;
use stickler_proto::admin::admin_client::AdminClient;
use stickler_raft::{Cluster, Persistence};
use stickler_rt::{Clock, DnsResolver, NameTable, Outside, Resolver, Seed, Shutdown, ThreadSpawner};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{SOON, until};
use crate::cuttable::CuttableNetwork;
use crate::shop::Shop;

/// Whole nodes, with shops.
pub struct TestNodes {
    directory: TempDir,
    files: BTreeMap<NodeId, NodeFile>,
    running: BTreeMap<NodeId, Node>,
    networks: BTreeMap<NodeId, CuttableNetwork>,
    /// The shops behind them.
    pub shops: Vec<Shop>,
    /// What names lead to, for all whose node files name no server.
    pub names: NameTable,
    _ports: ReservedPorts,
}

impl TestNodes {
    /// Starts nodes 1 to `size` and as many shops as wanted, and waits until all nodes are ready with the
    /// document that `document` makes from the shops' addresses.
    pub async fn start(size: u64, shops: usize, document: impl Fn(&[SocketAddr]) -> String) -> Self {
        Self::start_with(size, shops, document, |_| ()).await
    }

    /// As [`TestNodes::start`], with node files that `adjust` has had a look at.
    pub async fn start_with(
        size: u64,
        shops: usize,
        document: impl Fn(&[SocketAddr]) -> String,
        adjust: impl Fn(&mut NodeFile),
    ) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let ports = ReservedPorts::new(usize::try_from(size).expect("a few nodes") * 4).expect("free ports");
        let address = |index: u64, part: usize| {
            ports.address((usize::try_from(index).expect("a few nodes") - 1) * 4 + part)
        };
        let members: BTreeMap<NodeId, SocketAddr> =
            (1..=size).map(|node| (NodeId(node), address(node, 0))).collect();
        let files = (1..=size)
            .map(|node| {
                let mut file = NodeFile {
                    id: NodeId(node),
                    data_directory: directory.path().join(format!("node-{node}")),
                    peer_address: address(node, 0),
                    admin: AdminAddress::Tcp(address(node, 1)),
                    status_address: address(node, 2),
                    insecure_peers: false,
                    initial_members: members.clone(),
                    listener_addresses: BTreeMap::from([("public".to_owned(), address(node, 3))]),
                    workers: Some(1),
                    secrets_key_file: None,
                    dns_servers: Vec::new(),
                };
                adjust(&mut file);
                (NodeId(node), file)
            })
            .collect();
        let mut started = Vec::new();
        for number in 1..=shops {
            started.push(Shop::start(&format!("web-{number}")).await);
        }
        let networks = (1..=size).map(|node| (NodeId(node), CuttableNetwork::default())).collect();
        let running = BTreeMap::new();
        let names = NameTable::default();
        let mut nodes = Self { directory, files, running, networks, shops: started, names, _ports: ports };
        for node in 1..=size {
            nodes.restart(NodeId(node)).await;
        }
        let addresses: Vec<SocketAddr> = nodes.shops.iter().map(|shop| shop.address).collect();
        nodes.apply(&document(&addresses)).await;
        nodes.ready().await;
        nodes
    }

    /// Starts a node on what its directory holds.
    pub async fn restart(&mut self, node: NodeId) {
        let file = self.files[&node].clone();
        let network = self.networks[&node].clone();
        let names = self.names.clone();
        let started = until("the node starts", || {
            let (file, network, names) = (file.clone(), network.clone(), names.clone());
            async move {
                let resolver: Arc<dyn Resolver> = match file.dns_servers.as_slice() {
                    [] => Arc::new(names),
                    servers => Arc::new(DnsResolver::asking(servers.to_vec())),
                };
                let outside = Outside {
                    network: Arc::new(network),
                    resolver,
                    clock: Clock::start(),
                    seed: Seed::from_system().ok()?,
                    spawner: Arc::new(ThreadSpawner),
                };
                let disk = Node::open_directory(&file, &outside).ok()?;
                Node::start(file, outside, disk, Shutdown::new()).await.ok()
            }
        });
        let started = started.await;
        self.running.insert(node, started);
    }

    /// A node's file, as it counts from its next start on.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn file(&mut self, node: NodeId) -> &mut NodeFile {
        self.files.get_mut(&node).expect("one of the nodes")
    }

    /// Ends a node.
    pub async fn stop(&mut self, node: NodeId) {
        if let Some(node) = self.running.remove(&node) {
            node.stop().await;
        }
    }

    /// Cuts a node off from all others, both ways; its clients still reach it.
    pub fn cut(&self, node: NodeId) {
        for (other, network) in &self.networks {
            if *other == node {
                let peers: BTreeSet<SocketAddr> = self.files.values().map(|file| file.peer_address).collect();
                network.cut(peers.into_iter().filter(|peer| *peer != self.files[&node].peer_address));
            } else {
                network.cut([self.files[&node].peer_address]);
            }
        }
    }

    /// Cuts a node off from one of the shops, and from nobody else.
    pub fn cut_from_shop(&self, node: NodeId, shop: usize) {
        self.networks[&node].cut([self.shops[shop].address]);
    }

    /// Heals all cuts.
    pub fn heal(&self) {
        for network in self.networks.values() {
            network.heal();
        }
    }

    /// Where a node's clients connect.
    #[must_use]
    pub fn address(&self, node: NodeId) -> SocketAddr {
        self.files[&node].listener_addresses["public"]
    }

    /// All nodes' addresses for clients.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running.keys().map(|node| self.address(*node)).collect()
    }

    /// Where a node answers operators' HTTP requests.
    #[must_use]
    pub fn status_address(&self, node: NodeId) -> SocketAddr {
        self.files[&node].status_address
    }

    /// The admin service of a node, as its operators reach it.
    ///
    /// # Panics
    /// When nobody answers there.
    pub async fn admin(&self, node: NodeId) -> AdminClient<Channel> {
        let AdminAddress::Tcp(address) = self.files[&node].admin else { panic!("it is at an address") };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a valid address");
        AdminClient::new(endpoint.connect().await.expect("the node serves operators"))
    }

    /// A running node's consensus.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn cluster(&self, node: NodeId) -> &Cluster {
        self.running[&node].cluster()
    }

    /// A running node.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &Node {
        &self.running[&node]
    }

    /// The running nodes.
    pub fn running(&self) -> impl Iterator<Item = (NodeId, &Cluster)> {
        self.running.iter().map(|(id, node)| (*id, node.cluster()))
    }

    /// Where the nodes keep their data.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Waits until some running node leads.
    pub async fn leader(&self) -> NodeId {
        until("a leader", || {
            std::future::ready(self.running().find(|(_, cluster)| cluster.leads()).map(|(id, _)| id))
        })
        .await
    }

    /// Waits until one of these nodes leads.
    pub async fn leader_among(&self, nodes: &[NodeId]) -> NodeId {
        until("a leader among these nodes", || {
            std::future::ready(nodes.iter().copied().find(|node| self.cluster(*node).leads()))
        })
        .await
    }

    /// Applies a document through any node.
    pub async fn apply(&self, text: &str) {
        let document = check_cluster("test.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        self.apply_document(document).await;
    }

    /// Applies a document that no text could be checked to, such as one with very short times. What it does not name is
    /// gone at once.
    pub async fn apply_document(&self, document: ClusterDocument) {
        self.apply_removing(document, Removal::Now).await;
    }

    /// Applies a document, and has backends that it does not name leave in this way.
    pub async fn apply_removing(&self, document: ClusterDocument, removal: Removal) {
        self.leader().await;
        let (_, cluster) = self.running().next().expect("a node runs");
        until("the cluster is founded", || {
            std::future::ready(cluster.view().catalog.found.as_ref().map(drop))
        })
        .await;
        let expected = cluster.view().catalog.revision;
        let command = Command::ApplyDocument(Box::new(ApplyDocument { document, expected, removal }));
        let answer =
            cluster.propose(command, SOON, Persistence::Retry).await.expect("the document is applied");
        self.known(answer.index).await;
    }

    /// Waits until all running nodes that hold a lease have applied what any of them has by now: a request is answered when
    /// the leader has, and another node may have yet to.
    pub async fn know_all(&self) {
        let furthest = self.running().map(|(_, cluster)| cluster.view().applied).max();
        self.known(furthest.unwrap_or_default()).await;
    }

    /// Waits until all running nodes that hold a lease have applied an entry.
    async fn known(&self, at: LogIndex) {
        until("all nodes that hold a lease know", || {
            let known = self.running().all(|(_, cluster)| {
                cluster.standing().footing != Footing::Leased || cluster.view().applied >= at
            });
            std::future::ready(known.then_some(()))
        })
        .await;
    }

    /// Changes a backend's admin state.
    pub async fn set_admin(&self, name: &str, admin: Admin) {
        let (_, cluster) = self.running().next().expect("a node runs");
        let (backend, expected) = {
            let view = cluster.view();
            let (id, record) = view
                .catalog
                .backends
                .iter()
                .find(|(_, record)| record.name == name)
                .expect("the backend is in the document");
            (*id, record.revision)
        };
        let command = Command::SetAdmin(SetAdmin { backend, admin, expected });
        let answer =
            cluster.propose(command, SOON, Persistence::Report).await.expect("the change is committed");
        assert!(matches!(answer.outcome, Outcome::Admin(AdminOutcome::Done(_))), "{answer:?}");
        self.known(answer.index).await;
    }

    /// Adds a sealing key through a node, and waits until all running nodes seal with it.
    pub async fn rotate(&self, node: NodeId) -> SealingKeyId {
        let cluster = self.cluster(node);
        let newest = cluster.view().catalog.ring.newest().expect("the cluster is founded").id;
        let rotation = cluster.rotation(newest).expect("the node can read the cluster's secrets");
        let answer = cluster.propose(rotation, SOON, Persistence::Retry).await;
        let answer = answer.expect("the rotation is committed");
        // A retry finds the key that it has added.
        let Outcome::Rotate(RotateOutcome::Rotated(key) | RotateOutcome::Changed(key)) = answer.outcome
        else {
            panic!("{answer:?}")
        };
        until("all nodes seal with the new key", || {
            let seals = |cluster: &Cluster| {
                let (view, stable) = (cluster.view(), cluster.standing().stable);
                view.catalog.ring.sealing(stable).is_some_and(|sealing| sealing.id >= key)
            };
            std::future::ready(self.running().all(|(_, cluster)| seals(cluster)).then_some(()))
        })
        .await;
        key
    }

    /// The id of a backend.
    ///
    /// # Panics
    /// When it is not in the document.
    #[must_use]
    pub fn backend(&self, name: &str) -> BackendId {
        let (_, cluster) = self.running().next().expect("a node runs");
        let view = cluster.view();
        let found = view.catalog.backends.iter().find(|(_, record)| record.name == name);
        *found.expect("the backend is in the document").0
    }

    /// Waits until all running nodes hold leases, listen, and have all shops up that run.
    pub async fn ready(&self) {
        until("all nodes are ready", || async {
            for (node, cluster) in self.running() {
                let up = cluster.view().catalog.backends.values().any(|backend| backend.takes_new());
                let leased = cluster.standing().footing == Footing::Leased;
                let listening = tokio::net::TcpStream::connect(self.address(node)).await.is_ok();
                if !(up && leased && listening) {
                    return None;
                }
            }
            Some(())
        })
        .await;
        let wanted = self.shops.len();
        until("all shops are up", || {
            let all = self.running().all(|(_, cluster)| {
                let view = cluster.view();
                view.catalog.backends.values().filter(|backend| backend.health.is_up()).count() == wanted
            });
            std::future::ready(all.then_some(()))
        })
        .await;
    }

    /// Waits until the cluster's verdict on a backend is down, on all running nodes.
    pub async fn down(&self, name: &str) {
        let backend = self.backend(name);
        until("the backend is down", || {
            let all = self.running().all(|(_, cluster)| {
                cluster.view().catalog.backends.get(&backend).is_some_and(|record| record.health.is_down())
            });
            std::future::ready(all.then_some(()))
        })
        .await;
    }
}

/// Ports that are nobody else's as long as this lives: neither other tests' nor outgoing connections'.
struct ReservedPorts(Vec<Socket>);

impl ReservedPorts {
    /// A socket that is bound and does not listen keeps its port from everybody but those who say, as
    /// listeners do, that they would use an address again.
    fn new(count: usize) -> std::io::Result<Self> {
        let reserve = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            socket.set_reuse_address(true)?;
            Ok(socket)
        };
        Ok(Self((0..count).map(|_| reserve()).collect::<std::io::Result<_>>()?))
    }

    fn address(&self, number: usize) -> SocketAddr {
        let address = self.0[number].local_addr().expect("a bound socket has an address");
        address.as_socket().expect("it was bound to an address of the internet")
    }
}

/// A little while, for checks that something does not happen.
pub const A_WHILE: Duration = Duration::from_millis(400);
