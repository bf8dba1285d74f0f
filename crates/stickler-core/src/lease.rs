//! Reading locally, and still being right: leases and the stable index.
//!
//! A node that holds a lease may route by its own view. What *ends* an epoch at index `i` keeps the key's
//! next epoch unused until the stable index, the lowest applied index among the nodes that may hold a
//! lease, has reached `i`. So no two nodes that hold one route a session by different epochs (I5).
//!
//! All readings are of one node's own monotonic clock; two nodes' readings are never compared. Only the
//! rates of the clocks are trusted, to five parts in a hundred.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deliberate::{self, Fault};
use crate::ids::{Incarnation, LogIndex, NodeId};
use crate::receipt::Holdings;
use crate::time::ClusterTime;

/// How long a lease lasts at most (L), from the last round that a quorum answered.
pub const LEASE: Duration = Duration::from_secs(1);

/// A reading of one node's monotonic clock.
pub type Reading = Duration;

/// What a node sends to ask for a lease, or to renew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// The node.
    pub node: NodeId,
    /// Its process: an answer to an earlier one is not for this.
    pub incarnation: Incarnation,
    /// The node's clock when it asked; the lease is counted from here.
    pub reading: Reading,
    /// The last entry that the node has applied.
    pub applied: LogIndex,
}

/// What the leader answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAnswer {
    /// The request's reading, echoed.
    pub reading: Reading,
    /// The request's process, echoed.
    pub incarnation: Incarnation,
    /// The lease ends at the echoed reading plus this, by the node's clock; or why there is none.
    pub granted: Result<Duration, Denial>,
    /// The stable index as announced.
    pub stable: LogIndex,
    /// The leader's commit index.
    pub commit: LogIndex,
    /// Cluster time at the leader; `None` before it has applied the first entry of its term.
    pub time: Option<ClusterTime>,
}

/// Why a lease was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    /// The node that was asked does not lead, or has not applied the first entry of its term.
    #[error("the node that was asked does not lead")]
    NotLeading,
    /// The leader itself has not heard from a quorum for the length of a lease.
    #[error("the leader has not heard from a quorum")]
    NoQuorum,
    /// The asking node must catch up first.
    #[error("the node is behind")]
    Behind,
}

/// What the leader knows of itself when it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Office {
    /// Position of the first entry of its term.
    pub first_entry: LogIndex,
    /// When it sent the last round that a quorum has answered, by its own clock.
    pub quorum_acknowledged: Option<Reading>,
    /// Its commit index.
    pub commit: LogIndex,
}

/// The leader's book of leases, for one term of office.
#[derive(Debug)]
pub struct LeaseBook {
    began: Reading,
    stable: LogIndex,
    leases: BTreeMap<NodeId, Held>,
    /// Nodes that have come back and have no lease as yet.
    returning: BTreeMap<NodeId, Returning>,
    /// Commit indexes with the time at which they were first seen, one for each [`COMMIT_STEP`].
    commits: VecDeque<(Reading, LogIndex)>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    incarnation: Incarnation,
    applied: LogIndex,
    until: Reading,
}

/// A node that asks and holds no lease: it was away, or its process is new.
#[derive(Clone, Copy, Debug)]
struct Returning {
    incarnation: Incarnation,
    asked: Reading,
    /// The commit index when it came back, which it must have applied before it routes.
    catch_up: LogIndex,
}

/// How finely the book remembers when the commit index was where.
const COMMIT_STEP: Duration = Duration::from_millis(20);

impl LeaseBook {
    /// An empty book of a leader whose office begins now. `stable` is the highest index that an earlier
    /// leader is known to have announced: it never goes back.
    #[must_use]
    pub fn new(now: Reading, stable: LogIndex) -> Self {
        Self {
            began: now,
            stable,
            leases: BTreeMap::new(),
            returning: BTreeMap::new(),
            commits: VecDeque::new(),
        }
    }

