//! One run: everything is made from the seed, goes through turmoil, and is healed at the end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use stickler_core::deliberate::Fault;
use stickler_core::ids::NodeId;
use stickler_rt::{Clock, NameTable, Seed, wall_clock};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use turmoil::Sim;

use super::clients::{self, Clients, Season};
use super::document::{CLIENTS, NAMED, SHOPS, all_shops, host_of, idle_timeout, nodes};
use super::draw::draw;
use super::faults::{Faults, QUICK};
use super::leaving_rate::LeavingRate;
use super::ledger::Ledger;
use super::node_host::{NodeHost, NodeSetup};
use super::panics;
use super::plan::Plan;
use super::pool_changes::NAME;
use super::session::Kind;
use super::shop_host::ShopHost;
use super::shop_truths::ShopTruths;
use super::waiting_for_room::WaitingForRoom;

/// How finely virtual time is simulated: messages arrive at whole ticks.
const TICK: Duration = Duration::from_millis(4);

/// How long the cluster has after it was healed until every node must hold a lease and answer.
const SETTLING: Duration = Duration::from_secs(3);

/// How long clients have after that.
const CHECKING: Duration = Duration::from_secs(26);

/// How long after it was healed it is looked for sessions that nobody uses and that are there, where the plan waits for
/// that. Before its end clients have used some for the last time, and had those make room that were there before; so it is
/// looked for longer than such a session may be there: the longest life of a use that is still on its way, and a fifth
/// more than the longest of the short time-outs, by the slowest clock.
const EXPIRED: Duration = Duration::from_millis(11_500);
const LATE: (Kind, Duration) = (Kind::Api, Duration::from_millis(6500));

/// What a run is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Its seed.
    pub seed: u64,
    /// How many nodes; else the seed says.
    pub nodes: Option<u64>,
    /// The numbers of the plan's events that happen; else all.
    pub only: Option<Vec<usize>>,
    /// The mistake that the product makes.
    pub fault: Option<Fault>,
    /// Whether a trace is kept.
    pub traced: bool,
}

/// What a run has come to.
#[derive(Clone, Debug)]
pub struct Run {
    /// What happened, line by line.
    pub trace: Vec<String>,
    /// What was found broken; the run ends with the first of it.
    pub violations: Vec<String>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Setting {
    /// The plan of the run.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut plan = draw(self.seed, self.nodes);
        if let Some(only) = &self.only {
            plan.keep_only(only);
        }
        plan
    }
}

/// Longest run in real time: something that waits for itself never lets virtual time go on.
const LONGEST: Duration = Duration::from_secs(180);

/// Where the machine's clock stands in runs, in seconds since 1970: see standing_clock.c, which knows their threads by name.
const STANDS_AT: Duration = Duration::from_secs(1_767_225_600);

/// Runs a seed, on a thread of its own, which is left behind when the run does not end.
///
/// # Panics
/// When the thread can't be had, or the simulation itself breaks.
#[must_use]
pub fn run(setting: &Setting) -> Run {
    let setting = setting.clone();
    let thread = std::thread::Builder::new().name(format!("seed-{}", setting.seed)).stack_size(32 << 20);
    let (done, ended) = mpsc::channel();
    let running = thread.spawn(move || done.send(simulate(&setting))).expect("a thread for the run");
    match ended.recv_timeout(LONGEST) {
        Ok(run) => run,
        Err(mpsc::RecvTimeoutError::Timeout) => Run {
            trace: Vec::new(),
            violations: vec![format!("liveness: time stands still: the run did not end in {LONGEST:?}")],
            counts: BTreeMap::new(),
        },
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            panic!("the simulation itself broke: {:?}", running.join())
        }
    }
}

struct World<'a> {
    sim: Sim<'a>,
    plan: Plan,
    ledger: Ledger,
    faults: Faults,
    nodes: BTreeMap<NodeId, Arc<NodeHost>>,
    season: watch::Sender<Season>,
    done: Arc<watch::Sender<usize>>,
    healed: bool,
    /// When operators look once more that all shops are ready.
    again: Option<Duration>,
}

