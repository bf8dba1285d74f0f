//! What becomes of each thing that can happen.

use stateright::{Model, Property};
use stickler_core::routing::{Step, decide_located};
use stickler_core::state::{BindOutcome, Located, Outcome, RebindOutcome};

use crate::actions::Action;
use crate::bounds::{Bounds, Delayed};
use crate::cluster::{Cluster, Message, Sight, Waiting, live, small};
use crate::foundation::session;
use crate::log::{Entry, Logs, Position};
use crate::mistakes::Mistake;
use crate::office::{Asked, NODES, Office, lease_ticks};
use crate::promises::promises;

/// The protocol within bounds.
pub(crate) struct Protocol {
    pub(crate) bounds: Bounds,
    logs: Logs,
}

impl Protocol {
    pub(crate) fn within(bounds: Bounds) -> Self {
        Self { bounds, logs: Logs::default() }
    }

    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.bounds.mistake == Some(mistake)
    }

    fn commit(&self, state: &mut Cluster, entry: Entry) {
        state.log = self.logs.longer(&state.log, entry);
        if self.bounds.delayed != Delayed::Everything {
            state.nodes[usize::from(state.leader)].applied = state.log.end();
        }
    }

    fn ask(&self, state: &mut Cluster, node: u8, to: u8) {
        let own = state.node(node);
        let asked = Asked { node, process: own.process, applied: own.applied, age: 0 };
        let near = match self.bounds.delayed {
            Delayed::Nothing => true,
            Delayed::FarRequests => !own.far,
            Delayed::Requests | Delayed::Everything => false,
        };
        if node == to || near {
            return self.answer(state, to, asked);
        }
        let process = own.process;
        state.wire.retain(|message| match message {
            Message::Asked { asked: earlier, .. } => (earlier.node, earlier.process) != (node, process),
            _ => true,
        });
        state.post(Message::Asked { to, asked });
    }

    fn answer(&self, state: &mut Cluster, to: u8, asked: Asked) {
        state.wire.retain(|message| *message != Message::Asked { to, asked });
        let Some(office) = &mut state.nodes[usize::from(to)].office else { return };
        let Some(granted) = office.grant(&asked, self.bounds.mistake) else { return };
        let age = if self.makes(Mistake::LeaseFromReceipt) { 0 } else { asked.age };
        let left = lease_ticks(granted, age);
        let present = state.node(asked.node).process == asked.process;
        if asked.node == to || (self.bounds.delayed != Delayed::Everything && present) {
            let lease = &mut state.nodes[usize::from(asked.node)].lease;
            *lease = left.max(*lease);
        } else if left > 0 {
            state.post(Message::Granted { node: asked.node, process: asked.process, left });
        }
    }

    /// The office ends at the latest when its node has applied an entry of another term (docs/adr/0005).
    fn announce(&self, state: &mut Cluster, node: u8) {
        let own = state.node(node);
        let Some(office) = &own.office else { return };
        let terms = state.log.entries.iter().take(own.applied.into());
        let term = terms.filter(|entry| **entry == Entry::First).count();
        if term != usize::from(office.term) && !self.makes(Mistake::ReplacedLeaderCountsOn) {
            return;
        }
        let stable = office.stable(own.applied, self.bounds.mistake);
        if stable > state.announced {
            let own = &mut state.nodes[usize::from(node)];
            own.office.iter_mut().for_each(|office| office.stable = stable);
            own.stable = stable;
            state.announced = stable;
            if self.bounds.delayed != Delayed::Everything {
                state.nodes.iter_mut().for_each(|node| node.stable = stable);
            }
        }
    }

    fn elect(&self, state: &mut Cluster, node: u8) {
        state.leader = node;
        self.commit(state, Entry::First);
        let (term, first_entry) = (state.term(), state.log.end());
        let own = &mut state.nodes[usize::from(node)];
        own.applied = first_entry;
        own.office = Some(Office::begun(term, first_entry, own.stable));
        state.spent.elections += 1;
    }

    fn request(&self, state: &mut Cluster, node: u8, key: u8) {
        let stable = state.stable_of(node, self.bounds.mistake);
        let seen = state.node(node).applied;
        match *state.moment(node).step(key, stable) {
            Step::Forward(ticket) => {
                state.nodes[usize::from(node)].waiting = Waiting::of(key, &ticket);
                state.spent.requests += 1;
            }
            Step::Place { .. } => {
                state.post(Message::Proposed(Entry::Bind {
                    key,
                    candidate: u8::from(state.leader != node),
                    seen,
                }));
                state.spent.binds += 1;
            }
            Step::Move { located, .. } => {
                let epoch = small(located.binding.epoch);
                state.post(Message::Proposed(Entry::Rebind { key, epoch, operator: false }));
                state.spent.rebinds += 1;
            }
            _ => {}
        }
    }

    /// Where the outcome of a bind or a move sends a request, on a node that has yet to apply it.
    pub(crate) fn answered(&self, state: &Cluster, node: u8, position: Position) -> Option<Waiting> {
        let (Entry::Bind { key, .. } | Entry::Rebind { key, .. }) =
            state.log.entries[usize::from(position) - 1]
        else {
            return None;
        };
        let binding = match state.log.at(position, 0).outcome.as_ref()? {
            Outcome::Bind(BindOutcome::Bound { binding, .. }) => *binding,
            Outcome::Rebind(RebindOutcome::Moved(binding)) => *binding,
            _ => return None,
        };
        let name = session(key);
        let located = Located { session: name, binding, usable_from: binding.usable_from };
        let view = &state.moment(node).view;
        let standing = state.standing(node, self.bounds.mistake);
        let policy = view.catalog.affinity(name.affinity)?;
        match decide_located(view, &standing, policy, &located, name) {
            Step::Forward(ticket) => Waiting::of(key, &ticket),
            _ => None,
        }
    }

    fn send(&self, state: &mut Cluster, node: u8) {
        let Some(waiting) = state.nodes[usize::from(node)].waiting.take() else { return };
        if state.would_leave(node, &waiting, self.bounds.mistake) {
            state.post(Message::Sent { key: waiting.key, epoch: waiting.epoch });
        }
    }

    fn take_snapshot(&self, state: &mut Cluster, node: u8) {
        let position = state.log.end();
        let own = &mut state.nodes[usize::from(node)];
        if let Some(waiting) = own.waiting.as_mut().filter(|waiting| waiting.sight == Sight::Loaded) {
            waiting.sight = Sight::Replaced(own.applied, own.snapshot);
        }
        (own.applied, own.snapshot) = (position, position);
    }

    fn unbind(state: &mut Cluster, key: u8) {
        let now = state.log.at(state.log.end(), 0);
        let Some(located) = live(now, key) else { return };
        let epoch = small(located.binding.epoch);
        state.post(Message::Proposed(Entry::Unbind { key, epoch }));
        state.spent.unbinds += 1;
    }
}