    /// Answers a request: how long the lease lasts from the request's reading on.
    ///
    /// # Errors
    /// [`Denial`]; the node may ask again at once.
    pub fn request(
        &mut self,
        now: Reading,
        request: &LeaseRequest,
        office: &Office,
    ) -> Result<Duration, Denial> {
        self.note_commit(now, office.commit);
        let unasked = deliberate::active(Fault::LeaseWithoutQuorum).then_some(now);
        let acknowledged = unasked.or(office.quorum_acknowledged).ok_or(Denial::NoQuorum)?;
        let left = LEASE.saturating_sub(now.saturating_sub(acknowledged));
        if left.is_zero() {
            return Err(Denial::NoQuorum);
        }
        let needed = self.stable.max(office.first_entry).max(self.commit_of_half_a_lease_ago(now));
        if request.applied < needed && !deliberate::active(Fault::LeaseWhileBehind) {
            return Err(Denial::Behind);
        }
        let catch_up = self.catch_up(now, request, office.commit);
        if request.applied < catch_up && !deliberate::active(Fault::LeaseBeforeCatchingUp) {
            return Err(Denial::Behind);
        }
        // A message of a process that is gone. What it had applied says nothing about the one that is there.
        if self.leases.get(&request.node).is_some_and(|held| request.incarnation < held.incarnation) {
            return Err(Denial::Behind);
        }
        self.returning.remove(&request.node);
        // Clocks may differ in rate by five in a hundred, so the book holds a lease that much longer.
        let until = now + left * 21 / 20;
        let asked = Held { incarnation: request.incarnation, applied: request.applied, until };
        let held = self.leases.entry(request.node).or_insert(asked);
        // A process never goes back, and what it sent may arrive out of order. A new process starts from
        // its snapshot: what an earlier one had applied says nothing about it.
        if held.incarnation == request.incarnation {
            held.applied = held.applied.max(request.applied);
            held.until = held.until.max(until);
        } else {
            *held = Held { until: held.until.max(until), ..asked };
        }
        Ok(left)
    }

    /// What a node must have applied that has no lease to renew: all that was committed when it came back. Its
    /// view may be as old as its absence is long, and what has moved meanwhile may be waiting for nobody.
    fn catch_up(&mut self, now: Reading, request: &LeaseRequest, commit: LogIndex) -> LogIndex {
        let renews = |held: &Held| held.until > now && held.incarnation == request.incarnation;
        if self.leases.get(&request.node).is_some_and(renews) {
            return LogIndex(0);
        }
        let back = Returning { incarnation: request.incarnation, asked: now, catch_up: commit };
        let known = self.returning.entry(request.node).or_insert(back);
        // One that has not asked for that long was away again.
        let still = known.incarnation == request.incarnation && now.saturating_sub(known.asked) < LEASE / 2;
        *known = Returning { catch_up: if still { known.catch_up } else { commit }, ..back };
        known.catch_up
    }

    /// Notes that a node has applied more, without a new lease.
    pub fn note_applied(&mut self, node: NodeId, incarnation: Incarnation, applied: LogIndex) {
        if let Some(held) = self.leases.get_mut(&node).filter(|held| held.incarnation == incarnation) {
            held.applied = held.applied.max(applied);
        }
    }

    /// The stable index now: the lowest applied index among the leases that may still be held. A new
    /// leader announces none of its own until every lease of its predecessor has ended.
    pub fn stable(&mut self, now: Reading, own_applied: LogIndex) -> LogIndex {
        self.leases.retain(|_, held| held.until > now);
        let at_once = deliberate::active(Fault::StableFromTheFirstMoment);
        if at_once || self.is_settled(now) {
            let counted = self.leases.values().filter(|_| !deliberate::active(Fault::StableByLeaderAlone));
            let lowest = counted.map(|held| held.applied).min().unwrap_or(own_applied);
            self.stable = self.stable.max(lowest.min(own_applied));
        }
        self.stable
    }

    /// Whether every lease of the predecessor has ended.
    fn is_settled(&self, now: Reading) -> bool {
        now.saturating_sub(self.began) >= LEASE * 11 / 10
    }

    /// What the book says of these members: who may hold a lease, and who holds none.
    #[must_use]
    pub fn holdings(&self, now: Reading, members: &BTreeSet<NodeId>) -> Holdings {
        let applied = |node: &NodeId| {
            let held = self.leases.get(node).filter(|held| held.until > now)?;
            // Its lease may last, but the process that held it is gone, and the one that is there has none.
            let restarted = self.returning.get(node).is_some_and(|back| back.incarnation > held.incarnation);
            (!restarted).then_some(held.applied)
        };
        Holdings {
            stable: self.stable,
            leased: members.iter().filter_map(|node| Some((*node, applied(node)?))).collect(),
            without: members.iter().filter(|node| applied(node).is_none()).copied().collect(),
            settled: self.is_settled(now),
        }
    }

