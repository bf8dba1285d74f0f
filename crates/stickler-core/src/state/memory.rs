//! What is remembered of ended epochs, and for how long.

use std::collections::VecDeque;
use std::time::Duration;

use super::State;
use super::record::{Ended, Record, SessionKey};
use crate::affinity::mint::own_cookie;
use crate::deliberate::{self, Fault};
use crate::ids::{Epoch, LogIndex};

/// Ended records in the order of their end; derived from the table.
#[derive(Debug, Default)]
pub(super) struct EndedMemory {
    /// Those that are remembered as long as a proposal may live.
    ordinary: VecDeque<(LogIndex, SessionKey)>,
    /// Those of which a token without a record may still be under way, which could bring the session back: remembered
    /// until no such token is good any more.
    returned: VecDeque<(LogIndex, SessionKey)>,
}

impl EndedMemory {
    pub(super) fn note(&mut self, session: SessionKey, ended: &Ended) {
        self.queue(ended.returned).push_back((ended.changed_at, session));
    }

    /// Puts what was noted in any order into the order of the log.
    pub(super) fn sort(&mut self) {
        self.ordinary.make_contiguous().sort_unstable();
        self.returned.make_contiguous().sort_unstable();
    }

    const fn queue(&mut self, returned: bool) -> &mut VecDeque<(LogIndex, SessionKey)> {
        if returned { &mut self.returned } else { &mut self.ordinary }
    }
}

impl State {
    /// Ends a key's epoch: from here on only its memory is left, until no node can route by it.
    pub(super) fn end(&mut self, session: SessionKey, epoch: Epoch) {
        let returned = match self.table.get(&session) {
            Some(Record::Binding(binding)) => binding.returned,
            // Few, and which of them a token once named is not kept.
            Some(Record::Alias(_)) => !self.return_window(session).is_zero(),
            Some(Record::Ended(_)) | None => false,
        };
        let ended = Ended { epoch, ended_at: self.time, changed_at: self.applied, returned };
        self.put(session, Record::Ended(ended));
        self.spare_deadlines();
    }

    /// Forgets ended epochs that every node with a lease has seen end, and that no late bind can precede.
    pub(super) fn forget_ended(&mut self) {
        self.forget(false);
        self.forget(true);
    }

    fn forget(&mut self, returned: bool) {
        let Some(ordinary) = self.catalog.limits().map(|limits| limits.ended_memory) else { return };
        while let Some((at, session)) = self.ended.queue(returned).front().copied() {
            if let Some(Record::Ended(ended)) = self.table.get(&session)
                && ended.changed_at == at
            {
                let memory = if returned { self.return_window(session).max(ordinary) } else { ordinary };
                // A bind with that very deadline is still accepted at it, so the memory ends after it.
                let keep = !deliberate::active(Fault::ForgetEndedAtOnce);
                if keep && (at > self.stable || self.time <= ended.ended_at + memory) {
                    return;
                }
                self.table.forget(&mut self.records, session);
                self.forgotten = self.forgotten.max(at);
            }
            self.ended.queue(returned).pop_front();
        }
    }

    /// How long a token without a record is good for; nothing where none is made.
    pub(super) fn return_window(&self, session: SessionKey) -> Duration {
        let policy = self.catalog.affinity(session.affinity);
        policy.and_then(own_cookie).map_or(Duration::ZERO, |(_, attributes)| attributes.return_window)
    }
}
