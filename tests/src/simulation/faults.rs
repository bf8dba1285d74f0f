//! What goes wrong, and when: drawn from the seed, one fault after the other, several at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::NodeId;
use stickler_core::state::Admin;
use turmoil::Sim;

use super::document::{CLIENTS, NODES, SHOPS, host_of};
use super::ledger::Ledger;
use super::links::{Broken, Links};
use super::node_host::{NodeHost, Order};
use super::shop_host::ShopHost;

/// Draws and undoes faults.
pub struct Faults {
    random: StdRng,
    ledger: Ledger,
    nodes: BTreeMap<NodeId, Arc<NodeHost>>,
    shops: BTreeMap<&'static str, Arc<ShopHost>>,
    links: Links,
    next: Duration,
    /// All nodes lose power when there have been so many sessions.
    crash_all_at: Option<u64>,
    pending: Vec<(Duration, Undo)>,
}

/// How a fault ends.
enum Undo {
    Start(NodeId, Option<Broken>),
    Open(&'static str),
    Restart(&'static str),
    Mend(Broken),
    Hasten,
    Ready(&'static str),
}

/// Longest delay of a message when the network is well.
pub const QUICK: Duration = Duration::from_millis(4);

/// Shortest and longest pause between two faults, and length of a fault, in milliseconds.
const PAUSE: (u64, u64) = (100, 1100);
const LENGTH: (u64, u64) = (100, 2800);

impl Faults {
    /// No faults yet; the first one comes after `from`.
    #[must_use]
    pub fn new(
        random: StdRng,
        ledger: Ledger,
        nodes: BTreeMap<NodeId, Arc<NodeHost>>,
        shops: BTreeMap<&'static str, Arc<ShopHost>>,
        from: Duration,
    ) -> Self {
        Self {
            random,
            ledger,
            nodes,
            shops,
            links: Links::default(),
            next: from,
            crash_all_at: None,
            pending: Vec::new(),
        }
    }

    /// Does what is due at this time.
    pub fn tick(&mut self, sim: &mut Sim<'_>, now: Duration) {
        self.undo(sim, now);
        if self.crash_all_at.is_some_and(|sessions| self.ledger.counted("sessions") >= sessions) {
            self.crash_all_at = None;
            self.crash_all(sim, now);
        }
        if now < self.next {
            return;
        }
        let length = Duration::from_millis(self.random.random_range(LENGTH.0..LENGTH.1));
        self.next = now + Duration::from_millis(self.random.random_range(PAUSE.0..PAUSE.1));
        self.draw(sim, now, now + length);
    }

    /// Undoes everything.
    pub fn heal(&mut self, sim: &mut Sim<'_>) {
        self.undo(sim, Duration::MAX);
        for shop in SHOPS {
            for node in self.nodes.values() {
                node.order(Order::Admin(shop, Admin::Ready));
            }
        }
    }

    fn undo(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let pending = std::mem::take(&mut self.pending);
        let (due, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(at, _)| *at <= now);
        self.pending = later;
        for (_, undo) in due {
            match undo {
                Undo::Start(node, broken) => {
                    if let Some(broken) = &broken {
                        self.links.mend(sim, broken);
                    }
                    sim.bounce(host_of(node));
                }
                Undo::Open(shop) => self.shops[shop].set_alive(true),
                Undo::Restart(shop) => sim.bounce(shop),
                Undo::Mend(broken) => self.links.mend(sim, &broken),
                Undo::Hasten => sim.set_max_message_latency(QUICK),
                Undo::Ready(shop) => self.order(Order::Admin(shop, Admin::Ready)),
            }
        }
    }

    fn draw(&mut self, sim: &mut Sim<'_>, now: Duration, until: Duration) {
        let node = NODES[self.random.random_range(0..NODES.len())];
        let shop = SHOPS[self.random.random_range(0..SHOPS.len())];
        let host = host_of(node);
        let (what, undo) = match self.random.random_range(0..100) {
            0..12 => return self.crash(sim, now, node, until),
            12..23 => {
                // At the worst moment: right after the next session was revealed.
                self.crash_all_at = Some(self.ledger.counted("sessions") + 1);
                return;
            }
            23..34 => {
                let everybody = self.peers().chain(shops()).chain([CLIENTS.to_owned()]).collect::<Vec<_>>();
                ("stands still", Undo::Mend(self.links.hold(sim, &host, &everybody)))
            }
            34..44 => {
                let peers: Vec<String> = self.peers().collect();
                ("is cut off from the nodes", Undo::Mend(self.links.cut(sim, &host, &peers)))
            }
            44..50 => {
                let all: Vec<String> = self.peers().chain(shops()).collect();
                ("is alone with its clients", Undo::Mend(self.links.cut(sim, &host, &all)))
            }
            50..60 => {
                let other = host_of(NODES[self.random.random_range(0..NODES.len())]);
                if other == host {
                    return;
                }
                ("is not heard by a node", Undo::Mend(self.links.cut_one_way(sim, &host, &other)))
            }
            60..66 => ("can't reach a shop", Undo::Mend(self.links.cut(sim, &host, &[shop.to_owned()]))),
            66..84 => return self.kill(sim, now, shop, until),
            84..90 => {
                sim.set_max_message_latency(Duration::from_millis(self.random.random_range(20..120)));
                ("and all others have a slow network", Undo::Hasten)
            }
            90..94 => {
                self.nodes[&node].order(Order::Compact);
                return self.note(now, &host, "makes a snapshot");
            }
            _ => {
                self.order(Order::Admin(shop, Admin::Maint));
                ("hears of a shop in maint", Undo::Ready(shop))
            }
        };
        self.note(now, &host, what);
        self.pending.push((until, undo));
    }

    /// A process that dies leaves what it wrote with its machine; a machine that dies loses what it did not
    /// sync, or some of it, and nobody hears of it.
    fn crash(&mut self, sim: &mut Sim<'_>, now: Duration, node: NodeId, until: Duration) {
        let host = host_of(node);
        if !sim.is_host_running(host.as_str()) {
            return;
        }
        let broken = if self.random.random_bool(0.5) {
            self.note(now, &host, "is killed");
            sim.crash(host.as_str());
            None
        } else {
            self.note(now, &host, "loses power");
            let all: Vec<String> = self.peers().chain(shops()).chain([CLIENTS.to_owned()]).collect();
            let broken = self.links.cut(sim, &host, &all);
            sim.crash(host.as_str());
            self.lose(node);
            Some(broken)
        };
        self.pending.push((until, Undo::Start(node, broken)));
    }

    fn crash_all(&mut self, sim: &mut Sim<'_>, now: Duration) {
        self.note(now, "all nodes", "lose power");
        for node in NODES {
            if sim.is_host_running(host_of(node)) {
                sim.crash(host_of(node));
                self.lose(node);
                let until = now + Duration::from_millis(self.random.random_range(20..1200));
                self.pending.push((until, Undo::Start(node, None)));
            }
        }
    }

    fn lose(&mut self, node: NodeId) {
        let torn = self.random.random_bool(0.3).then(|| self.random.random());
        self.nodes[&node].disk.crash(torn);
    }

    fn kill(&mut self, sim: &mut Sim<'_>, now: Duration, shop: &'static str, until: Duration) {
        let busy = self
            .pending
            .iter()
            .any(|(_, undo)| matches!(undo, Undo::Open(down) | Undo::Restart(down) if *down == shop));
        if busy {
            return;
        }
        let undo = if self.random.random_bool(0.7) {
            self.shops[shop].set_alive(false);
            Undo::Open(shop)
        } else {
            sim.crash(shop);
            Undo::Restart(shop)
        };
        self.note(now, shop, "is killed");
        self.pending.push((until, undo));
    }

    /// Asks all nodes: the first one that has an answer from the leader does it, the others come too late.
    fn order(&self, order: Order) {
        for node in self.nodes.values() {
            node.order(order.clone());
        }
    }

    fn peers(&self) -> impl Iterator<Item = String> + use<> {
        NODES.into_iter().map(host_of)
    }

    fn note(&self, now: Duration, who: &str, what: &str) {
        self.ledger.count("faults");
        self.ledger.note_at(now, who, format!("*** {what}"));
    }
}

fn shops() -> impl Iterator<Item = String> {
    SHOPS.into_iter().map(str::to_owned)
}