    /// When the stable index may change without any message: a lease ends, or the office is old enough.
    #[must_use]
    pub fn next_change(&self, now: Reading) -> Option<Reading> {
        let in_office = self.began + LEASE * 11 / 10;
        let ends = self.leases.values().map(|held| held.until);
        ends.chain([in_office]).filter(|at| *at > now).min()
    }

    /// The nodes that may hold a lease.
    pub fn holders(&self, now: Reading) -> impl Iterator<Item = NodeId> {
        self.leases.iter().filter(move |(_, held)| held.until > now).map(|(node, _)| *node)
    }

    fn note_commit(&mut self, now: Reading, commit: LogIndex) {
        if self.commits.back().is_none_or(|(at, last)| commit > *last && now >= *at + COMMIT_STEP) {
            self.commits.push_back((now, commit));
        }
        // The newest one that is old enough is all that is needed of the past.
        while self.commits.get(1).is_some_and(|(at, _)| *at + LEASE / 2 <= now) {
            self.commits.pop_front();
        }
    }

    fn commit_of_half_a_lease_ago(&self, now: Reading) -> LogIndex {
        match self.commits.front() {
            Some((at, commit)) if *at + LEASE / 2 <= now => *commit,
            _ => LogIndex(0),
        }
    }
}

/// On what footing a node answers requests of known sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// It holds a lease: its view is right.
    Leased,
    /// It holds none, and it can't reach a leader.
    Isolated,
    /// It holds none yet, but there may be a leader: it must catch up, or is about to learn that it is
    /// isolated. Requests of known sessions wait for one or the other.
    CatchingUp,
}

