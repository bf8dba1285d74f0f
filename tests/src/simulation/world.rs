//! One run: everything is made from the seed, goes through turmoil, and is healed at the end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng;
use stickler_core::ids::NodeId;
use stickler_raft::store::SyncPolicy;
use stickler_rt::Seed;
use tokio::sync::watch;
use turmoil::Sim;

use super::clients::{self, Clients, Season};
use super::document::{CLIENTS, NODES, SHOPS, document, host_of};
use super::faults::{Faults, QUICK};
use super::ledger::Ledger;
use super::node_host::{NodeHost, NodeSetup};
use super::panics;
use super::shop_host::ShopHost;

/// How finely virtual time is simulated: messages arrive at whole ticks.
const TICK: Duration = Duration::from_millis(3);

/// When the first fault may come: by then the cluster is founded and has its document.
const FIRST_FAULT: Duration = Duration::from_secs(2);

/// When everything is healed.
const HEALED: Duration = Duration::from_secs(11);

/// How long the cluster has after that until every node must hold a lease and answer.
const SETTLING: Duration = Duration::from_secs(3);

/// When clients must have checked everything.
const END: Duration = Duration::from_secs(40);

/// What a run has come to.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// What happened, line by line.
    pub trace: Vec<String>,
    /// What was found broken; the run ends with the first of it.
    pub violations: Vec<String>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Runs a seed, on a thread of its own.
///
/// # Panics
/// When the thread can't be had, or the simulation itself breaks.
#[must_use]
pub fn run(seed: u64) -> Run {
    let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(32 << 20);
    let running = thread.spawn(move || simulate(seed)).expect("a thread for the run");
    running.join().expect("the simulation itself does not panic")
}

struct World<'a> {
    sim: Sim<'a>,
    ledger: Ledger,
    faults: Faults,
    nodes: BTreeMap<NodeId, Arc<NodeHost>>,
    season: watch::Sender<Season>,
    done: Arc<watch::Sender<usize>>,
}

fn simulate(number: u64) -> Run {
    panics::watch();
    let mut world = World::new(number);
    while !world.is_over() {
        if let Err(error) = world.step() {
            world.ledger.open().violations.push(format!("a host ended: {error}"));
        }
        for panic in panics::take() {
            world.ledger.open().violations.push(format!("a task panicked: {panic}"));
        }
    }
    let contents = std::mem::take(&mut *world.ledger.open());
    Run { seed: number, trace: contents.trace, violations: contents.violations, counts: contents.counts }
}

impl World<'_> {
    fn new(number: u64) -> Self {
        let seed = Seed::from_number(number);
        let ledger = Ledger::default();
        let mut sim = turmoil::Builder::new()
            .rng_seed(number)
            .epoch(SystemTime::UNIX_EPOCH)
            .tick_duration(TICK)
            .simulation_duration(END * 2)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(QUICK)
            .tcp_capacity(4096)
            .enable_tokio_io()
            .build();
        let addresses: BTreeMap<NodeId, IpAddr> =
            NODES.into_iter().map(|node| (node, sim.lookup(host_of(node)))).collect();
        let shop_addresses: BTreeMap<&'static str, IpAddr> =
            SHOPS.into_iter().map(|shop| (shop, sim.lookup(shop))).collect();
        let shops: BTreeMap<&'static str, Arc<ShopHost>> = SHOPS
            .into_iter()
            .map(|shop| (shop, Arc::new(ShopHost::new(shop, seed.child(shop), ledger.clone()))))
            .collect();
        for (name, shop) in &shops {
            let shop = Arc::clone(shop);
            sim.host(*name, move || Arc::clone(&shop).run());
        }
        // The same for all, or the quickest disk would keep what the others lose.
        let sync = match seed.child("disks").rng().random_range(0..5_u64) {
            0 => SyncPolicy::Immediate,
            several => SyncPolicy::After(Duration::from_millis(6 + several * 6)),
        };
        let mut nodes = BTreeMap::new();
        for node in NODES {
            let host = Arc::new(NodeHost::new(NodeSetup {
                node,
                seed: seed.child(&host_of(node)),
                ledger: ledger.clone(),
                addresses: addresses.clone(),
                shops: shop_addresses.clone(),
                document: (node == NODES[0]).then(|| document(&shop_addresses)),
                sync,
            }));
            nodes.insert(node, Arc::clone(&host));
            sim.host(host_of(node), move || Arc::clone(&host).run());
        }
        let season = watch::Sender::new(Season::Turmoil);
        let done = Arc::new(watch::Sender::new(0));
        let clients = Clients {
            seed: seed.child(CLIENTS),
            ledger: ledger.clone(),
            nodes: addresses,
            season: season.subscribe(),
            done: Arc::clone(&done),
        };
        sim.client(CLIENTS, clients.run());
        let faults =
            Faults::new(seed.child("faults").rng(), ledger.clone(), nodes.clone(), shops, FIRST_FAULT);
        Self { sim, ledger, faults, nodes, season, done }
    }

    fn is_over(&self) -> bool {
        *self.done.borrow() == clients::CLIENTS || !self.ledger.open().violations.is_empty()
    }

    /// One tick of virtual time.
    fn step(&mut self) -> turmoil::Result {
        self.sim.step()?;
        let now = self.sim.elapsed();
        if now < HEALED {
            self.faults.tick(&mut self.sim, now);
        } else if now < HEALED + TICK {
            self.ledger.note_at(now, "all", "*** is healed");
            self.faults.heal(&mut self.sim);
        } else if now >= HEALED + SETTLING && *self.season.borrow() == Season::Turmoil {
            self.ledger.note_at(now, "all", "*** has settled");
            for (node, _) in self.nodes.iter().filter(|(_, host)| !host.is_leased()) {
                self.ledger.violated(format!("node {node} has no lease {SETTLING:?} after all was healed"));
            }
            self.season.send_replace(Season::Calm);
        } else if now >= END {
            self.ledger.violated(format!("clients are not done at {END:?}"));
        }
        Ok(())
    }
}
