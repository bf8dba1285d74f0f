//! What the log part of a simulated disk holds, and the changes to it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Encoded bytes, shared between the written and the durable state.
pub(super) type Envelope = Arc<[u8]>;

/// One state of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) vote: Option<Envelope>,
    pub(super) committed: Option<Envelope>,
    pub(super) purged: Option<Envelope>,
    pub(super) entries: BTreeMap<u64, Envelope>,
}

/// One write.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Append(Vec<(u64, Envelope)>),
    Vote(Envelope),
    Truncate { first_removed: u64 },
    Purge { position: Envelope, keep_from: u64 },
}

impl Contents {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Append(entries) => self.entries.extend(entries),
            Change::Vote(vote) => self.vote = Some(vote),
            Change::Truncate { first_removed } => drop(self.entries.split_off(&first_removed)),
            Change::Purge { position, keep_from } => {
                self.entries = self.entries.split_off(&keep_from);
                self.purged = Some(position);
            }
        }
    }
}

impl Change {
    /// What is left when the power goes while this is written: `kept` of an append's entries (modulo their
    /// number), nothing of anything else.
    pub(super) fn torn(self, kept: u64) -> Option<Self> {
        let Self::Append(mut entries) = self else { return None };
        let length = entries.len().max(1);
        entries.truncate(usize::try_from(kept % length as u64).unwrap_or(0));
        Some(Self::Append(entries))
    }
}
