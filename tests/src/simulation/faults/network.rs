//! What the network does, and machines whose power is cut.

use std::time::Duration;

use stickler_core::ids::NodeId;
use turmoil::Sim;

use super::{FLAP, FLAPS, Faults, OFTEN_SLOW, Undo, shops};
use crate::simulation::document::{CLIENTS, host_of, nodes};
use crate::simulation::links::Broken;
use crate::simulation::plan::{PowerCuts, What, others};

impl Faults {
    /// What the network does.
    pub(super) fn disturb(&mut self, sim: &mut Sim<'_>, now: Duration, until: Duration, what: What) {
        let count = self.nodes.len() as u64;
        let peers: Vec<String> = nodes(count).map(host_of).collect();
        let all = || peers.iter().cloned().chain(shops()).collect::<Vec<_>>();
        let broken = match what {
            What::Pause(who) => {
                let everybody: Vec<String> = all().into_iter().chain([CLIENTS.to_owned()]).collect();
                self.links.hold(sim, &host_of(self.is(who)), &everybody)
            }
            What::CutOff(who) => self.links.cut(sim, &host_of(self.is(who)), &peers),
            What::Alone(who) => self.links.cut(sim, &host_of(self.is(who)), &all()),
            What::Bridge(who) => self.bridge(sim, count, self.is(who)),
            What::OneWay(who, to) if self.is(who) != to => {
                self.links.cut_one_way(sim, &host_of(self.is(who)), &host_of(to))
            }
            What::Flap(who, to) if self.is(who) != to => {
                return self.flap(sim, now, &host_of(self.is(who)), &host_of(to), FLAPS);
            }
            What::CantReach(who, shop) => self.links.cut(sim, &host_of(self.is(who)), &[shop.to_owned()]),
            What::SlowNetwork(delay) => {
                sim.set_max_message_latency(delay);
                sim.set_message_latency_curve(OFTEN_SLOW);
                return self.pending.push((until, Undo::Hasten));
            }
            What::SlowNode(who, delay) => {
                let node = self.is(who);
                self.delay(sim, node, delay);
                return self.pending.push((until, Undo::HastenNode(node)));
            }
            _ => return,
        };
        self.pending.push((until, Undo::Mend(broken)));
    }

    pub(super) fn bridge(&mut self, sim: &Sim<'_>, count: u64, node: NodeId) -> Broken {
        // The others reach each other only through it: in halves, if there are more than two.
        let rest: Vec<NodeId> = others(count, node).collect();
        let (left, right) = rest.split_at(rest.len() / 2);
        let right: Vec<String> = right.iter().copied().map(host_of).collect();
        let mut broken = Broken::default();
        for one in left {
            broken.join(self.links.cut(sim, &host_of(*one), &right));
        }
        broken
    }

    pub(super) fn flap(&mut self, sim: &Sim<'_>, now: Duration, one: &str, other: &str, times: u32) {
        let broken = self.links.cut(sim, one, &[other.to_owned()]);
        self.pending.push((now + FLAP, Undo::Mend(broken)));
        if times > 1 {
            let again = Undo::CutAgain(one.to_owned(), other.to_owned(), times - 1);
            self.pending.push((now + FLAP * 2, again));
        }
    }

    /// Every message to and from a node takes this long.
    pub(super) fn delay(&self, sim: &Sim<'_>, node: NodeId, delay: Duration) {
        let count = self.nodes.len() as u64;
        let hosts = others(count, node).map(host_of).chain(shops()).chain([CLIENTS.to_owned()]);
        for host in hosts {
            sim.set_link_latency(host_of(node), host, delay);
        }
    }

    /// A process that dies leaves what it wrote with its machine; a machine that dies loses what it did not
    /// sync, or some of it, and nobody hears of it.
    pub(super) fn crash(
        &mut self,
        sim: &mut Sim<'_>,
        node: NodeId,
        until: Duration,
        power: Option<Option<u64>>,
    ) {
        let host = host_of(node);
        if !sim.is_host_running(host.as_str()) {
            return;
        }
        let broken = power.map(|torn| {
            let peers = self.nodes.keys().copied().map(host_of);
            let all: Vec<String> = peers.chain(shops()).chain([CLIENTS.to_owned()]).collect();
            let broken = self.links.cut(sim, &host, &all);
            sim.crash(host.as_str());
            self.nodes[&node].disk.crash(torn);
            broken
        });
        if power.is_none() {
            sim.crash(host.as_str());
        }
        self.pending.push((until, Undo::Start(node, broken)));
    }

    pub(super) fn crash_all(&mut self, sim: &mut Sim<'_>, now: Duration, all: PowerCuts) {
        self.ledger.note_at(now, "all nodes", "*** lose power");
        self.ledger.count("power cuts of all nodes");
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for (node, (torn, back)) in nodes.into_iter().zip(all) {
            if sim.is_host_running(host_of(node)) {
                sim.crash(host_of(node));
                self.nodes[&node].disk.crash(torn);
                self.pending.push((now + back, Undo::Start(node, None)));
            }
        }
    }
}
