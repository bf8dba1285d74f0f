//! What must be seen to happen, so that no promise holds because nothing did. Each is what a configuration
//! is for.

use stickler_core::state::{BindOutcome, BindRefusal, Outcome, RebindOutcome};

use crate::cluster::{Cluster, small};
use crate::model::Protocol;
use crate::promises::{outcome, unbinds};

/// A session has moved, and two nodes go by its new epoch.
pub(crate) fn a_moved_session_has_one_new_owner(_: &Protocol, state: &Cluster) -> bool {
    let moved = |position| match outcome(state, position) {
        Some(Outcome::Rebind(RebindOutcome::Moved(to))) => Some(small(to.epoch)),
        _ => None,
    };
    (1..=state.log.end()).filter_map(moved).any(|epoch| {
        let by_it = |node: &u8| state.node(*node).lease > 0 && state.routes_by(*node, 0, None) == Some(epoch);
        (0..3).filter(by_it).count() > 1
    })
}

/// The leader was replaced and does not know it, while a node holds a lease of its successor.
pub(crate) fn two_nodes_believe_they_lead(_: &Protocol, state: &Cluster) -> bool {
    let in_office = state.nodes.iter().filter(|node| node.office.is_some()).count();
    let leads = state.node(state.leader);
    in_office > 1 && leads.lease > 0 && state.announced == leads.applied
}

/// A bind that was tried again is refused, because its session has ended.
pub(crate) fn a_late_retry_is_refused(_: &Protocol, state: &Cluster) -> bool {
    (1..=state.log.end()).any(|position| {
        outcome(state, position) == Some(&Outcome::Bind(BindOutcome::Refused(BindRefusal::Ended)))
    })
}

/// An ended key is bound again and used.
pub(crate) fn an_unbound_key_is_bound_and_used_again(_: &Protocol, state: &Cluster) -> bool {
    unbinds(state).any(|(position, key, epoch)| {
        state.announced >= position
            && (0..3).any(|node| {
                let by = state.routes_by(node, key, None);
                state.node(node).lease > 0 && by.is_some_and(|by| by > epoch)
            })
    })
}

/// A request waited, and the last look held it back although its node has a lease.
pub(crate) fn a_request_that_waited_too_long_is_held_back(_: &Protocol, state: &Cluster) -> bool {
    state.nodes.iter().zip(0..).any(|(node, number)| {
        node.lease > 0 && node.waiting.is_some_and(|waiting| !state.would_leave(number, &waiting, None))
    })
}

/// A node that took over a snapshot routes the session.
pub(crate) fn a_node_with_a_snapshot_routes(_: &Protocol, state: &Cluster) -> bool {
    state.nodes.iter().zip(0..).any(|(node, number)| {
        node.snapshot > 0 && node.lease > 0 && state.routes_by(number, 0, None).is_some()
    })
}

/// A node that started anew holds a lease.
pub(crate) fn a_node_that_joined_holds_a_lease(_: &Protocol, state: &Cluster) -> bool {
    state.nodes.iter().any(|node| node.process > 0 && node.lease > 0)
}
