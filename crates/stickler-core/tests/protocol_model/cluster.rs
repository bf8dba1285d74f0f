//! One state of the model: three nodes, the log, and what is on its way.
//!
//! All times are distances from now, so that the state space is finite without an end of time: how long a
//! lease still lasts, how long ago it was asked for. A node that takes no step while time goes by is a paused
//! node, and what was sent to it waits; that needs no switch.

use std::sync::Arc;

use stickler_core::document::cluster::WhenIsolated;
use stickler_core::ids::{Epoch, LogIndex};
use stickler_core::lease::{Footing, Standing};
use stickler_core::routing::{Routed, Step, Ticket, validate};
use stickler_core::state::{Located, Record};

use crate::foundation::{FOUNDATION, session};
use crate::log::{Entry, Log, Moment, Position, index};
use crate::mistakes::Mistake;
use crate::office::{Asked, LEASE_TICKS, NODES, Office};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    pub(crate) log: Arc<Log>,
    /// Who was elected last.
    pub(crate) leader: u8,
    /// The highest stable index that any leader has announced. A node may hear of it at any later time.
    pub(crate) announced: Position,
    pub(crate) nodes: [Node; NODES],
    /// Sorted, so that equal states are equal.
    pub(crate) wire: Vec<Message>,
    pub(crate) spent: Spent,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node {
    /// Its requests for leases take time, where only those of one node do.
    pub(crate) far: bool,
    pub(crate) process: u8,
    pub(crate) applied: Position,
    /// The position of the snapshot that it took over; 0 when there was none.
    pub(crate) snapshot: Position,
    /// Ticks that its lease still lasts.
    pub(crate) lease: u8,
    /// The highest stable index that it has heard of.
    pub(crate) stable: Position,
    pub(crate) office: Option<Office>,
    /// A request that was decided and waits for a connection, or for the node to go on.
    pub(crate) waiting: Option<Waiting>,
}

/// The ticket of a request that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Waiting {
    pub(crate) key: u8,
    pub(crate) epoch: u8,
    usable_from: Position,
    /// The view that was loaded for the last look, if the lease is looked at only later.
    pub(crate) sight: Sight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Sight {
    /// None was loaded.
    Newest,
    /// The one whose table still is the node's.
    Loaded,
    /// One that a snapshot has replaced since: what the node had applied, and its snapshot then.
    Replaced(Position, Position),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    /// A node asks a leader for a lease.
    Asked { to: u8, asked: Asked },
    /// A lease that still lasts so many ticks.
    Granted { node: u8, process: u8, left: u8 },
    /// Something to be committed.
    Proposed(Entry),
    /// A request that was validated and is on its way to its backend.
    Sent { key: u8, epoch: u8 },
}

/// How much of its bounds a run has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Spent {
    pub(crate) elections: u8,
    pub(crate) verdicts: u8,
    pub(crate) binds: u8,
    pub(crate) rebinds: u8,
    pub(crate) unbinds: u8,
    pub(crate) requests: u8,
    pub(crate) starts: u8,
    pub(crate) snapshots: u8,
    pub(crate) waits: u8,
}

impl Cluster {
    /// A leader that has been in office for long, and nodes without leases.
    pub(crate) fn new(log: Arc<Log>, one_is_far: bool) -> Self {
        let (applied, stable) = (log.end(), log.end());
        let mut nodes: [Node; NODES] = std::array::from_fn(|_| Node { applied, stable, ..Node::default() });
        nodes[2].far = one_is_far;
        nodes[0].office = Some(Office::long_begun(stable));
        Self { log, leader: 0, announced: stable, nodes, wire: Vec::new(), spent: Spent::default() }
    }

    pub(crate) fn node(&self, node: u8) -> &Node {
        &self.nodes[usize::from(node)]
    }

    pub(crate) fn moment(&self, node: u8) -> &Moment {
        let node = self.node(node);
        self.log.at(node.applied, node.snapshot)
    }

    pub(crate) fn post(&mut self, message: Message) {
        if let Err(place) = self.wire.binary_search(&message) {
            self.wire.insert(place, message);
        }
    }

    pub(crate) fn term(&self) -> u8 {
        let firsts = self.log.entries.iter().filter(|entry| **entry == Entry::First).count();
        u8::try_from(firsts).expect("logs are short")
    }

    /// A tick goes by, everywhere.
    pub(crate) fn tick(&mut self, mistake: Option<Mistake>) {
        let from_receipt = mistake == Some(Mistake::LeaseFromReceipt);
        for (node, number) in self.nodes.iter_mut().zip(0..) {
            node.lease = node.lease.saturating_sub(1);
            if let Some(office) = &mut node.office {
                office.tick(number == self.leader);
            }
        }
        for message in &mut self.wire {
            match message {
                Message::Asked { asked, .. } => asked.age = LEASE_TICKS.min(asked.age + 1),
                Message::Granted { left, .. } => *left -= u8::from(!from_receipt),
                Message::Proposed(_) | Message::Sent { .. } => {}
            }
        }
        self.wire.sort_unstable();
        self.wire.dedup();
        self.forget_what_is_spent();
    }

