//! The clients' own record: where each session was said to be, and whether a later answer fits.

use std::collections::{BTreeSet, HashMap};

use crate::identifier::Identifier;
use crate::rig::admin::Listed;
use crate::rig::client::Answer;

/// Where a session is, as its client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The backend that answered.
    pub backend: String,
    /// The binding's epoch.
    pub epoch: u64,
}

/// Something that the cluster must never do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// I1: one epoch of one session at two backends.
    #[error("{identifier}: epoch {epoch} is at {} and at {}", backends.0, backends.1)]
    Split {
        /// The session.
        identifier: Identifier,
        /// The epoch.
        epoch: u64,
        /// Both backends.
        backends: (String, String),
    },
    /// I2: an older epoch than the client has seen.
    #[error("{identifier}: epoch {now} after epoch {before}")]
    EpochWentBack {
        /// The session.
        identifier: Identifier,
        /// The highest epoch so far.
        before: u64,
        /// What came after it.
        now: u64,
    },
    /// I4: the binding is another one than the acknowledged one, though the session can't have moved.
    #[error("{identifier}: was at {} by epoch {}, is at {} by epoch {}: lost or moved without a reason",
        before.backend, before.epoch, now.backend, now.epoch)]
    LostOrMoved {
        /// The session.
        identifier: Identifier,
        /// What was acknowledged.
        before: Place,
        /// What was answered later.
        now: Place,
    },
    /// An acknowledged binding is missing in a replica, or is another one there.
    #[error("{identifier}: acknowledged at {} by epoch {}, but node {node}'s replica has {found}",
        place.backend, place.epoch)]
    Replica {
        /// The session.
        identifier: Identifier,
        /// The node.
        node: usize,
        /// What was acknowledged.
        place: Place,
        /// What the replica has.
        found: String,
    },
    /// The answer does not say what every answer of a session must say.
    #[error("{identifier}: an answer without {lacks}")]
    Incomplete {
        /// The session.
        identifier: Identifier,
        /// What it lacks.
        lacks: &'static str,
    },
}

/// What came of an answer that is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    /// The first answer of this session.
    New,
    /// As before.
    Stayed,
    /// It has moved, as it may.
    Moved,
}

/// The clients' own record of a run in which no session expires, ends, or changes its identifier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    places: HashMap<Identifier, Place>,
    /// Backends that sessions may leave.
    may_leave: BTreeSet<String>,
}

impl Ledger {
    /// From now on sessions may leave this backend, and only this one.
    pub(crate) fn may_leave(&mut self, backend: &str) {
        self.may_leave = BTreeSet::from([backend.to_owned()]);
    }

    /// From now on no session may move.
    pub(crate) fn may_leave_none(&mut self) {
        self.may_leave.clear();
    }

    /// How many sessions were acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The sessions, in an order that depends on their identifiers alone.
    pub(crate) fn identifiers(&self) -> Vec<Identifier> {
        let mut identifiers: Vec<Identifier> = self.places.keys().cloned().collect();
        identifiers.sort_unstable();
        identifiers
    }

    /// Where a session is, as its client was told.
    pub(crate) fn place(&self, identifier: &Identifier) -> Option<&Place> {
        self.places.get(identifier)
    }

    /// Takes in an answer that a backend gave, and judges it by those before.
    pub(crate) fn observe(&mut self, identifier: &Identifier, answer: &Answer) -> Result<Observed, Fault> {
        let lacking = |lacks| Fault::Incomplete { identifier: identifier.clone(), lacks };
        let epoch = answer.epoch.ok_or_else(|| lacking("an epoch"))?;
        if answer.backend.is_empty() {
            return Err(lacking("a backend"));
        }
        let now = Place { backend: answer.backend.clone(), epoch };
        let Some(before) = self.places.get_mut(identifier) else {
            self.places.insert(identifier.clone(), now);
            return Ok(Observed::New);
        };
        let identifier = identifier.clone();
        if now.epoch < before.epoch {
            return Err(Fault::EpochWentBack { identifier, before: before.epoch, now: now.epoch });
        }
        if now == *before {
            return Ok(Observed::Stayed);
        }
        if now.epoch == before.epoch {
            let backends = (before.backend.clone(), now.backend);
            return Err(Fault::Split { identifier, epoch, backends });
        }
        if now.backend != before.backend && self.may_leave.contains(&before.backend) {
            *before = now;
            return Ok(Observed::Moved);
        }
        Err(Fault::LostOrMoved { identifier, before: before.clone(), now })
    }

    /// Whether a replica's list, made before the session's key was asked for, has the session as acknowledged.
    pub(crate) fn compare(
        &self,
        identifier: &Identifier,
        key: &str,
        node: usize,
        listed: &Listed,
    ) -> Result<(), Fault> {
        let Some(place) = self.places.get(identifier) else { return Ok(()) };
        let found = match listed.get(key) {
            Some(session)
                if session.epoch == place.epoch && name_of(&session.backend_name) == place.backend =>
            {
                return Ok(());
            }
            Some(session) => format!("it at {} by epoch {}", session.backend_name, session.epoch),
            None => "nothing".to_owned(),
        };
        Err(Fault::Replica { identifier: identifier.clone(), node, place: place.clone(), found })
    }
}

/// A backend's name without that of its pool.
pub(crate) fn name_of(pool_and_name: &str) -> &str {
    pool_and_name.rsplit_once('/').map_or(pool_and_name, |(_, name)| name)
}

#[cfg(test)]
mod tests;