/// What a node may do at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// On what footing.
    pub footing: Footing,
    /// The highest stable index that it has heard of.
    pub stable: LogIndex,
    /// Cluster time as well as the node knows it.
    pub time: ClusterTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office(commit: u64, acknowledged: u64) -> Office {
        Office {
            first_entry: LogIndex(10),
            quorum_acknowledged: Some(Duration::from_millis(acknowledged)),
            commit: LogIndex(commit),
        }
    }

    fn request(node: u64, applied: u64) -> LeaseRequest {
        LeaseRequest {
            node: NodeId(node),
            incarnation: Incarnation(1),
            reading: Duration::ZERO,
            applied: LogIndex(applied),
        }
    }

    const fn at(milliseconds: u64) -> Reading {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_lease_counts_from_the_last_round_that_a_quorum_answered() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        assert_eq!(book.request(at(300), &request(1, 10), &office(10, 200)), Ok(at(900)));
        assert_eq!(book.request(at(1200), &request(1, 10), &office(10, 200)), Err(Denial::NoQuorum));
    }

    #[test]
    fn a_node_that_has_not_applied_the_first_entry_of_the_term_gets_no_lease() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        assert_eq!(book.request(at(1), &request(1, 9), &office(10, 0)), Err(Denial::Behind));
    }

    #[test]
    fn a_node_behind_the_stable_index_gets_no_lease() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        book.request(at(1150), &request(1, 20), &office(20, 1150)).unwrap();
        assert_eq!(book.stable(at(1160), LogIndex(20)), LogIndex(20));
        assert_eq!(book.request(at(1170), &request(2, 19), &office(20, 1160)), Err(Denial::Behind));
    }

    #[test]
    fn a_slow_node_gets_no_new_lease_once_it_lags_half_a_lease() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        book.request(at(70), &request(2, 15), &office(15, 70)).unwrap();
        book.request(at(100), &request(1, 20), &office(20, 100)).unwrap();
        assert!(book.request(at(550), &request(2, 15), &office(20, 550)).is_ok());
        assert_eq!(book.request(at(601), &request(2, 15), &office(20, 600)), Err(Denial::Behind));
    }

    #[test]
    fn the_stable_index_waits_for_the_slowest_holder_and_never_goes_back() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        book.request(at(1100), &request(2, 25), &office(25, 1100)).unwrap();
        book.request(at(1100), &request(1, 30), &office(30, 1100)).unwrap();
        assert_eq!(book.stable(at(1101), LogIndex(30)), LogIndex(25));
        book.note_applied(NodeId(2), Incarnation(1), LogIndex(28));
        assert_eq!(book.stable(at(1102), LogIndex(30)), LogIndex(28));
        // Both leases end 1.05 s after the answer; then only the leader's own progress counts.
        assert_eq!(book.stable(at(2151), LogIndex(31)), LogIndex(31));
        assert_eq!(book.stable(at(2152), LogIndex(30)), LogIndex(31));
    }

    #[test]
    fn a_restarted_node_counts_by_what_its_new_process_has_applied() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        book.request(at(1100), &request(1, 30), &office(20, 1100)).unwrap();
        let restarted = LeaseRequest { incarnation: Incarnation(2), ..request(1, 20) };
        book.request(at(1110), &restarted, &office(20, 1100)).unwrap();
        assert_eq!(book.stable(at(1111), LogIndex(30)), LogIndex(20));
    }

    #[test]
    fn a_node_that_comes_back_must_apply_what_was_committed_when_it_did() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        assert_eq!(book.request(at(100), &request(1, 19), &office(20, 100)), Err(Denial::Behind));
        assert_eq!(book.request(at(125), &request(1, 19), &office(25, 120)), Err(Denial::Behind));
        assert!(book.request(at(150), &request(1, 20), &office(30, 150)).is_ok(), "no more than that");
        assert!(book.request(at(350), &request(1, 21), &office(40, 350)).is_ok(), "a renewal is none");
        let restarted = LeaseRequest { incarnation: Incarnation(2), ..request(1, 39) };
        assert_eq!(book.request(at(360), &restarted, &office(40, 360)), Err(Denial::Behind));
        let away_again = LeaseRequest { applied: LogIndex(44), ..restarted };
        assert_eq!(book.request(at(2000), &away_again, &office(45, 2000)), Err(Denial::Behind));
    }

    #[test]
    fn a_late_request_of_an_earlier_process_changes_nothing() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        let restarted = LeaseRequest { incarnation: Incarnation(2), ..request(1, 20) };
        book.request(at(1100), &restarted, &office(20, 1100)).unwrap();
        assert_eq!(book.request(at(1110), &request(1, 30), &office(30, 1100)), Err(Denial::Behind));
        assert_eq!(book.stable(at(1111), LogIndex(30)), LogIndex(20));
    }

    #[test]
    fn a_new_leader_announces_nothing_while_leases_of_its_predecessor_may_last() {
        let mut book = LeaseBook::new(at(5000), LogIndex(7));
        assert_eq!(book.stable(at(6099), LogIndex(50)), LogIndex(7));
        assert_eq!(book.stable(at(6100), LogIndex(50)), LogIndex(50));
    }

    #[test]
    fn the_book_knows_which_members_hold_no_lease() {
        let members: BTreeSet<NodeId> = [1, 2, 3].map(NodeId).into();
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        book.request(at(1100), &request(1, 30), &office(20, 1100)).unwrap();
        book.request(at(1100), &request(2, 25), &office(20, 1100)).unwrap();
        let holdings = book.holdings(at(1110), &members);
        assert_eq!(holdings.leased, [(NodeId(1), LogIndex(30)), (NodeId(2), LogIndex(25))].into());
        assert_eq!((holdings.without, holdings.settled), ([NodeId(3)].into(), true));
        let restarted = LeaseRequest { incarnation: Incarnation(2), ..request(2, 10) };
        assert_eq!(book.request(at(1120), &restarted, &office(20, 1100)), Err(Denial::Behind));
        assert_eq!(book.holdings(at(1130), &members).without, [2, 3].map(NodeId).into());
        assert_eq!(book.holdings(at(2200), &members).leased, BTreeMap::new(), "leases end");
        assert!(!LeaseBook::new(at(0), LogIndex(0)).holdings(at(1099), &members).settled);
    }

    #[test]
    fn the_book_holds_a_lease_longer_than_the_node_does() {
        let mut book = LeaseBook::new(at(0), LogIndex(0));
        let granted = book.request(at(2000), &request(1, 30), &office(30, 2000)).unwrap();
        assert_eq!(granted, LEASE);
        assert_eq!(book.holders(at(2000) + granted).collect::<Vec<_>>(), [NodeId(1)]);
        assert_eq!(book.holders(at(3050)).count(), 0);
    }
}
