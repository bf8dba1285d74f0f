//! A model of the binding protocol with leases and stable index, checked exhaustively within bounds.
//!
//! It stands beside the code that it mirrors and runs most of it as it is: `State::apply`, snapshots and
//! restoring, `decide`, `validate` and `LeaseBook`. What it has of its own is what may come in between: three
//! nodes, two backends, two keys, messages, time, and who leads. Mirrored rather than run are the book's lines
//! (office.rs: `LeaseBook` keeps them to itself) and the tasks of raft/office and raft/lease_holder.
//!
//! Consensus is taken for granted: there is one committed log, of which each node has applied a beginning. A
//! node that is elected has all of it; what an earlier leader had not committed stays on the wire, where it is
//! committed later or never. A leader that was not replaced hears from a quorum at any time, one that was
//! replaced last did so in the moment before. All clocks run at one rate but for the leaders', which are as
//! fast as clocks may be: then a lease ends in the book just when it ends on its node (office.rs).
//!
//! No configuration bounds time, pauses, renewals, losses, or how late a message is. What each bounds is in
//! bounds.rs, and this is what a debug build on two cores needed for all that lies within:
//!
//! | bounds | what is in them | states | seconds |
//! |---|---|---|---|
//! | `MOVE` | a backend goes down, its session moves | 92,000 | 2 |
//! | `LATE` | answers and announcements are late | 59,000 | 2 |
//! | `ELECT` | another leader, the old one goes on | 947,000 | 23 |
//! | `WAIT` | a validated request, and one that waits through a pause | 53,000 | 1 |
//! | `SNAPSHOT` | a node takes over a snapshot under a waiting request | 120,000 | 3 |
//! | `JOIN` | a node joins, or starts again, with its old messages about | 113,000 | 2 |
//! | `UNBIND` | an unbind, then a bind | 171,000 | 4 |
//! | `RETRY` | a bind of unknown outcome is tried again; both keys | 342,000 | 7 |
//! | `ORDER` | an order about an epoch that has ended | 9,000 | 1 |
//! | `FORGET` | an end that is forgotten under a waiting request | 155,000 | 4 |
//! | `ANSWER` | a request goes by an answer that its node has yet to apply; both keys | 41,000 | 1 |
//!
//! The mistakes need 5 seconds, and all tests 51. The larger bounds (`--ignored`): `MOVE_WIDE` 643,000 states,
//! `UNBIND_WIDE` 852,000, `WAIT_WIDE` 400,000, `ANSWER_WIDE` 2,416,000, together 104 seconds.
//!
//! Nodes that differ in their number alone count as one, not quite always, so that the figures vary by a few.
//! `cargo test -p stickler-core --test protocol_model -- --nocapture` prints them.
//!
//! Not in the model: nodes that are isolated (they hold no lease, and no promise here is about them), aliases,
//! expiry (it ends an epoch as an unbind does), and the margin for clocks, which is less than a tick.

mod actions;
mod bounds;
mod cluster;
mod foundation;
mod log;
mod mistakes;
mod model;
mod office;
mod promises;
mod sights;

use stateright::{Checker, HasDiscoveries, Model};

use bounds::Bounds;
use cluster::Cluster;
use model::Protocol;

/// Visits every state within the bounds. Nodes are alike, so one order of them stands for all.
#[expect(clippy::print_stdout, reason = "the table above is made of this")]
fn every_promise_holds(bounds: Bounds) {
    let builder = Protocol::within(bounds).checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = builder.symmetry_fn(Cluster::representative).spawn_dfs().join();
    println!("{} states, {} steps", checker.unique_state_count(), checker.state_count());
    checker.assert_properties();
}

#[test]
fn a_session_that_moves_has_one_owner() {
    every_promise_holds(bounds::MOVE);
}

#[test]
fn late_answers_and_announcements_make_no_second_owner() {
    every_promise_holds(bounds::LATE);
}

#[test]
fn a_leader_that_was_replaced_makes_no_second_owner() {
    every_promise_holds(bounds::ELECT);
}

#[test]
fn a_request_that_waited_is_not_sent_by_an_ended_epoch() {
    every_promise_holds(bounds::WAIT);
}

#[test]
fn a_snapshot_makes_no_second_owner() {
    every_promise_holds(bounds::SNAPSHOT);
}

#[test]
fn a_node_that_joins_or_restarts_makes_no_second_owner() {
    every_promise_holds(bounds::JOIN);
}

#[test]
fn an_unbound_session_is_sent_nowhere_and_its_key_has_one_new_owner() {
    every_promise_holds(bounds::UNBIND);
}

#[test]
fn a_bind_that_is_tried_again_revives_no_ended_session() {
    every_promise_holds(bounds::RETRY);
}

#[test]
fn an_order_about_an_ended_session_moves_no_other() {
    every_promise_holds(bounds::ORDER);
}

#[test]
fn an_end_holds_when_it_is_forgotten() {
    every_promise_holds(bounds::FORGET);
}

#[test]
fn a_request_by_the_leaders_answer_is_not_sent_after_the_end() {
    every_promise_holds(bounds::ANSWER);
}

#[test]
#[ignore = "larger bounds, three quarters of a minute: for whoever changes the protocol"]
fn every_promise_holds_within_larger_bounds() {
    for bounds in [bounds::MOVE_WIDE, bounds::UNBIND_WIDE, bounds::WAIT_WIDE, bounds::ANSWER_WIDE] {
        every_promise_holds(bounds);
    }
}

/// A model that finds nothing may be blind.
#[test]
fn every_mistake_breaks_the_promise_that_it_should() {
    for (mistake, bounds, promise) in mistakes::TABLE {
        let builder = Protocol::within(bounds.with(mistake)).checker();
        let checker = builder.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let broken: Vec<&str> = checker.discoveries().into_keys().collect();
        assert_eq!(broken, [promise], "{mistake:?}");
        println!("{mistake:?} breaks {promise} after {} states", checker.unique_state_count());
    }
}
