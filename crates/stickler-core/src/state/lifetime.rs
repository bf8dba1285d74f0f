//! How sessions live and end: touch, expire, unbind.

use super::State;
use super::command::{Expire, Touch, Unbind};
use super::outcome::{Outcome, UnbindOutcome};
use super::record::{Binding, Record, SessionKey};
use super::view::locate;
use crate::deliberate::{self, Fault};
use std::time::Duration;

impl State {
    pub(super) fn unbind(&mut self, unbind: &Unbind) -> UnbindOutcome {
        let Some(Record::Binding(binding)) = self.table.get(&unbind.session) else {
            return UnbindOutcome::NotBound;
        };
        if binding.epoch != unbind.epoch && !deliberate::active(Fault::UnbindWithoutEpoch) {
            return UnbindOutcome::Superseded(binding.epoch);
        }
        self.end(unbind.session, binding.epoch);
        UnbindOutcome::Unbound
    }

    pub(super) fn touch(&mut self, touch: &Touch) -> Outcome {
        for used in &touch.uses {
            if let Some(Record::Binding(binding)) = self.table.get(&used.session)
                && binding.epoch == used.epoch
            {
                let last_use = binding.last_use.max(self.time - Duration::from_millis(used.age));
                if last_use > binding.last_use {
                    let touched = Binding { last_use, changed_at: self.applied, ..binding };
                    self.put(used.session, Record::Binding(touched));
                }
            }
        }
        Outcome::Noted
    }

    pub(super) fn expire(&mut self, expire: &Expire) -> Outcome {
        for (session, epoch) in &expire.sessions {
            let Some(record) = self.table.get(session) else { continue };
            if record.epoch() == *epoch && self.is_over(*session, &record) {
                self.end(*session, *epoch);
            }
        }
        Outcome::Noted
    }

    /// Whether a record's time is over, at the state's own time (I8).
    fn is_over(&self, session: SessionKey, record: &Record) -> bool {
        match record {
            Record::Binding(binding) if deliberate::active(Fault::ExpireByWallClock) => {
                self.ends_at(session, binding).0 <= self.wall
            }
            Record::Binding(binding) => self.ends_at(session, binding) <= self.time,
            Record::Alias(alias) => alias.until <= self.time || locate(&self.table, session).is_none(),
            Record::Ended(_) => false,
        }
    }
}
