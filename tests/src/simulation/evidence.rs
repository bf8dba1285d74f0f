//! What promises are judged by, gathered from all nodes, shops, clients and operators of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch, KeyHash, NodeId};
use stickler_core::invariants::History;
use stickler_core::lease::Footing;
use stickler_core::state::{Binding, Cause, MoveReason, SessionKey};

use super::job_promises::JobPromises;
use super::new_sessions::NewSessions;
use super::pool_changes::PoolChanges;
use super::progress::Progress;
use super::waiting_for_room::{Answered, WaitingForRoom};

/// All evidence of a run.
#[derive(Default)]
pub struct Evidence {
    /// Backends that come and go.
    pub pool_changes: PoolChanges,
    /// For what a node that comes back must have applied.
    pub progress: Progress,
    /// For I1, I2 and I9.
    pub history: History,
    /// What operators have asked for: the session and the epoch that they saw.
    pub moves_asked: BTreeSet<(SessionKey, Epoch)>,
    /// See `moves_asked`.
    pub unbinds_asked: BTreeSet<(SessionKey, Epoch)>,
    /// Identifiers that have become older names of a session. They end when their grace is over.
    pub renamed: BTreeSet<SessionKey>,
    /// On what footing each node was seen last.
    footings: BTreeMap<NodeId, Footing>,
    /// The last epoch that each backend has forgotten, by the state of some node.
    forgotten: BTreeMap<BackendId, Epoch>,
    /// Epochs that jobs gave when their time was over.
    forced: BTreeSet<Epoch>,
    /// Epochs that ended to make room for others.
    evicted: BTreeSet<Epoch>,
    /// On which backend each session was by which epoch.
    homes: BTreeMap<KeyHash, BTreeMap<Epoch, BackendId>>,
    /// What nodes without a lease served when the session was elsewhere already.
    overtaken: Vec<Overtaken>,
    /// Sessions that their application has ended.
    pub logouts: BTreeSet<KeyHash>,
    /// Items that a shop has put into a cart.
    pub acted: BTreeSet<u64>,
    /// When sessions were routed by which epoch, by nodes with a lease.
    routed: BTreeMap<KeyHash, BTreeMap<Epoch, Routed>>,
    /// Epochs that an operator has ended, with the receipt for it (I7).
    receipts: BTreeMap<KeyHash, Ended>,
    /// When the process of each node began that runs.
    begun: BTreeMap<NodeId, Duration>,
    /// When some node's state had a shop as one that sessions must leave.
    gone: BTreeMap<String, Vec<(Duration, Duration)>>,
    /// Requests that left for a shop from a node without a lease.
    isolated: Vec<(Duration, NodeId, String)>,
    /// Every epoch that some node has applied.
    epochs: BTreeMap<Epoch, (SessionKey, Cause)>,
    /// The first epoch of each session, and when sessions last got another one or lost theirs.
    firsts: BTreeMap<SessionKey, Epoch>,
    contested: BTreeMap<SessionKey, Duration>,
    /// Sessions that an operator has moved or ended, or wants to, with the last epoch that was seen for that.
    operated: BTreeMap<SessionKey, Epoch>,
    /// When rules that end sessions were being given: what has no record yet ends with them.
    rules: Vec<(Duration, Duration)>,
    /// Since when all is well, and was given time to settle.
    pub settled: Option<Duration>,
    /// Since when all nodes run and hold leases, if they do.
    pub all_leased: Option<Duration>,
    /// Requests of clients with Stickler's cookie that may have begun a session.
    pub new_sessions: NewSessions,
    /// What jobs were told.
    pub jobs: JobPromises,
    /// Requests that wait for room at a shop.
    pub room: WaitingForRoom,
    /// How often clients have asked each node for anything.
    asked: BTreeMap<NodeId, u64>,
    /// What each backend id names.
    names: BTreeMap<BackendId, (String, SocketAddr)>,
    /// When a request of a session last left for a shop, or the session was bound or moved.
    used: BTreeMap<KeyHash, Duration>,
}

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

#[derive(Clone, Copy, Debug)]
struct Routed {
    first: (Duration, NodeId),
    last: (Duration, NodeId),
}

