//! Which epochs sessions have had, why, and on which shops.

use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch, KeyHash};
use stickler_core::state::{Binding, Cause, MoveReason, SessionKey};

use super::Evidence;

/// How long all nodes must have held leases, so that none has a request on its way by one that has ended since.
const SETTLED: Duration = Duration::from_secs(3);

/// For how long nodes may disagree on a session's epoch, were they wrong to: longer than any lease lasts.
const CONTESTED: Duration = Duration::from_secs(4);

impl Evidence {
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

    /// The session that has this epoch, unless it has had another one since.
    pub(super) fn session_by(&self, epoch: Epoch) -> Option<KeyHash> {
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
}
