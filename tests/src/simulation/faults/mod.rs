//! Carries out a plan: does what is due, and undoes it when its time is over.

mod network;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_core::state::{Admin, JobChange};
use stickler_rt::NameTable;
use tokio::sync::mpsc;
use turmoil::Sim;

use super::crowd::{Crowd, Wants};
use super::document::{all_shops, host_of};
use super::ledger::Ledger;
use super::links::{Broken, Links};
use super::node_host::NodeHost;
use super::operators::Order;
use super::plan::{Event, Operation, Plan, PowerCuts, Trouble, What, Who, others};
use super::pool_changes::NAME;
use super::shop_host::ShopHost;

/// Does and undoes what a plan says.
pub struct Faults {
    ledger: Ledger,
    nodes: BTreeMap<NodeId, Arc<NodeHost>>,
    shops: BTreeMap<&'static str, Arc<ShopHost>>,
    links: Links,
    /// What has not begun, the last one first.
    events: Vec<Event>,
    /// All nodes lose power when there have been so many sessions.
    crash_all_at: Option<(u64, PowerCuts)>,
    crowds: mpsc::UnboundedSender<Crowd>,
    names: NameTable,
    pending: Vec<(Duration, Undo)>,
}

/// What is to be done later.
enum Undo {
    Start(NodeId, Option<Broken>),
    /// A shop's process ends or starts.
    Alive(&'static str, bool),
    Restart(&'static str),
    Mend(Broken),
    /// A link is cut again, and after that again, so many times.
    CutAgain(String, String, u32),
    Hasten,
    HastenNode(NodeId),
    /// A node that was cut off is back, over links that take this long, for so long.
    SlowlyBack(NodeId, Broken, Duration),
    /// A node whose links are slow is cut off, for as long as `SLOWLY`.
    Leaves(NodeId),
    /// Somebody at a node does this.
    Order(NodeId, Order),
    /// A shop wants new sessions again.
    TakesNew(&'static str),
    /// A shop's page has the right words again.
    RightWords(&'static str),
    /// A crowd comes.
    Crowd(Crowd),
    /// A shop's trouble is over.
    Well(&'static str),
    Ready(&'static str),
}

/// Longest delay of a message when the network is well.
pub const QUICK: Duration = Duration::from_millis(4);

/// The parameter of the exponential distribution of delays, when the network is well and when it is slow.
const MOSTLY_QUICK: f64 = 5.0;
const OFTEN_SLOW: f64 = 1.5;

/// How long a shop is slow until most of its clients wait for it.
const BUSY: Duration = Duration::from_millis(300);

/// How long after an operator wants it a shop is ready, and how long it takes a crowd then to come.
const READY: Duration = Duration::from_millis(200);
const COME: Duration = Duration::from_millis(700);

/// How often something that flaps does, and how long it is in one state.
const FLAPS: u32 = 6;
const FLAP: Duration = Duration::from_millis(90);

/// How long a shop takes to start again in place.
const RESTART: Duration = Duration::from_millis(30);

/// How long a node is away at least that comes back slowly, longer than any lease; and how long it is slow then, or
/// away that was slow before.
const AWAY: Duration = Duration::from_millis(1200);
const SLOWLY: Duration = Duration::from_millis(1600);

/// For how long a node that was cut off surely has its lease, less what operators think.
const LEASED: Duration = Duration::from_millis(600);

impl Faults {
    /// Has done nothing yet.
    #[must_use]
    pub fn new(
        plan: &Plan,
        ledger: Ledger,
        nodes: BTreeMap<NodeId, Arc<NodeHost>>,
        shops: BTreeMap<&'static str, Arc<ShopHost>>,
        crowds: mpsc::UnboundedSender<Crowd>,
        names: NameTable,
    ) -> Self {
        let events = plan.events.iter().rev().cloned().collect();
        let (links, pending) = (Links::default(), Vec::new());
        Self { ledger, nodes, shops, links, events, crash_all_at: None, crowds, names, pending }
    }

    /// Does what is due at this time.
    pub fn tick(&mut self, sim: &mut Sim<'_>, now: Duration) {
        self.undo(sim, now);
        let revealed = self.ledger.counted("sessions");
        if let Some((_, all)) = self.crash_all_at.take_if(|(sessions, _)| revealed >= *sessions) {
            self.crash_all(sim, now, all);
        }
        while let Some(event) = self.events.pop_if(|event| event.at <= now) {
            self.ledger.note_at(now, "fault", format_args!("*** {} {:?}", event.number, event.what));
            self.begin(sim, now, event);
        }
    }

    /// Undoes everything.
    pub fn heal(&mut self, sim: &mut Sim<'_>, now: Duration) {
        self.events.clear();
        self.crash_all_at = None;
        // What is undone in steps has no further steps now, but for a node that is slow when it is back.
        self.pending.retain(|(_, undo)| !matches!(undo, Undo::Order(..)));
        self.undo(sim, Duration::MAX);
        self.pending.retain(|(_, undo)| matches!(undo, Undo::HastenNode(_)));
        self.undo(sim, Duration::MAX);
        self.pending.clear();
        self.links.mend_all(sim);
        self.nodes.values().for_each(|node| node.heal());
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            if !sim.is_host_running(host_of(node)) {
                self.start(sim, node);
            }
        }
        for (name, shop) in &self.shops {
            shop.set_alive(true);
            shop.set_drains(false);
            shop.set_ill(false);
            shop.set_trouble(None);
            {
                let truths = &mut self.ledger.open().evidence.shops;
                truths.dies(now, name, false);
                truths.is_ill(now, name, false);
                truths.drains(now, name, false);
            }
            if !sim.is_host_running(*name) {
                sim.bounce(*name);
            }
        }
        self.ready();
        self.ledger.note_at(now, "all", "*** is healed");
    }

    /// All shops are to be ready, and no job empties one any more.
    pub fn ready(&self) {
        self.order_all(&Order::ChangeJobs(JobChange::Cancel));
        for shop in all_shops() {
            self.order_all(&Order::Admin(shop, Admin::Ready));
        }
    }

    fn undo(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let pending = std::mem::take(&mut self.pending);
        let (due, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(at, _)| *at <= now);
        self.pending = later;
        for (at, undo) in due {
            match undo {
                Undo::Start(node, broken) => {
                    if let Some(broken) = &broken {
                        self.links.mend(sim, broken);
                    }
                    self.start(sim, node);
                }
                Undo::Alive(shop, alive) => {
                    self.shops[shop].set_alive(alive);
                    self.ledger.open().evidence.shops.dies(sim.elapsed(), shop, !alive);
                }
                Undo::Restart(shop) => {
                    sim.bounce(shop);
                    self.ledger.open().evidence.shops.dies(sim.elapsed(), shop, false);
                }
                Undo::Mend(broken) => self.links.mend(sim, &broken),
                Undo::CutAgain(one, other, times) => self.flap(sim, at, &one, &other, times),
                Undo::Hasten => {
                    sim.set_max_message_latency(QUICK);
                    sim.set_message_latency_curve(MOSTLY_QUICK);
                }
                Undo::HastenNode(node) => self.delay(sim, node, QUICK / 2),
                Undo::SlowlyBack(node, broken, delay) => {
                    self.links.mend(sim, &broken);
                    self.delay(sim, node, delay);
                    self.pending.push((at + SLOWLY, Undo::HastenNode(node)));
                }
                Undo::Leaves(node) => {
                    let peers: Vec<String> = others(self.nodes.len() as u64, node).map(host_of).collect();
                    let broken = self.links.cut(sim, &host_of(node), &peers);
                    self.delay(sim, node, QUICK / 2);
                    self.pending.push((at + SLOWLY, Undo::Mend(broken)));
                }
                Undo::Order(node, order) => self.nodes[&node].order(order),
                Undo::TakesNew(shop) => self.drains(sim.elapsed(), shop, false),
                Undo::RightWords(shop) => self.is_ill(sim.elapsed(), shop, false),
                // Clients that are done take no crowds any more.
                Undo::Crowd(crowd) => drop(self.crowds.send(crowd)),
                Undo::Well(shop) => self.shops[shop].set_trouble(None),
                Undo::Ready(shop) => self.order_all(&Order::Admin(shop, Admin::Ready)),
            }
        }
    }

    fn start(&self, sim: &mut Sim<'_>, node: NodeId) {
        sim.bounce(host_of(node));
    }

    fn is(&self, who: Who) -> NodeId {
        who.is(self.nodes.iter().find(|(_, host)| host.leads()).map(|(node, _)| *node))
    }

    fn begin(&mut self, sim: &mut Sim<'_>, now: Duration, event: Event) {
        let until = now + event.length;
        self.ledger.count(event.what.counts_as());
        match event.what {
            What::Kill(who) => self.crash(sim, self.is(who), until, None),
            What::PowerCut(who, torn) => self.crash(sim, self.is(who), until, Some(torn)),
            What::PowerCutAll(all) => {
                // At the worst moment: right after the next session was revealed.
                self.crash_all_at = Some((self.ledger.counted("sessions") + 1, all));
            }
            What::DiskFails(who) => {
                let node = self.is(who);
                self.nodes[&node].disk.fail_next_sync("the simulated disk is broken");
                self.pending.push((until, Undo::Start(node, None)));
            }
            What::Stop(who) => {
                let node = self.is(who);
                if sim.is_host_running(host_of(node)) {
                    self.nodes[&node].order(Order::Stop(event.length));
                }
            }
            What::HandOver(who) => self.nodes[&self.is(who)].order(Order::HandOver),
            What::Skew(who, rate) => self.nodes[&self.is(who)].order(Order::Skew(rate)),
            What::Compact(who) => self.nodes[&self.is(who)].order(Order::Compact),
            What::Operate(who, operation) => self.nodes[&self.is(who)].order(Order::Session(operation)),
            What::Document(who, plan) => self.nodes[&self.is(who)].order(Order::Document(plan)),
            What::Name(shops) => self.names.set(NAME, shops.iter().map(|shop| sim.lookup(*shop)).collect()),
            What::Job(who, plan) => self.nodes[&self.is(who)].order(Order::Job(plan)),
            What::JobAtSlowShop(who, job, shop, slower) => {
                self.trouble(shop, Trouble::Slow(slower), until);
                self.pending.push((now + BUSY, Undo::Order(self.is(who), Order::Job(job))));
            }
            What::CancelJobs(who) => self.nodes[&self.is(who)].order(Order::ChangeJobs(JobChange::Cancel)),
            What::PauseJobs(who) => {
                let node = self.is(who);
                self.nodes[&node].order(Order::ChangeJobs(JobChange::Pause));
                self.pending.push((until, Undo::Order(node, Order::ChangeJobs(JobChange::Resume))));
            }
            What::Rotate(who) => self.nodes[&self.is(who)].order(Order::Rotate),
            What::Admin(shop, admin) => {
                self.order_all(&Order::Admin(shop, admin));
                self.pending.push((until, Undo::Ready(shop)));
            }
            What::AdminFlaps(shop, back) => {
                self.order_all(&Order::Admin(shop, Admin::Maint));
                self.pending.push((now + back, Undo::Ready(shop)));
            }
            What::ShopDies(shop) => self.shop(now, shop, [(now, false), (until, true)]),
            What::ShopFlaps(shop) => {
                let steps = (0..FLAPS * 2).map(|step| (now + FLAP * step, step % 2 == 1));
                self.shop(now, shop, steps);
            }
            What::ShopRestarts(shop) => self.shop(now, shop, [(now, false), (now + RESTART, true)]),
            What::ShopIll(shop) => {
                self.is_ill(now, shop, true);
                self.pending.push((until, Undo::RightWords(shop)));
            }
            What::Newcomer(who, shop, size, wants) => {
                self.order_all(&Order::Admin(shop, Admin::Maint));
                self.pending.push((until, Undo::Ready(shop)));
                let crowd = Crowd { node: self.is(who), size, wants, within: COME };
                self.pending.push((until + READY, Undo::Crowd(crowd)));
            }
            What::ShopDrains(shop) => {
                self.drains(now, shop, true);
                self.pending.push((until, Undo::TakesNew(shop)));
            }
            What::ShopTrouble(shop, trouble) => self.trouble(shop, trouble, until),
            What::Crowd(who, size, trouble) => {
                for shop in trouble.iter().flat_map(|trouble| all_shops().map(|shop| (shop, *trouble))) {
                    self.trouble(shop.0, shop.1, until);
                }
                let (node, wants, within) = (self.is(who), Wants::Page, event.length / 3);
                // Clients that are done take no crowds any more.
                let _ = self.crowds.send(Crowd { node, size, wants, within });
            }
            What::ComesBackSlowly(who, delay, operations) => {
                let node = self.is(who);
                let peers: Vec<String> = others(self.nodes.len() as u64, node).map(host_of).collect();
                let broken = self.links.cut(sim, &host_of(node), &peers);
                let back = until + AWAY;
                self.pending.push((back, Undo::SlowlyBack(node, broken, delay)));
                self.operate_elsewhere(node, (back, SLOWLY), operations);
            }
            What::LeavesSlowly(who, delay, operations) => {
                let node = self.is(who);
                self.delay(sim, node, delay);
                self.pending.push((until, Undo::Leaves(node)));
                self.operate_elsewhere(node, (until, LEASED), operations);
            }
            What::ShopVanishes(shop) if sim.is_host_running(shop) => {
                sim.crash(shop);
                self.ledger.open().evidence.shops.dies(now, shop, true);
                self.pending.push((until, Undo::Restart(shop)));
            }
            What::ShopVanishes(_) => {}
            what => self.disturb(sim, now, until, what),
        }
    }

    /// Operators at the other nodes are busy from a moment on, for so long.
    fn operate_elsewhere(
        &mut self,
        node: NodeId,
        (from, length): (Duration, Duration),
        operations: Vec<Operation>,
    ) {
        let operators: Vec<NodeId> = others(self.nodes.len() as u64, node).collect();
        for (number, operation) in (0..).zip(operations) {
            let at = from + length * number / 8;
            let node = operators[number as usize % operators.len()];
            self.pending.push((at, Undo::Order(node, Order::Session(operation))));
        }
    }

    /// Lets a shop's process die and start, unless it is in the middle of that already.
    fn shop(&mut self, now: Duration, shop: &'static str, steps: impl IntoIterator<Item = (Duration, bool)>) {
        let busy = self.pending.iter().any(
            |(at, undo)| matches!(undo, Undo::Alive(busy, _) | Undo::Restart(busy) if *busy == shop && *at > now),
        );
        if !busy {
            self.pending.extend(steps.into_iter().map(|(at, alive)| (at, Undo::Alive(shop, alive))));
        }
    }

    fn drains(&self, now: Duration, shop: &'static str, drains: bool) {
        self.shops[shop].set_drains(drains);
        self.ledger.open().evidence.shops.drains(now, shop, drains);
    }

    fn is_ill(&self, now: Duration, shop: &'static str, ill: bool) {
        self.shops[shop].set_ill(ill);
        self.ledger.open().evidence.shops.is_ill(now, shop, ill);
    }

    fn trouble(&mut self, shop: &'static str, trouble: Trouble, until: Duration) {
        self.shops[shop].set_trouble(Some(trouble));
        self.pending.push((until, Undo::Well(shop)));
    }

    /// Asks all nodes: the first one that has an answer from the leader does it, the others come too late.
    fn order_all(&self, order: &Order) {
        for node in self.nodes.values() {
            node.order(order.clone());
        }
    }
}

fn shops() -> impl Iterator<Item = String> {
    all_shops().map(str::to_owned)
}