    /// Takes off the wire what could no longer give its node a longer lease than it has.
    pub(crate) fn forget_what_is_spent(&mut self) {
        let nodes = &self.nodes;
        self.wire.retain(|message| match *message {
            Message::Asked { asked, .. } => asked.age < LEASE_TICKS,
            Message::Granted { node, process, left } => {
                let node = &nodes[usize::from(node)];
                node.process == process && node.lease < left
            }
            Message::Proposed(_) | Message::Sent { .. } => true,
        });
    }

    /// The same state with its nodes in an order of their own: they differ in nothing but their numbers.
    pub(crate) fn representative(&self) -> Self {
        let mut order: [u8; NODES] = [0, 1, 2];
        order.sort_by_key(|node| (*node != self.leader, self.node(*node)));
        let renamed = |node: u8| (0..).zip(order).find(|(_, old)| *old == node).map_or(node, |(new, _)| new);
        let mut state = self.clone();
        state.nodes = order.map(|node| self.node(node).clone());
        state.leader = renamed(self.leader);
        for node in &mut state.nodes {
            node.office.iter_mut().for_each(|office| office.reorder(&order));
        }
        for message in &mut state.wire {
            match message {
                Message::Asked { to, asked } => (*to, asked.node) = (renamed(*to), renamed(asked.node)),
                Message::Granted { node, .. } => *node = renamed(*node),
                Message::Proposed(_) | Message::Sent { .. } => {}
            }
        }
        state.wire.sort_unstable();
        state
    }

    /// The stable index by which a node goes.
    pub(crate) fn stable_of(&self, node: u8, mistake: Option<Mistake>) -> Position {
        // Beyond every position: whatever waits for it is usable at once.
        let beyond = Position::try_from(crate::log::POSITIONS - 1).expect("logs are short");
        if mistake == Some(Mistake::NextEpochUsableAtOnce) { beyond } else { self.node(node).stable }
    }

    /// What the node may do at this moment. It is never isolated: I5 and I7 are about nodes with leases.
    pub(crate) fn standing(&self, node: u8, mistake: Option<Mistake>) -> Standing {
        let footing = if self.node(node).lease > 0 { Footing::Leased } else { Footing::CatchingUp };
        let stable = index(self.stable_of(node, mistake));
        Standing { footing, stable, time: self.moment(node).view.time }
    }

    /// The epoch by which a node that holds a lease would send a new request of the key now.
    pub(crate) fn routes_by(&self, node: u8, key: u8, mistake: Option<Mistake>) -> Option<u8> {
        match self.moment(node).step(key, self.stable_of(node, mistake)) {
            Step::Forward(ticket) => ticket.session.map(|routed| small(routed.epoch)),
            _ => None,
        }
    }

    /// Whether a node's waiting request would leave now. The last look is the product's `validate`.
    pub(crate) fn would_leave(&self, node: u8, waiting: &Waiting, mistake: Option<Mistake>) -> bool {
        if mistake == Some(Mistake::NoLastLook) {
            return true;
        }
        let moment = match waiting.sight {
            Sight::Newest | Sight::Loaded => self.moment(node),
            Sight::Replaced(applied, snapshot) => self.log.at(applied, snapshot),
        };
        validate(&waiting.ticket(), &moment.view, &self.standing(node, mistake), WhenIsolated::Refuse).is_ok()
    }
}

impl Waiting {
    pub(crate) fn of(key: u8, ticket: &Ticket) -> Option<Self> {
        let routed = ticket.session?;
        let usable_from = routed.usable_from.0.saturating_sub(index(0).0);
        let usable_from = Position::try_from(usable_from).expect("logs are short");
        Some(Self { key, epoch: small(routed.epoch), usable_from, sight: Sight::Newest })
    }

    fn ticket(&self) -> Ticket {
        let view = &FOUNDATION.header;
        let backend = FOUNDATION.backends[0];
        let name = session(self.key);
        let routed = Routed {
            asked: name,
            session: name,
            epoch: Epoch(self.epoch.into()),
            usable_from: if self.usable_from == 0 { LogIndex(0) } else { index(self.usable_from) },
            last_use: view.time,
        };
        // Where it goes is not what the last look is about.
        let address = view.catalog.backends[&backend].address;
        Ticket { backend, address, session: Some(routed), unrecorded: None }
    }
}

pub(crate) fn small(epoch: Epoch) -> u8 {
    u8::try_from(epoch.0).expect("logs are short")
}

/// The live binding of a key in its own right.
pub(crate) fn live(moment: &Moment, key: u8) -> Option<Located> {
    match moment.view.table.get(&session(key)) {
        Some(Record::Binding(binding)) => {
            Some(Located { session: session(key), binding, usable_from: binding.usable_from })
        }
        _ => None,
    }
}
