//! What each configuration holds, and how much of it. Time, the delay of messages, the renewals of leases and
//! the pauses of nodes have no bound in any of them.

use stateright::Property;

use crate::log::Entry;
use crate::mistakes::Mistake;
use crate::model::Protocol;
use crate::sights;

/// How often each thing may happen in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// What is committed, and applied by every node, before a run begins.
    pub(crate) before: &'static [Entry],
    /// What is proposed before a run begins: by an operator, or by somebody who does not know that it is
    /// committed already.
    pub(crate) proposed: &'static [Entry],
    /// Elections of another leader.
    pub(crate) elections: u8,
    /// Verdicts on backends, in this order: which one, and whether it is up.
    pub(crate) verdicts: &'static [(u8, bool)],
    /// Binds and moves that requests propose.
    pub(crate) binds: u8,
    pub(crate) rebinds: u8,
    /// Unbinds that operators propose.
    pub(crate) unbinds: u8,
    /// Requests that are decided, by the node's view or by the leader's answer, and sent later.
    pub(crate) requests: u8,
    /// Nodes that start anew, from nothing or from a snapshot.
    pub(crate) starts: u8,
    /// Snapshots that a running node takes over.
    pub(crate) snapshots: u8,
    /// Times so long that ended epochs are forgotten.
    pub(crate) waits: u8,
    /// How many keys requests are about.
    pub(crate) keys: u8,
    /// What takes time on its way between nodes. What takes none gives a node its lease and its stable index
    /// as early as it could have them, which is when they could do harm.
    pub(crate) delayed: Delayed,
    /// The mistake that is made.
    pub(crate) mistake: Option<Mistake>,
}

/// What takes time; requests of clients and proposals always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delayed {
    /// No message about leases.
    Nothing,
    /// Of the messages about leases only what one node, which is far away, asks for.
    FarRequests,
    /// What asks for leases.
    Requests,
    /// Also answers, announcements, and a leader's own applying of what it committed.
    Everything,
}

/// A backend goes down, and a node moves its session.
pub(crate) const MOVE: Bounds = Bounds { verdicts: &[FIRST_DOWN], rebinds: 1, ..NOTHING };

/// An operator moves a session; answers and announcements are late, too.
pub(crate) const LATE: Bounds = Bounds { proposed: ORDERED, delayed: Delayed::Everything, ..NOTHING };

/// The leader changes while a session moves, and the old one goes on.
pub(crate) const ELECT: Bounds =
    Bounds { elections: 1, proposed: ORDERED, delayed: Delayed::FarRequests, ..NOTHING };

/// A session moves while a request of it waits, on a node that may stand still.
pub(crate) const WAIT: Bounds = Bounds { proposed: ORDERED, requests: 1, ..NOTHING };

/// A node that is behind, where a request waits, takes over a snapshot while a session moves.
pub(crate) const SNAPSHOT: Bounds = Bounds { proposed: ORDERED, requests: 1, snapshots: 1, ..NOTHING };

/// A node joins or restarts, from nothing or from a snapshot, while a session moves.
pub(crate) const JOIN: Bounds = Bounds { proposed: ORDERED, starts: 1, ..NOTHING };

/// A session is unbound and its key bound again.
pub(crate) const UNBIND: Bounds = Bounds { binds: 1, unbinds: 1, keys: 1, ..NOTHING };

/// A bind whose outcome is unknown is tried again when its session may have ended.
pub(crate) const RETRY: Bounds = Bounds { before: BOUND, proposed: BOUND, unbinds: 1, ..NOTHING };

/// An operator's order arrives when its session has ended and another has its key.
pub(crate) const ORDER: Bounds = Bounds { before: ANOTHER, proposed: ORDERED, ..NOTHING };

/// An unbound session's end is forgotten while a request of it waits.
pub(crate) const FORGET: Bounds = Bounds { unbinds: 1, requests: 1, waits: 1, ..NOTHING };

/// A request waits that was decided by the leader's answer, which its node has yet to apply.
pub(crate) const ANSWER: Bounds =
    Bounds { proposed: BOUND, unbinds: 1, requests: 1, delayed: Delayed::Nothing, ..NOTHING };

/// The same with requests for leases that are late.
pub(crate) const ANSWER_WIDE: Bounds = Bounds { delayed: Delayed::Requests, ..ANSWER };

/// Two nodes move the session, and either may come first.
pub(crate) const MOVE_WIDE: Bounds = Bounds { rebinds: 2, ..MOVE };

/// With both keys: the other one is bound meanwhile, or bound and unbound itself.
pub(crate) const UNBIND_WIDE: Bounds = Bounds { keys: 2, ..UNBIND };

/// A request waits while the leader changes and its session moves.
pub(crate) const WAIT_WIDE: Bounds = Bounds { requests: 1, delayed: Delayed::Nothing, ..ELECT };

const FIRST_DOWN: (u8, bool) = (0, false);
const ORDERED: &[Entry] = &[Entry::Rebind { key: 0, epoch: 2, operator: true }];
const ANOTHER: &[Entry] =
    &[Entry::Unbind { key: 0, epoch: 2 }, Entry::Bind { key: 0, candidate: 0, seen: 1 }];
const BOUND: &[Entry] = &[Entry::Bind { key: 1, candidate: 0, seen: 0 }];

const NOTHING: Bounds = Bounds {
    before: &[],
    proposed: &[],
    elections: 0,
    verdicts: &[],
    binds: 0,
    rebinds: 0,
    unbinds: 0,
    requests: 0,
    starts: 0,
    snapshots: 0,
    waits: 0,
    keys: 2,
    delayed: Delayed::Requests,
    mistake: None,
};

impl Bounds {
    pub(crate) fn with(self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    /// What must be seen to happen within these bounds.
    pub(crate) fn sights(&self) -> Vec<Property<Protocol>> {
        let mut sights = Vec::new();
        let mut expect = |there: bool, name, sight| {
            if there && self.mistake.is_none() {
                sights.push(Property::sometimes(name, sight));
            }
        };
        let moves = self.unbinds == 0 && self.before.is_empty();
        expect(moves, "a moved session has one new owner", sights::a_moved_session_has_one_new_owner);
        expect(self.elections > 0, "two nodes believe they lead", sights::two_nodes_believe_they_lead);
        expect(self.before == BOUND, "a late retry is refused", sights::a_late_retry_is_refused);
        let again = self.unbinds > 0 && self.binds > 0;
        expect(again, "an unbound key is used again", sights::an_unbound_key_is_bound_and_used_again);
        let waits = self.requests > 0;
        expect(waits, "a request is held back", sights::a_request_that_waited_too_long_is_held_back);
        let snapshots = self.snapshots > 0;
        expect(snapshots, "a node with a snapshot routes", sights::a_node_with_a_snapshot_routes);
        expect(self.starts > 0, "a node that joined has a lease", sights::a_node_that_joined_holds_a_lease);
        sights
    }
}
