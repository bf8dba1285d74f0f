//! What can happen next.

use stickler_core::routing::Step;

use crate::cluster::{Cluster, Message, Sight, live};
use crate::log::{Entry, POSITIONS, Position};
use crate::mistakes::Mistake;
use crate::model::{Protocol, nodes};
use crate::office::{Asked, LEASE_TICKS};

/// One step of one node, or of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Time goes by.
    Tick,
    /// A node asks whoever it takes for the leader for a lease; an earlier request of it may be lost.
    Ask {
        node: u8,
        to: u8,
    },
    /// A leader's office answers a request.
    Answer {
        to: u8,
        asked: Asked,
    },
    /// An answer arrives.
    Take {
        node: u8,
        process: u8,
        left: u8,
    },
    /// An office hears how far a node has come.
    Report {
        node: u8,
        to: u8,
    },
    /// An office announces the stable index.
    Announce {
        node: u8,
    },
    /// A node hears of the highest one.
    Hear {
        node: u8,
    },
    /// A node applies the next entry.
    Apply {
        node: u8,
    },
    /// A node is elected, and takes office.
    Elect {
        node: u8,
    },
    /// A request of a key comes to a node that holds a lease; it does what `decide` says.
    Request {
        node: u8,
        key: u8,
    },
    /// A request that waited for its bind or move goes by the leader's answer, which the node may have yet to
    /// apply.
    Learn {
        node: u8,
        position: Position,
    },
    /// The last look at a waiting request begins with loading the view (a mistake).
    LoadView {
        node: u8,
    },
    /// A waiting request is validated and leaves, or is decided anew.
    Send {
        node: u8,
    },
    /// An operator wants a session gone.
    Unbind {
        key: u8,
    },
    /// A proposal is committed.
    Commit {
        entry: Entry,
    },
    /// What has no proposal of its own is committed.
    Verdict {
        backend: u8,
        up: bool,
    },
    MuchLater,
    /// A node takes over a snapshot of the leader's state.
    TakeSnapshot {
        node: u8,
    },
    /// A node joins, or its process starts again: from nothing, or from a snapshot.
    Start {
        node: u8,
        snapshot: bool,
    },
}

impl Protocol {
    /// What a request would do, if the bounds leave room for it.
    fn may_request(&self, state: &Cluster, node: u8, key: u8) -> bool {
        let (bounds, spent, own) = (&self.bounds, &state.spent, state.node(node));
        own.lease > 0
            && match state.moment(node).step(key, state.stable_of(node, bounds.mistake)) {
                Step::Forward(_) => spent.requests < bounds.requests && own.waiting.is_none(),
                Step::Place { .. } => spent.binds < bounds.binds,
                Step::Move { .. } => spent.rebinds < bounds.rebinds,
                _ => false,
            }
    }

    pub(crate) fn actions_of_node(&self, state: &Cluster, node: u8, actions: &mut Vec<Action>) {
        let (bounds, spent, own) = (&self.bounds, &state.spent, state.node(node));
        for to in nodes() {
            let Some(office) = &state.node(to).office else { continue };
            actions.push(Action::Report { node, to });
            // Who has not heard from a quorum for as long as a lease grants none.
            if office.acknowledged < LEASE_TICKS || self.makes(Mistake::LeaseWithoutQuorum) {
                actions.push(Action::Ask { node, to });
            }
        }
        if own.office.is_some() {
            actions.push(Action::Announce { node });
        }
        if own.stable < state.announced {
            actions.push(Action::Hear { node });
        }
        if own.applied < state.log.end() {
            actions.push(Action::Apply { node });
            if spent.snapshots < bounds.snapshots {
                actions.push(Action::TakeSnapshot { node });
            }
        }
        if node != state.leader && spent.elections < bounds.elections {
            actions.push(Action::Elect { node });
        }
        let keys = (0..bounds.keys).filter(|key| self.may_request(state, node, *key));
        actions.extend(keys.map(|key| Action::Request { node, key }));
        if spent.requests < bounds.requests && own.lease > 0 && own.waiting.is_none() {
            let unseen = own.applied + 1..=state.log.end();
            let known = unseen.filter(|position| self.answered(state, node, *position).is_some());
            actions.extend(known.map(|position| Action::Learn { node, position }));
        }
        if let Some(waiting) = own.waiting {
            actions.push(Action::Send { node });
            if self.makes(Mistake::ViewBeforeStanding) && waiting.sight == Sight::Newest {
                actions.push(Action::LoadView { node });
            }
        }
        if own.office.is_none() && spent.starts < bounds.starts {
            actions.extend([false, true].map(|snapshot| Action::Start { node, snapshot }));
        }
    }

    pub(crate) fn actions_of_world(&self, state: &Cluster, actions: &mut Vec<Action>) {
        let (bounds, spent) = (&self.bounds, &state.spent);
        let now = state.log.at(state.log.end(), 0);
        if spent.unbinds < bounds.unbinds {
            let bound = (0..bounds.keys).filter(|key| live(now, *key).is_some());
            actions.extend(bound.map(|key| Action::Unbind { key }));
        }
        if usize::from(state.log.end()) + 1 >= POSITIONS {
            return;
        }
        if let Some((backend, up)) = bounds.verdicts.get(usize::from(spent.verdicts)).copied() {
            actions.push(Action::Verdict { backend, up });
        }
        // Before anything has ended, and the stable index has passed it, nothing is forgotten.
        let ended = state.log.entries.iter().position(|entry| matches!(entry, Entry::Unbind { .. }));
        let passed = ended.is_some_and(|before| usize::from(state.node(state.leader).stable) > before);
        if passed && spent.waits < bounds.waits {
            actions.push(Action::MuchLater);
        }
    }

    pub(crate) fn deliveries(&self, state: &Cluster, actions: &mut Vec<Action>) {
        let room = usize::from(state.log.end()) + 1 < POSITIONS;
        for message in &state.wire {
            match *message {
                Message::Asked { to, asked } => actions.push(Action::Answer { to, asked }),
                Message::Granted { node, process, left } => {
                    actions.push(Action::Take { node, process, left });
                }
                Message::Proposed(entry) if room => {
                    actions.push(Action::Commit { entry });
                }
                Message::Proposed(_) | Message::Sent { .. } => {}
            }
        }
    }
}