impl Model for Protocol {
    type State = Cluster;
    type Action = Action;

    fn init_states(&self) -> Vec<Cluster> {
        let empty = self.logs.empty(self.bounds.mistake);
        let log = self.bounds.before.iter().fold(empty, |log, entry| self.logs.longer(&log, *entry));
        let mut state = Cluster::new(log, self.bounds.delayed == Delayed::FarRequests);
        self.bounds.proposed.iter().for_each(|entry| state.post(Message::Proposed(*entry)));
        vec![state]
    }

    fn actions(&self, state: &Cluster, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        nodes().for_each(|node| self.actions_of_node(state, node, actions));
        self.actions_of_world(state, actions);
        self.deliveries(state, actions);
    }

    fn next_state(&self, last: &Cluster, action: Action) -> Option<Cluster> {
        let mut next = last.clone();
        let state = &mut next;
        match action {
            Action::Tick => state.tick(self.bounds.mistake),
            Action::Ask { node, to } => self.ask(state, node, to),
            Action::Answer { to, asked } => self.answer(state, to, asked),
            Action::Take { node, process, left } => {
                state.wire.retain(|message| *message != Message::Granted { node, process, left });
                let own = &mut state.nodes[usize::from(node)];
                if own.process == process {
                    own.lease = own.lease.max(left);
                }
            }
            Action::Report { node, to } => {
                let (process, applied) = (state.node(node).process, state.node(node).applied);
                let office = &mut state.nodes[usize::from(to)].office;
                office.iter_mut().for_each(|office| office.note_applied(node, process, applied));
            }
            Action::Announce { node } => self.announce(state, node),
            Action::Hear { node } => state.nodes[usize::from(node)].stable = state.announced,
            Action::Apply { node } => state.nodes[usize::from(node)].applied += 1,
            Action::Elect { node } => self.elect(state, node),
            Action::Request { node, key } => self.request(state, node, key),
            Action::LoadView { node } => {
                let waiting = &mut state.nodes[usize::from(node)].waiting;
                waiting.iter_mut().for_each(|waiting| waiting.sight = Sight::Loaded);
            }
            Action::Send { node } => self.send(state, node),
            Action::Unbind { key } => Self::unbind(state, key),
            Action::Learn { node, position } => {
                state.nodes[usize::from(node)].waiting = self.answered(state, node, position);
                state.spent.requests += 1;
            }
            Action::Commit { entry } => {
                self.commit(state, entry);
                state.wire.retain(|message| *message != Message::Proposed(entry));
            }
            Action::Verdict { backend, up } => {
                state.spent.verdicts += 1;
                self.commit(state, Entry::Verdict { backend, up });
            }
            Action::MuchLater => {
                state.spent.waits += 1;
                let stable: Position = state.node(state.leader).stable;
                self.commit(state, Entry::MuchLater { stable });
            }
            Action::TakeSnapshot { node } => {
                state.spent.snapshots += 1;
                self.take_snapshot(state, node);
            }
            Action::Start { node, snapshot } => {
                state.spent.starts += 1;
                let position = if snapshot { state.log.end() } else { 0 };
                let own = &mut state.nodes[usize::from(node)];
                *own = crate::cluster::Node {
                    far: own.far,
                    process: own.process + 1,
                    applied: position,
                    snapshot: position,
                    ..Default::default()
                };
            }
        }
        state.forget_what_is_spent();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises().into_iter().chain(self.bounds.sights()).collect()
    }
}

pub(crate) fn nodes() -> impl Iterator<Item = u8> {
    (0..).take(NODES)
}
