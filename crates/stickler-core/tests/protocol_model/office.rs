//! The leader's office (raft/office): keeps a `LeaseBook` and answers out of it. The book is the product's;
//! the model keeps what it holds in ticks, makes it anew for each question, and asks it.
//!
//! A tick is half a lease, and a little more: the leader's clock is as fast as clocks may be, and a lease of
//! two ticks on a node ends in the book just when it ends on the node. No margin hides a mistake.

use std::time::Duration;

use stickler_core::ids::{Incarnation, LogIndex, NodeId};
use stickler_core::lease::{LEASE, LeaseBook, LeaseRequest, Office as Knows, Reading};

use crate::log::{Position, index};
use crate::mistakes::Mistake;

pub(crate) const NODES: usize = 3;

/// After so many ticks a lease has ended, whatever it was counted from.
pub(crate) const LEASE_TICKS: u8 = 2;

/// A tick on a node's clock; the leader's runs five in a hundred faster.
const TICK: Duration = Duration::from_millis(525);

/// What a node sends to ask for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Asked {
    pub(crate) node: u8,
    /// 0, and 1 after its restart.
    pub(crate) process: u8,
    pub(crate) applied: Position,
    /// How many ticks ago.
    pub(crate) age: u8,
}

/// A leader in office, or one that believes it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Office {
    pub(crate) term: u8,
    pub(crate) first_entry: Position,
    /// How many ticks ago it began, and the last round was sent that a quorum answered.
    age: u8,
    pub(crate) acknowledged: u8,
    pub(crate) stable: Position,
    held: [Held; NODES],
}

/// The book's line on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Held {
    process: u8,
    applied: Position,
    /// Ticks after which it is struck out; 0 when there is none.
    left: u8,
}

impl Office {
    /// One that begins now. `stable` is what its node has heard.
    pub(crate) fn begun(term: u8, first_entry: Position, stable: Position) -> Self {
        Self { term, first_entry, age: 0, acknowledged: 0, stable, held: Default::default() }
    }

    /// The first leader's, long in office.
    pub(crate) fn long_begun(stable: Position) -> Self {
        Self { age: LEASE_TICKS, ..Self::begun(0, 0, stable) }
    }

    /// Answers a request: how long the lease lasts from the request's reading on.
    pub(crate) fn grant(&mut self, asked: &Asked, mistake: Option<Mistake>) -> Option<Duration> {
        // What an earlier process had applied says nothing about the present one (docs/adr/0005).
        let held = self.held[usize::from(asked.node)];
        let outdated = held.left > 0 && asked.process < held.process;
        if outdated && mistake != Some(Mistake::EarlierProcessCounts) {
            return None;
        }
        let unasked = mistake == Some(Mistake::LeaseWithoutQuorum);
        let behind = mistake == Some(Mistake::LeaseWhileBehind);
        let knows = Knows {
            first_entry: if behind { LogIndex(0) } else { index(self.first_entry) },
            quorum_acknowledged: Some(ago(if unasked { 0 } else { self.acknowledged })),
            // Left out: a lease is also refused to a node that lags by half a lease. Safety owes it nothing.
            commit: LogIndex(0),
        };
        let request = LeaseRequest {
            node: NodeId(asked.node.into()),
            incarnation: Incarnation(asked.process.into()),
            reading: Duration::ZERO,
            applied: index(asked.applied),
        };
        let mut book = LeaseBook::new(ago(self.age), index(self.stable));
        let granted = book.request(ago(0), &request, &knows).ok()?;
        self.note(asked, ticks_in(granted * 21 / 20, faster(TICK)));
        Some(granted)
    }

    /// As `LeaseBook::request` notes it, which keeps its lines to itself.
    fn note(&mut self, asked: &Asked, left: u8) {
        let held = &mut self.held[usize::from(asked.node)];
        let same = held.left > 0 && held.process == asked.process;
        let applied = if same { held.applied.max(asked.applied) } else { asked.applied };
        *held = Held { process: asked.process, applied, left: held.left.max(left) };
    }

    /// As `LeaseBook::note_applied`.
    pub(crate) fn note_applied(&mut self, node: u8, process: u8, applied: Position) {
        let held = &mut self.held[usize::from(node)];
        if held.left > 0 && held.process == process {
            held.applied = held.applied.max(applied);
        }
    }

    /// The stable index that it announces now.
    pub(crate) fn stable(&self, own_applied: Position, mistake: Option<Mistake>) -> Position {
        let age = if mistake == Some(Mistake::AnnounceAtOnce) { LEASE_TICKS } else { self.age };
        let mut book = LeaseBook::new(ago(age), index(self.stable));
        let held = self.held.iter().zip(1..).filter(|(held, _)| held.left > 0);
        for (held, node) in held.filter(|_| mistake != Some(Mistake::LeaderCountsItselfAlone)) {
            // A lease of full length, asked for when it ends at the right moment.
            let now = ago(0) + faster(TICK) * u32::from(held.left) - LEASE * 21 / 20;
            let knows =
                Knows { first_entry: LogIndex(0), quorum_acknowledged: Some(now), commit: LogIndex(0) };
            let request = LeaseRequest {
                node: NodeId(node),
                incarnation: Incarnation(held.process.into()),
                reading: Duration::ZERO,
                applied: index(held.applied),
            };
            book.request(now, &request, &knows).expect("whoever is in the book was let in before");
        }
        let stable = book.stable(ago(0), index(own_applied));
        Position::try_from(stable.0 - index(0).0).expect("logs are short")
    }

    /// Renames the nodes in the book: the first line becomes that of the first in `order`.
    pub(crate) fn reorder(&mut self, order: &[u8; NODES]) {
        let held = self.held;
        self.held = order.map(|node| held[usize::from(node)]);
    }

    /// A tick goes by. Only a leader that was not replaced hears from a quorum.
    pub(crate) fn tick(&mut self, leads: bool) {
        self.age = LEASE_TICKS.min(self.age + 1);
        self.acknowledged = if leads { 0 } else { LEASE_TICKS.min(self.acknowledged + 1) };
        for held in &mut self.held {
            held.left = held.left.saturating_sub(1);
            if held.left == 0 {
                *held = Held::default();
            }
        }
    }
}

/// The ticks for which a lease lasts on its node that was granted for `granted` from a reading on.
pub(crate) fn lease_ticks(granted: Duration, age: u8) -> u8 {
    ticks_in(granted.saturating_sub(TICK * u32::from(age)), TICK)
}

/// A reading of the leader's clock.
fn ago(ticks: u8) -> Reading {
    Duration::from_secs(1000) - faster(TICK) * u32::from(ticks)
}

fn faster(duration: Duration) -> Duration {
    duration * 21 / 20
}

/// How many ticks have begun when `left` is over.
fn ticks_in(left: Duration, tick: Duration) -> u8 {
    u8::try_from(left.as_micros().div_ceil(tick.as_micros())).expect("a lease is a few ticks")
}