fn simulate(setting: &Setting) -> Run {
    panics::watch();
    let reads = wall_clock(&Clock::start());
    assert_eq!(reads, SystemTime::UNIX_EPOCH + STANDS_AT, "a run would see the machine's clock");
    #[cfg(feature = "deliberate-faults")]
    if let Some(fault) = setting.fault {
        stickler_core::deliberate::switch_on(fault);
    }
    let mut world = World::new(setting);
    while !world.is_over() {
        if let Err(error) = world.step() {
            world.ledger.violated_at(world.sim.elapsed(), format_args!("liveness: a host ended: {error}"));
        }
        for panic in panics::take() {
            world.ledger.violated_at(world.sim.elapsed(), format_args!("a task panicked: {panic}"));
        }
    }
    let contents = std::mem::take(&mut *world.ledger.open());
    Run { trace: contents.trace, violations: contents.violations, counts: contents.counts }
}

fn network(seed: u64, plan: &Plan) -> Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .tick_duration(TICK)
        .simulation_duration((plan.healed + SETTLING + CHECKING) * 2)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(QUICK)
        .tcp_capacity(plan.buffer)
        .build()
}

impl World<'_> {
    fn new(setting: &Setting) -> Self {
        let plan = setting.plan();
        let seed = Seed::from_number(setting.seed);
        let ledger = Ledger::new(setting.traced);
        let mut sim = network(setting.seed, &plan);
        let addresses: BTreeMap<NodeId, IpAddr> =
            nodes(plan.nodes).map(|node| (node, sim.lookup(host_of(node)))).collect();
        let shop_addresses: BTreeMap<&'static str, IpAddr> =
            all_shops().map(|shop| (shop, sim.lookup(shop))).collect();
        let shops: BTreeMap<&'static str, Arc<ShopHost>> = all_shops()
            .map(|shop| {
                let host = ShopHost::new(shop, seed.child(shop), ledger.clone(), plan.pool.check);
                (shop, Arc::new(host))
            })
            .collect();
        for (name, shop) in &shops {
            let shop = Arc::clone(shop);
            sim.host(*name, move || Arc::clone(&shop).run());
        }
        let named = shop_addresses.iter().map(|(name, ip)| (*ip, *name)).collect();
        ledger.open().evidence.pool_changes.shops = named;
        {
            let evidence = &mut ledger.open().evidence;
            evidence.room = WaitingForRoom::new(&plan.pool, plan.well);
            evidence.shops = ShopTruths::new(plan.pool.check, plan.well);
            evidence.leaving = LeavingRate::new(&plan.pool);
        }
        let names = NameTable::default();
        names.set(NAME, NAMED.iter().map(|shop| shop_addresses[shop]).collect());
        let mut hosts = BTreeMap::new();
        for node in nodes(plan.nodes) {
            let host = Arc::new(NodeHost::new(NodeSetup {
                node,
                seed: seed.child(&host_of(node)),
                ledger: ledger.clone(),
                addresses: addresses.clone(),
                shops: shop_addresses.clone(),
                sync: plan.sync,
                pool: plan.pool.clone(),
                well: plan.well,
                names: names.clone(),
            }));
            hosts.insert(node, Arc::clone(&host));
            sim.host(host_of(node), move || Arc::clone(&host).run());
        }
        let season = watch::Sender::new(Season::Turmoil);
        let done = Arc::new(watch::Sender::new(0));
        let (crowds, come) = unbounded_channel();
        let clients = Clients {
            seed: seed.child(CLIENTS),
            ledger: ledger.clone(),
            nodes: addresses,
            season: season.subscribe(),
            crowds: come,
            redirect_to: plan.pool.redirect_to,
            done: Arc::clone(&done),
        };
        sim.client(CLIENTS, clients.run());
        let faults = Faults::new(&plan, ledger.clone(), hosts.clone(), shops, crowds, names);
        let again = Some(plan.healed + SETTLING / 2);
        Self { sim, plan, ledger, faults, nodes: hosts, season, done, healed: false, again }
    }

    fn is_over(&self) -> bool {
        let done = *self.done.borrow() == clients::CLIENTS;
        let waited = !self.plan.waits_for_expiry || self.sim.elapsed() > self.plan.healed + EXPIRED;
        done && waited || !self.ledger.open().violations.is_empty()
    }

    /// One tick of virtual time.
    fn step(&mut self) -> turmoil::Result {
        self.sim.step()?;
        let now = self.sim.elapsed();
        self.note_leases(now);
        let unfounded = self.ledger.open().evidence.unfounded_refusal(now);
        if let Some(broken) = unfounded {
            self.ledger.violated_at(now, broken);
        }
        let settled = self.plan.healed + SETTLING;
        if now < self.plan.healed {
            self.faults.tick(&mut self.sim, now);
        } else if !self.healed {
            self.healed = true;
            self.faults.heal(&mut self.sim, now);
        } else if self.again.is_some_and(|again| now >= again) {
            // By now what an operator had begun before is done or given up.
            self.again = None;
            self.faults.ready();
        } else if now >= settled && *self.season.borrow() == Season::Turmoil {
            self.ledger.note_at(now, "all", "*** has settled");
            self.is_well(now);
            self.conflicts_are_listed(now);
            self.have_left_slowly(now);
            self.ledger.open().evidence.settled = Some(now);
            self.season.send_replace(Season::Calm);
        } else if now >= settled + CHECKING {
            self.ledger.violated_at(now, "liveness: clients are not done");
        } else if self.plan.waits_for_expiry && now > settled {
            self.has_expired(now);
        }
        Ok(())
    }

    /// Since when all nodes run and hold leases.
    fn note_leases(&mut self, now: Duration) {
        let sim = &mut self.sim;
        let all =
            self.nodes.iter().all(|(node, host)| sim.is_host_running(host_of(*node)) && host.is_leased());
        let mut contents = self.ledger.open();
        let since = contents.evidence.all_leased.take();
        contents.evidence.all_leased = all.then(|| since.unwrap_or(now));
    }

    /// Liveness: some time after everything is healed, all nodes hold leases and all shops are up.
    fn is_well(&self, now: Duration) {
        for (node, host) in &self.nodes {
            if !host.is_leased() {
                let after =
                    format_args!("liveness: node {node} has no lease {SETTLING:?} after the end of faults");
                self.ledger.violated_at(now, after);
            }
            if host.shops_up() < SHOPS.len() - 1 {
                let up = host.shops_up();
                let after = format_args!(
                    "liveness: node {node} has only {up} shops up {SETTLING:?} after the end of faults"
                );
                self.ledger.violated_at(now, after);
            }
        }
    }

    /// Sessions have left shops that were gone no faster than they were to.
    fn have_left_slowly(&self, now: Duration) {
        let kept = {
            let evidence = &self.ledger.open().evidence;
            evidence.leaving.is_kept(evidence.progress.offices())
        };
        if let Err(broken) = kept
            && self.plan.well
        {
            self.ledger.violated_at(now, broken);
        }
    }

    /// What a node served without a lease by an epoch that had ended is listed, on every node.
    fn conflicts_are_listed(&self, now: Duration) {
        let conflicts = self.ledger.open().evidence.conflicts();
        for overtaken in conflicts {
            self.ledger.count("conflicts judged");
            for (node, host) in &self.nodes {
                if !host.lists(&overtaken) {
                    self.ledger.violated_at(
                        now,
                        format_args!("node {node} does not list the conflict {overtaken:?}"),
                    );
                }
            }
        }
    }

    /// I8: what nobody has used for long is gone, on every node.
    fn has_expired(&self, now: Duration) {
        let (kind, late) = LATE;
        for (node, host) in &self.nodes {
            for session in host.sessions_of(idle_timeout(kind)) {
                let (used, all_leased) = {
                    let evidence = &self.ledger.open().evidence;
                    (evidence.last_used(session), evidence.all_leased)
                };
                // Without a leader the cluster's time stands still.
                let Some((used, since)) = used.zip(all_leased) else { continue };
                if now.saturating_sub(used.max(since)) > late {
                    self.ledger.violated_at(
                        now,
                        format_args!("I8 OneTime: {session} was last used at {used:?} and is still there on node {node}"),
                    );
                }
            }
        }
    }
}
