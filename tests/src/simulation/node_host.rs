//! One node in the simulation: what runs on its host, each time that the host starts.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::ids::{NodeId, Revision};
use stickler_core::lease::Footing;
use stickler_core::state::{Admin, ApplyDocument, Command, SetAdmin};
use stickler_node::Node;
use stickler_raft::store::{MemoryDisk, SyncPolicy};
use stickler_raft::{Cluster, Disk, Persistence};
use stickler_rt::{Clock, Outside, Seed, Shutdown, TaskSpawner};

use super::document::{host_of, node_file};
use super::ledger::Ledger;
use super::observer::Observer;
use super::wire::WatchedNetwork;

/// What outlives the processes of one node.
pub struct NodeHost {
    node: NodeId,
    seed: Seed,
    ledger: Ledger,
    addresses: BTreeMap<NodeId, IpAddr>,
    shops: BTreeMap<&'static str, IpAddr>,
    /// Applied by this node once there is a cluster, if it is the one.
    document: Option<ClusterDocument>,
    /// Its disk.
    pub disk: MemoryDisk,
    state: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    starts: u64,
    leased: bool,
    orders: VecDeque<Order>,
}

/// What the world asks of a running node.
#[derive(Clone, Debug)]
pub enum Order {
    /// Make a snapshot now.
    Compact,
    /// Change a shop's admin state.
    Admin(&'static str, Admin),
}

/// What a node gets from the world.
pub struct NodeSetup {
    /// Which node.
    pub node: NodeId,
    /// All its randomness.
    pub seed: Seed,
    /// Where it is observed.
    pub ledger: Ledger,
    /// The members.
    pub addresses: BTreeMap<NodeId, IpAddr>,
    /// The shops.
    pub shops: BTreeMap<&'static str, IpAddr>,
    /// The document to apply, for one of the nodes.
    pub document: Option<ClusterDocument>,
    /// When its disk syncs.
    pub sync: SyncPolicy,
}

impl NodeHost {
    /// A node that has never run.
    #[must_use]
    pub fn new(setup: NodeSetup) -> Self {
        let NodeSetup { node, seed, ledger, addresses, shops, document, sync } = setup;
        let state = Mutex::default();
        Self { node, seed, ledger, addresses, shops, document, disk: MemoryDisk::new(sync), state }
    }

    /// Whether it held a lease when it was last looked at.
    pub fn is_leased(&self) -> bool {
        self.shown().leased
    }

    /// Asks something of the process that runs, or the next one.
    pub fn order(&self, order: Order) {
        self.shown().orders.push_back(order);
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One process of this node, until its host crashes.
    ///
    /// # Errors
    /// When it does not start, or can't go on as a member.
    pub async fn run(self: Arc<Self>) -> turmoil::Result {
        let start = {
            let mut shown = self.shown();
            shown.starts += 1;
            shown.leased = false;
            shown.starts
        };
        let seed = self.seed.child(&format!("start {start}"));
        self.ledger.note(host_of(self.node), format!("starts, {start}"));
        self.ledger.count("starts");
        let (clock, skew) = Clock::start_skewed();
        // Rates are trusted to five parts in a hundred between two clocks.
        skew.set_rate(seed.child("rate").rng().random_range(0.98..1.02));
        let network =
            WatchedNetwork::new(self.node, self.ledger.clone(), &self.shops, seed.child("wire").rng());
        let outside = Outside {
            network: Arc::new(network.clone()),
            clock,
            seed: seed.child("outside"),
            spawner: Arc::new(TaskSpawner),
        };
        let mut random = [0; 16];
        seed.child("identity").fill(&mut random);
        let disk = Disk::Simulated(self.disk.clone(), self.disk.start(self.node, random)?);
        let file = node_file(self.node, &self.addresses);
        let node = Node::start(file, outside, disk, Shutdown::new()).await?;
        network.watch(node.cluster().clone());
        if let Some(document) = self.document.clone() {
            tokio::spawn(apply(node.cluster().clone(), document));
        }
        let watching = Observer::new(node.cluster().clone(), self.ledger.clone()).run(|_, standing| {
            let mut shown = self.shown();
            shown.leased = standing.footing == Footing::Leased;
            for order in std::mem::take(&mut shown.orders) {
                tokio::spawn(carry_out(node.cluster().clone(), order));
            }
        });
        tokio::select! {
            biased;
            error = node.failed() => Err(Box::new(error)),
            () = watching => Ok(()),
        }
    }
}

/// Longest wait for a change that an operator makes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Applies the cluster's first document, as soon as there is a cluster.
async fn apply(cluster: Cluster, document: ClusterDocument) {
    loop {
        let ready = {
            let view = cluster.view();
            if view.catalog.document.is_some() {
                return;
            }
            view.catalog.found.is_some()
        };
        if ready {
            let document = document.clone();
            let apply = ApplyDocument { document, expected: Revision(0) };
            let command = Command::ApplyDocument(Box::new(apply));
            // An unknown outcome is looked at, and the revision keeps a second attempt from doing harm.
            let _ = cluster.propose(command, PATIENCE, Persistence::Report).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn carry_out(cluster: Cluster, order: Order) {
    match order {
        Order::Compact => drop(cluster.compact(PATIENCE).await),
        Order::Admin(shop, admin) => {
            let known = {
                let view = cluster.view();
                let found = view.catalog.backends.iter().find(|(_, backend)| backend.name == shop);
                found.map(|(id, backend)| (*id, backend.revision))
            };
            if let Some((backend, expected)) = known {
                let command = Command::SetAdmin(SetAdmin { backend, admin, expected });
                let _ = cluster.propose(command, PATIENCE, Persistence::Report).await;
            }
        }
    }
}
