//! What must hold in every state: agreement (I1), monotone epochs (I2), no unforced move (I3), one owner at a
//! time (I5), and the replicated delete (I7).

use stateright::Property;
use stickler_core::ids::{Epoch, NodeId};
use stickler_core::invariants::{History, Violation, stays_or_is_forced};
use stickler_core::state::{BindOutcome, Binding, Outcome, Record, UnbindOutcome, View};

use crate::cluster::{Cluster, Message};
use crate::foundation::session;
use crate::log::{Entry, KEYS, Log, Position};
use crate::mistakes::Mistake;
use crate::model::Protocol;

pub(crate) const AGREEMENT: &str = "I1 one epoch of a key is on one backend";
pub(crate) const MONOTONE: &str = "I2 the epochs of a key never go back";
pub(crate) const UNFORCED: &str = "I3 a session moves only for a reason that holds";
pub(crate) const OWNER: &str = "I5 nodes with leases route a session by one epoch";
pub(crate) const FENCE: &str = "I5 a request that was overtaken carries a lower epoch";
pub(crate) const DELETED: &str = "I7 after its receipt an unbound session is sent nowhere";

/// What is wrong with a log, or with a node's view of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Broken {
    agreement: bool,
    monotone: bool,
    unforced: bool,
}

/// Judges a view at the end of `log` by the product's own predicates, which share no code with `apply`.
pub(crate) fn broken_by(log: &Log, view: &View) -> Broken {
    let mut history = History::default();
    let mut broken = Broken::default();
    let mut judge = |node, view: &View| match history.view(NodeId(node), view) {
        Err(Violation::Agreement { .. }) => broken.agreement = true,
        Err(Violation::MonotoneEpochs { .. }) => broken.monotone = true,
        Ok(()) | Err(_) => {}
    };
    for position in 0..log.end() {
        judge(1, &log.at(position, 0).view);
    }
    judge(2, view);
    if let Some(before) = log.end().checked_sub(1) {
        let entry = log.entries[usize::from(before)];
        let before = log.at(before, 0);
        let moved = (0..2).any(|key| unforced(entry, key, &before.view, view));
        broken.unforced = before.broken.unforced || moved;
    }
    broken
}

/// I3: the binding left its backend without a reason, or by an order that was about an earlier epoch.
fn unforced(entry: Entry, key: u8, before: &View, after: &View) -> bool {
    let (Some(before), Some(moved)) = (binding(before, key), binding(after, key)) else { return false };
    let meant =
        |entry: Entry| matches!(entry, Entry::Rebind { epoch, .. } if Epoch(epoch.into()) == before.epoch);
    before.backend != moved.backend
        && !(meant(entry) && stays_or_is_forced(&before, &moved, &after.catalog, after.time))
}

fn binding(view: &View, key: u8) -> Option<Binding> {
    match view.table.get(&session(key)) {
        Some(Record::Binding(binding)) => Some(binding),
        _ => None,
    }
}

/// Whether nothing is broken in the log, nor in any node's view of it.
fn whole(state: &Cluster, broken: fn(&Broken) -> bool) -> bool {
    let nodes = (0..).take(state.nodes.len()).map(|node| state.moment(node));
    nodes.chain([state.log.at(state.log.end(), 0)]).all(|moment| !broken(&moment.broken))
}

/// The epochs by which nodes that hold a lease would send a request of the key at this moment.
fn owners<'a>(model: &'a Protocol, state: &'a Cluster, key: u8) -> impl Iterator<Item = u8> + 'a {
    let mistake = model.bounds.mistake;
    let with_lease = state.nodes.iter().zip(0..).filter(|(node, _)| node.lease > 0);
    with_lease.flat_map(move |(node, number)| {
        let waiting = node.waiting.filter(|waiting| waiting.key == key);
        let leaves = waiting.filter(|waiting| state.would_leave(number, waiting, mistake));
        state.routes_by(number, key, mistake).into_iter().chain(leaves.map(|waiting| waiting.epoch))
    })
}

fn one_owner(model: &Protocol, state: &Cluster) -> bool {
    keys().all(|key| {
        let mut owners = owners(model, state, key);
        let first = owners.next();
        owners.all(|epoch| Some(epoch) == first)
    })
}

fn overtaken_is_lower(model: &Protocol, state: &Cluster) -> bool {
    state.wire.iter().all(|message| match message {
        Message::Sent { key, epoch } => owners(model, state, *key).all(|owner| owner >= *epoch),
        _ => true,
    })
}

/// A receipt leaves once the stable index has passed the entry, so it may have left whenever that is so.
fn has_receipt(model: &Protocol, state: &Cluster, position: Position) -> bool {
    state.announced >= position || model.bounds.mistake == Some(Mistake::ReceiptWithCommit)
}

fn deleted_everywhere(model: &Protocol, state: &Cluster) -> bool {
    unbinds(state).filter(|(position, _, _)| has_receipt(model, state, *position)).all(
        |(position, key, epoch)| {
            owners(model, state, key).all(|owner| owner != epoch) && !revived(state, position, key)
        },
    )
}

/// The unbinds that ended a session: where, and what.
pub(crate) fn unbinds(state: &Cluster) -> impl Iterator<Item = (Position, u8, u8)> {
    state.log.entries.iter().zip(1..).filter_map(|(entry, position)| match entry {
        Entry::Unbind { key, epoch } => {
            let ended = outcome(state, position) == Some(&Outcome::Unbind(UnbindOutcome::Unbound));
            ended.then_some((position, *key, *epoch))
        }
        _ => None,
    })
}

/// A bind from before the end of the session made it anew.
fn revived(state: &Cluster, ended: Position, key: u8) -> bool {
    state.log.entries.iter().zip(1..).any(|(entry, position)| match entry {
        Entry::Bind { key: bound, seen, .. } if *bound == key && position > ended && *seen < ended => {
            matches!(outcome(state, position), Some(Outcome::Bind(BindOutcome::Bound { created: true, .. })))
        }
        _ => false,
    })
}

pub(crate) fn outcome(state: &Cluster, position: Position) -> Option<&Outcome> {
    state.log.at(position, 0).outcome.as_ref()
}

fn keys() -> impl Iterator<Item = u8> {
    (0..).take(KEYS)
}

/// The promises, each by its name.
pub(crate) fn promises() -> Vec<Property<Protocol>> {
    vec![
        Property::always(AGREEMENT, |_, state| whole(state, |broken| broken.agreement)),
        Property::always(MONOTONE, |_, state| whole(state, |broken| broken.monotone)),
        Property::always(UNFORCED, |_, state| whole(state, |broken| broken.unforced)),
        Property::always(OWNER, one_owner),
        Property::always(FENCE, overtaken_is_lower),
        Property::always(DELETED, deleted_everywhere),
    ]
}
