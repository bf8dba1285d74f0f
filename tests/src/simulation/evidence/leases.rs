//! What lease holders and nodes without a lease have sent, by which epochs, and what operators were told of ended ones.

use std::collections::BTreeSet;
use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch, KeyHash, NodeId};
use stickler_core::lease::Footing;
use stickler_core::state::SessionKey;

use super::Evidence;

/// A request by an epoch that had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overtaken {
    at: Duration,
    shop: String,
    /// The node without a lease that sent it.
    pub node: NodeId,
    /// The session.
    pub session: KeyHash,
    /// The epoch.
    pub epoch: Epoch,
}

/// First and last time that a session was routed by an epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Routed {
    first: (Duration, NodeId),
    last: (Duration, NodeId),
}

/// The receipt for the end of an epoch: since when no node may use it, but for those that it names.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    epoch: Epoch,
    since: Duration,
    without_lease: BTreeSet<NodeId>,
}

/// For how long before a receipt the leader's book may have had the lease of a node's process before the present one:
/// a lease, and the way of the answer.
const BOOK: Duration = Duration::from_secs(2);

impl Evidence {
    /// I5 and I7: takes in that a node with a lease routes a session by this epoch right now, or just sent
    /// a request by it.
    ///
    /// # Errors
    /// When another one (or the same) used a higher epoch before, or a lower one later. Hosts are
    /// simulated one after the other, so reports come in any order within a tick.
    pub fn routes(
        &mut self,
        at: Duration,
        node: NodeId,
        session: KeyHash,
        epoch: Epoch,
    ) -> Result<(), String> {
        if let Some(Ended { epoch: ended, since, .. }) = self.receipts.get(&session)
            && epoch <= *ended
            && at > *since
        {
            return Err(format!(
                "I7 ReplicatedDelete: node {node} routes {session} by epoch {epoch}, whose end had a receipt at {since:?}"
            ));
        }
        let epochs = self.routed.entry(session).or_default();
        let seen = epochs.entry(epoch).or_insert(Routed { first: (at, node), last: (at, node) });
        if at < seen.first.0 {
            seen.first = (at, node);
        }
        if at > seen.last.0 {
            seen.last = (at, node);
        }
        for (other, routed) in epochs.iter() {
            let (early, late) =
                if *other < epoch { (routed.last, (at, node)) } else { ((at, node), routed.first) };
            if *other != epoch && early.0 > late.0 {
                return Err(format!(
                    "I5 OneOwner: session {session} was routed by epoch {} on node {} at {:?}, after epoch {} was used \
                     on node {} at {:?}, all with leases",
                    epoch.min(*other),
                    early.1,
                    early.0,
                    epoch.max(*other),
                    late.1,
                    late.0,
                ));
            }
        }
        Ok(())
    }

    /// Takes in that an operator has a receipt for the end of an epoch, which names these nodes.
    pub fn receipt(
        &mut self,
        at: Duration,
        session: SessionKey,
        epoch: Epoch,
        without_lease: &BTreeSet<NodeId>,
    ) {
        let ended = Ended { epoch, since: at, without_lease: without_lease.clone() };
        if self.receipts.get(&session.key).is_none_or(|known| known.epoch < epoch) {
            self.receipts.insert(session.key, ended);
        }
    }

    /// Takes in that a process of a node has begun.
    pub fn begins(&mut self, at: Duration, node: NodeId) {
        self.begun.insert(node, at);
    }

    /// When the process of a node began that runs.
    #[must_use]
    pub fn up_since(&self, node: NodeId) -> Duration {
        self.begun.get(&node).copied().unwrap_or_default()
    }

    /// Takes in on what footing a node stands.
    pub fn stands(&mut self, node: NodeId, footing: Footing) {
        self.footings.insert(node, footing);
    }

    /// On what footing a node sends that stands on this one by now. One that begins to catch up at this very moment has
    /// validated by what it was before.
    #[must_use]
    pub fn sends_on(&self, node: NodeId, now: Footing) -> Footing {
        match (self.footings.get(&node), now) {
            (Some(Footing::Isolated), Footing::CatchingUp) => Footing::Isolated,
            _ => now,
        }
    }

    /// Takes in that a node without a lease sent a request of a session that has no record.
    pub fn sent_unrecorded(&mut self, at: Duration, node: NodeId, shop: &str) {
        self.isolated.push((at, node, shop.to_owned()));
    }

    /// Takes in that a node without a lease sent a request of a known session.
    ///
    /// # Errors
    /// I7: when the epoch's end had a receipt that does not name the node. It had a lease then, and what it knew
    /// then it knows, if it is the same process.
    pub fn sent_isolated(
        &mut self,
        at: Duration,
        node: NodeId,
        shop: &str,
        (session, epoch): (KeyHash, Epoch),
    ) -> Result<(), String> {
        self.isolated.push((at, node, shop.to_owned()));
        if self.is_elsewhere(shop, session, epoch) {
            self.overtaken.push(Overtaken { at, shop: shop.to_owned(), node, session, epoch });
        }
        let Some(ended) = self.receipts.get(&session) else { return Ok(()) };
        let begun = self.begun.get(&node).copied().unwrap_or_default();
        let excused = ended.without_lease.contains(&node) || begun + BOOK > ended.since;
        if epoch > ended.epoch || at <= ended.since || excused {
            return Ok(());
        }
        Err(format!(
            "I7 ReplicatedDelete: node {node} sends {session} by epoch {epoch} without a lease, and the receipt of \
             {:?} for its end does not name it",
            ended.since
        ))
    }

    /// Whether a session has had a later epoch than this one, and all of them on other shops.
    fn is_elsewhere(&self, shop: &str, session: KeyHash, epoch: Epoch) -> bool {
        let Some(homes) = self.homes.get(&session) else { return false };
        let mut later = homes.range(Epoch(epoch.0 + 1)..).peekable();
        let named = |backend: &BackendId| self.names.get(backend).is_some_and(|(name, _)| name != shop);
        later.peek().is_some() && later.all(|(_, backend)| named(backend))
    }

    /// What must be listed as a conflict by now: the process that served it has gone on since, and the session
    /// has not come back to that shop.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Overtaken> {
        let counts = |one: &&Overtaken| {
            let begun = self.begun.get(&one.node).copied().unwrap_or_default();
            begun < one.at && self.is_elsewhere(&one.shop, one.session, one.epoch)
        };
        self.overtaken.iter().filter(counts).cloned().collect()
    }

    /// Whether a response that a client got through a node may stem from such a request.
    #[must_use]
    pub fn may_be_isolated(&self, node: NodeId, shop: &str, from: Duration) -> bool {
        self.isolated
            .iter()
            .rev()
            .take_while(|(at, _, _)| *at >= from)
            .any(|(_, by, to)| *by == node && to == shop)
    }
}
