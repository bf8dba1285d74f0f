//! One node in the simulation: what runs on its host, each time that the host starts.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use stickler_core::ids::{KeyHash, NodeId};
use stickler_core::lease::Footing;
use stickler_core::state::{AdminState, BackendRecord, Record};
use stickler_node::Node;
use stickler_raft::store::{MemoryDisk, SyncPolicy};
use stickler_raft::{Cluster, Disk};
use stickler_rt::{Clock, NameTable, Outside, Seed, Shutdown, TaskSpawner};
use tokio::sync::mpsc;

use super::document::{WAIT, host_of, node_file};
use super::evidence::Overtaken;
use super::ledger::{Ledger, now};
use super::observer::{Look, Observer};
use super::operators::{Operator, Order};
use super::pool_settings::PoolSettings;
use super::wire::{WatchedNetwork, Wiring};

/// What outlives the processes of one node.
pub struct NodeHost {
    setup: NodeSetup,
    /// Its disk.
    pub disk: MemoryDisk,
    state: Mutex<Shown>,
    healed: Shutdown,
}

/// How long a process has for its last requests.
const LONGEST_STOP: Duration = Duration::from_secs(2);

/// How long a request may take to notice that it need not wait any more.
const WAKES: Duration = Duration::from_millis(600);

/// How long what a process has open takes to close.
const EXIT: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Shown {
    starts: u64,
    leased: bool,
    leads: bool,
    /// Shops that are up by this node's state.
    up: usize,
    /// The process that runs.
    cluster: Option<Cluster>,
    orders: VecDeque<Order>,
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
    /// When its disk syncs.
    pub sync: SyncPolicy,
    /// What documents say about shops and its requests.
    pub pool: PoolSettings,
    /// Whether nodes and links are well all the time.
    pub well: bool,
    /// Where names lead.
    pub names: NameTable,
}

impl NodeHost {
    /// A node that has never run.
    #[must_use]
    pub fn new(setup: NodeSetup) -> Self {
        Self { disk: MemoryDisk::new(setup.sync), setup, state: Mutex::default(), healed: Shutdown::new() }
    }

    /// Whether it held a lease when it was last looked at.
    pub fn is_leased(&self) -> bool {
        self.shown().leased
    }

    /// Whether it led when it was last looked at.
    pub fn leads(&self) -> bool {
        self.shown().leads
    }

    /// How many shops were up when it was last looked at.
    pub fn shops_up(&self) -> usize {
        self.shown().up
    }

    /// The sessions that end after so long without use, by the state of the process that runs.
    pub fn sessions_of(&self, idle_timeout: Duration) -> Vec<KeyHash> {
        let cluster = self.shown().cluster.clone();
        let Some(cluster) = cluster else { return Vec::new() };
        let view = cluster.view();
        let mut found = Vec::new();
        view.table.visit(|session, record| {
            let policy = view.catalog.affinity(session.affinity);
            if matches!(record, Record::Binding(_))
                && policy.is_some_and(|policy| policy.idle_timeout == idle_timeout)
            {
                found.push(session.key);
            }
            true
        });
        found.sort_unstable();
        found
    }

    /// Whether its state lists this as a conflict; not judged while nothing runs.
    #[must_use]
    pub fn lists(&self, overtaken: &Overtaken) -> bool {
        let Some(cluster) = self.shown().cluster.clone() else { return true };
        let view = cluster.view();
        view.catalog.conflicts.newest.iter().any(|conflict| {
            (conflict.session.key, conflict.node, conflict.epoch)
                == (overtaken.session, overtaken.node, overtaken.epoch)
        })
    }