/// The receipt for the end of an epoch: since when no node may use it, but for those that it names.
#[derive(Clone, Debug)]
struct Ended {
    epoch: Epoch,
    since: Duration,
    without_lease: BTreeSet<NodeId>,
}

/// For how long before a receipt the leader's book may have had the lease of a node's process before the present one:
/// a lease, and the way of the answer.
const BOOK: Duration = Duration::from_secs(2);

/// How long all nodes must have held leases, so that none has a request on its way by one that has ended since.
const SETTLED: Duration = Duration::from_secs(3);

/// Observations of one shop this close together are one stretch of time.
const STRETCH: Duration = Duration::from_millis(100);

/// For how long nodes may disagree on a session's epoch, were they wrong to: longer than any lease lasts.
const CONTESTED: Duration = Duration::from_secs(4);

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

    /// Takes in that a node's state has a shop down, in maint, drained or removed.
    pub fn shop_gone(&mut self, at: Duration, shop: &str) {
        if let Some(stretches) = self.gone.get_mut(shop) {
            match stretches.last_mut() {
                Some((_, until)) if at <= *until + STRETCH => *until = at.max(*until),
                _ => stretches.push((at, at)),
            }
        } else {
            self.gone.insert(shop.to_owned(), vec![(at, at)]);
        }
    }

    /// Whether sessions had a reason to leave a shop within this time.
    #[must_use]
    pub fn was_gone(&self, shop: &str, from: Duration, to: Duration) -> bool {
        let stretches = self.gone.get(shop).map(Vec::as_slice).unwrap_or_default();
        stretches.iter().any(|(began, ended)| *began <= to && *ended >= from)
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

    /// Takes in that a backend has begun another life, and has forgotten what it had by epochs up to this one; or was taken
    /// out and is down, and counts as if it had.
    pub fn forgets(&mut self, backend: BackendId, epoch: Epoch) {
        let last = self.forgotten.entry(backend).or_default();
        *last = epoch.max(*last);
    }

    /// Whether the shop of this epoch has forgotten its session, which then ends where its affinity says so.
    #[must_use]
    pub fn is_forgotten(&self, session: KeyHash, epoch: Epoch) -> bool {
        let home = self.homes.get(&session).and_then(|homes| homes.get(&epoch));
        home.and_then(|home| self.forgotten.get(home)).is_some_and(|forgotten| epoch <= *forgotten)
    }

    /// Takes in that an epoch has ended to make room for another session.
    pub fn evicted(&mut self, epoch: Epoch) {
        self.evicted.insert(epoch);
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

    /// Takes in that a client asks a node for something; no other request has this number.
    pub fn asks(&mut self, node: NodeId) -> u64 {
        *self.asked.entry(node).or_default() += 1;
        self.asked.values().sum()
    }

    /// How often a node was asked so far.
    #[must_use]
    pub fn asked_of(&self, node: NodeId) -> u64 {
        self.asked.get(&node).copied().unwrap_or_default()
    }

    /// When the process of a node began that runs.
    #[must_use]
    pub fn up_since(&self, node: NodeId) -> Duration {
        self.begun.get(&node).copied().unwrap_or_default()
    }

    /// I3: a request by this epoch of a session leaves for a shop, which must be the one that the epoch is on.
    ///
    /// # Errors
    /// When it is on another one, by the state of some node.
    pub fn goes_to(&self, shop: &str, session: KeyHash, epoch: Epoch) -> Result<(), String> {
        let home = self.homes.get(&session).and_then(|homes| homes.get(&epoch));
        match home.and_then(|home| self.names.get(home)) {
            Some((name, _)) if name != shop => Err(format!(
                "I3 NoUnforcedMove: a request of {session} by epoch {epoch}, which is on {name}, goes to {shop}"
            )),
            _ => Ok(()),
        }
    }

    /// Takes in a binding that some node has applied.
    ///
    /// # Errors
    /// I7: a token without a record has begun a session that had begun before, and was over.
    pub fn bound(&mut self, at: Duration, session: SessionKey, binding: &Binding) -> Result<(), String> {
        if self.epochs.insert(binding.epoch, (session, binding.cause)).is_none() {
            self.used(at, session.key);
        }
        self.homes.entry(session.key).or_default().insert(binding.epoch, binding.backend);
        let first = *self.firsts.entry(session).or_insert(binding.epoch);
        if first != binding.epoch {
            self.contest(at, session);
        }
        if first < binding.epoch && binding.cause == Cause::Returned {
            return Err(format!(
                "I7 ReplicatedDelete: {session:?} had epoch {first}, and a token without a record has brought it back: {binding:?}"
            ));
        }
        Ok(())
    }

    /// Takes in that some node has applied what ended an epoch of a session.
    pub fn contest(&mut self, at: Duration, session: SessionKey) {
        self.contested.insert(session, at);
    }

    /// The sessions by whose epochs nodes may disagree: those that have had another one a moment ago.
    pub fn contested(&mut self, at: Duration) -> Vec<SessionKey> {
        self.contested.retain(|_, since| at.saturating_sub(*since) < CONTESTED);
        self.contested.keys().copied().collect()
    }

    /// Whether some node has applied what drew this epoch.
    #[must_use]
    pub fn is_committed(&self, epoch: Epoch) -> bool {
        self.epochs.contains_key(&epoch)
    }

    /// Takes in that a shop has ended its work for a request of a session, which came by this epoch and began at `from`.
    ///
    /// # Errors
    /// When a job has moved the session meanwhile, while all nodes held leases: it waits until nothing goes on.
    pub fn worked(&self, from: Duration, session: KeyHash, epoch: Epoch) -> Result<(), String> {
        let well = self.all_leased.is_some_and(|since| since + SETTLED < from);
        let next = self.homes.get(&session).and_then(|homes| homes.range(epoch.next()..).next());
        match next {
            Some((next, _))
                if well && self.was_moved_for(*next, MoveReason::Job) && !self.may_be_forced(*next) =>
            {
                Err(format!(
                    "jobs: {session} was moved by epoch {next} while a request by epoch {epoch} went on"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Takes in that a job has moved a session since its time was over, whatever went on.
    pub fn forced(&mut self, epoch: Epoch) {
        self.forced.insert(epoch);
    }

    fn may_be_forced(&self, epoch: Epoch) -> bool {
        self.forced.contains(&epoch)
    }

    /// Whether this epoch came from a move for this reason, by the state of some node.
    #[must_use]
    pub fn was_moved_for(&self, epoch: Epoch, reason: MoveReason) -> bool {
        self.epochs.get(&epoch).is_some_and(|(_, cause)| *cause == Cause::Moved(reason))
    }

    /// For which reason a session was moved off this shop, the first time after epoch `known`, if it was by epoch
    /// `found`. It may have gone on from there for another one since.
    #[must_use]
    pub fn left_for(&self, shop: &str, known: Epoch, found: Epoch) -> Option<MoveReason> {
        let (session, _) = self.epochs.get(&found)?;
        let mut later = self.homes.get(&session.key)?.range((Bound::Excluded(known), Bound::Included(found)));
        let elsewhere = |backend| self.names.get(backend).is_some_and(|(name, _)| name != shop);
        let (left, _) = later.find(|(_, backend)| elsewhere(*backend))?;
        match self.epochs.get(left)? {
            (_, Cause::Moved(reason)) => Some(*reason),
            _ => None,
        }
    }

    /// Takes in that a request of a session left.
    pub fn used(&mut self, at: Duration, session: KeyHash) {
        let last = self.used.entry(session).or_default();
        *last = at.max(*last);
    }

    /// When a session was last used, by the wire.
    #[must_use]
    pub fn last_used(&self, session: KeyHash) -> Option<Duration> {
        self.used.get(&session).copied()
    }

    /// Takes in that an operator gives a rule that ends sessions; [`Evidence::rule_is_given`] with this number ends that.
    pub fn gives_rule(&mut self, at: Duration) -> usize {
        self.rules.push((at, Duration::MAX));
        self.rules.len() - 1
    }

    /// Takes in that a rule has been given, or can't be in effect later than at `until` if it is not by now.
    pub fn rule_is_given(&mut self, number: usize, until: Duration) {
        self.rules[number].1 = until;
    }

    /// Whether a session without a record that began at `since` may have ended with a rule: it was given later, or
    /// took effect later.
    #[must_use]
    pub fn may_be_ruled_out(&self, since: Duration) -> bool {
        self.rules.iter().any(|(_, until)| *until >= since)
    }

    /// Takes in that an operator has seen a session by this epoch and will do something to it.
    pub fn operates(&mut self, session: SessionKey, epoch: Epoch) {
        let seen = self.operated.entry(session).or_default();
        *seen = epoch.max(*seen);
    }

    /// Takes in that a job may end a session that has this epoch.
    pub fn may_be_closed(&mut self, session: SessionKey, epoch: Epoch) {
        self.operates(session, epoch);
        self.unbinds_asked.insert((session, epoch));
    }

    /// Whether the session that had this epoch may have been moved or ended by an operator, made room, was forgotten by
    /// its shop, or goes by another name, which its client may not have heard, and after a grace by that alone.
    #[must_use]
    pub fn may_be_over(&self, epoch: Epoch) -> bool {
        let operated = |session: &SessionKey| self.operated.get(session).is_some_and(|seen| epoch <= *seen);
        let over = |session: &SessionKey| {
            operated(session) || self.renamed.contains(session) || self.is_forgotten(session.key, epoch)
        };
        self.evicted.contains(&epoch) || self.epochs.get(&epoch).is_none_or(|(session, _)| over(session))
    }

    /// Whether the session that had this epoch goes by another name since, as where a shop that did not know it gave it one.
    /// Whoever has not heard that name comes by the old one, which ends with its grace.
    #[must_use]
    pub fn is_renamed(&self, epoch: Epoch) -> bool {
        self.epochs.get(&epoch).is_some_and(|(session, _)| self.renamed.contains(session))
    }

    /// Whether an epoch came from an operator's move that was asked for of the epoch before it.
    #[must_use]
    pub fn operator_asked(&self, session: SessionKey, before: &Binding, after: &Binding) -> bool {
        after.cause != Cause::Moved(MoveReason::Operator)
            || self.moves_asked.contains(&(session, before.epoch))
    }

    /// Takes in an answer to a client; where it has a session for sure, on which shop and by which epoch.
    ///
    /// # Errors
    /// When the request was given up too early, had no place in the queue, or waited after others that it goes before.
    pub fn had_room(&mut self, answer: &Answered<'_>, known: Option<(&str, Epoch)>) -> Result<(), String> {
        self.room.is_answered(answer.at, answer.node);
        self.room.is_in_time(answer)?;
        let Some((shop, epoch)) = known else { return Ok(()) };
        self.room.has_a_place(answer)?;
        let stays = self.session_by(epoch).is_some_and(|session| {
            !self.room.was_announced(session, answer.asked) && !self.was_gone(shop, answer.asked, answer.at)
        });
        if stays { self.room.goes_first(answer, shop) } else { Ok(()) }
    }

    /// The session that has this epoch, unless it has had another one since.
    fn session_by(&self, epoch: Epoch) -> Option<KeyHash> {
        let (session, _) = self.epochs.get(&epoch)?;
        let newest = self.homes.get(&session.key)?.last_key_value().map(|(newest, _)| *newest);
        (newest == Some(epoch)).then_some(session.key)
    }

    /// Takes in what a backend id names on some node. Ids are permanent.
    ///
    /// # Errors
    /// When it has named something else.
    pub fn names(&mut self, id: BackendId, name: &str, address: SocketAddr) -> Result<(), String> {
        // What a name leads to is called after its address.
        let name = self.pool_changes.shops.get(&address.ip()).copied().unwrap_or(name);
        let (known, at) = self.names.entry(id).or_insert_with(|| (name.to_owned(), address));
        // A shop has two ports, and goes from one to the other where the document says so.
        if known == name && at.ip() == address.ip() {
            return Ok(());
        }
        Err(format!("I1 Agreement: backend id {id} named {known} at {at}, and now {name} at {address}"))
    }
}