    /// Asks something of the process that runs, or the next one.
    pub fn order(&self, order: Order) {
        self.shown().orders.push_back(order);
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes of this node, one after the other is stopped, until its host crashes.
    ///
    /// # Errors
    /// When one does not start, or can't go on as a member.
    pub async fn run(self: Arc<Self>) -> turmoil::Result {
        loop {
            let Some(away) = self.process().await? else { return Ok(()) };
            tokio::select! {
                biased;
                () = self.healed.wait() => {}
                () = tokio::time::sleep(away) => {}
            }
        }
    }

    /// Nobody stays away for longer.
    pub fn heal(&self) {
        self.healed.trigger();
    }

    /// One process, and for how long the node stays away when it was stopped.
    async fn process(&self) -> Result<Option<Duration>, Box<dyn std::error::Error>> {
        let NodeSetup { node, ledger, shops, .. } = &self.setup;
        let start = {
            let mut shown = self.shown();
            *shown = Shown {
                starts: shown.starts + 1,
                orders: std::mem::take(&mut shown.orders),
                ..Shown::default()
            };
            shown.starts
        };
        let seed = self.setup.seed.child(&format!("start {start}"));
        ledger.note(host_of(*node), format_args!("starts, {start}"));
        ledger.count("starts");
        let (clock, skew) = Clock::start_skewed();
        // Rates are trusted to five parts in a hundred between two clocks.
        skew.set_rate(seed.child("rate").rng().random_range(0.98..1.02));
        let network = WatchedNetwork::new(Wiring {
            node: *node,
            ledger: ledger.clone(),
            shops,
            pool: self.setup.pool.clone(),
            well: self.setup.well,
            random: seed.child("wire").rng(),
        });
        let outside = Outside {
            network: Arc::new(network.clone()),
            resolver: Arc::new(self.setup.names.clone()),
            clock,
            seed: seed.child("outside"),
            spawner: Arc::new(TaskSpawner),
        };
        let mut random = [0; 16];
        seed.child("identity").fill(&mut random);
        let disk = Disk::Simulated(self.disk.clone(), self.disk.start(*node, random)?);
        let file = node_file(*node, &self.setup.addresses);
        let end = Shutdown::new();
        let process = Node::start(file, outside, disk, end.clone()).await?;
        network.watch(&process);
        self.shown().cluster = Some(process.cluster().clone());
        let operator = Operator {
            cluster: process.cluster().clone(),
            ledger: ledger.clone(),
            shops: shops.clone(),
            pool: self.setup.pool.clone(),
        };
        if *node == NodeId(1) {
            tokio::spawn(operator.clone().begin());
        }
        let (stop, mut stopped) = mpsc::channel(1);
        let (proxy, mut unfounded) = (process.proxy().clone(), None);
        let watching = Observer::new(process.cluster().clone(), ledger.clone()).run(|look| {
            self.take(look);
            network.look();
            self.waits(look, proxy.waiting(), &mut unfounded);
            for order in std::mem::take(&mut self.shown().orders) {
                match order {
                    Order::Skew(rate) => skew.set_rate(rate),
                    // One that is being stopped is told again.
                    Order::Stop(away) => drop(stop.try_send(away)),
                    order => drop(tokio::spawn(operator.clone().carry_out(order))),
                }
            }
        });
        let mut watching = std::pin::pin!(watching);
        let away = tokio::select! {
            biased;
            error = process.failed() => return Err(Box::new(error)),
            () = &mut watching => return Ok(None),
            away = stopped.recv() => away,
        };
        // It is watched to its end. What takes too long is cut off, as a process is that exits.
        let cluster = process.cluster().clone();
        tokio::select! {
            biased;
            () = &mut watching => {}
            _ = tokio::time::timeout(LONGEST_STOP, process.stop()) => {}
        }
        end.trigger();
        cluster.stop().await;
        ledger.note(host_of(*node), "has stopped");
        tokio::time::sleep(EXIT).await;
        let mut shown = self.shown();
        *shown =
            Shown { starts: shown.starts, orders: std::mem::take(&mut shown.orders), ..Shown::default() };
        Ok(away)
    }

    /// Requests wait for a shop as long as their affinity says, and no longer. `unfounded`: since when some do for
    /// no reason that the node's state has.
    fn waits(&self, look: &Look<'_>, waiting: usize, unfounded: &mut Option<Duration>) {
        let view = look.view;
        let time = view.time.max(look.standing.time);
        let waited_for = |backend: &BackendRecord| {
            // One that goes from maint to down, or back, was gone all the while: who waits goes by what it was then.
            let gone_at = backend.admin_since.max(backend.health.since);
            (backend.admin == AdminState::Maint || backend.health.is_down()) && gone_at + WAIT > time
        };
        let founded = view.catalog.backends.values().any(waited_for);
        if waiting == 0 || founded || look.standing.footing != Footing::Leased {
            *unfounded = None;
            return;
        }
        self.setup.ledger.count("looks at requests that waited");
        let since = *unfounded.get_or_insert(now());
        if now().saturating_sub(since) > WAKES {
            self.setup.ledger.violated(format_args!(
                "failover: {waiting} requests on node {} wait for a shop longer than their affinity says",
                self.setup.node
            ));
        }
    }

    fn take(&self, look: &Look<'_>) {
        let mut shown = self.shown();
        shown.leased = look.standing.footing == Footing::Leased;
        shown.leads = look.leads;
        shown.up = look.view.catalog.backends.values().filter(|backend| backend.takes_new()).count();
    }
}
