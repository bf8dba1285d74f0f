//! Rebinding: compare-and-set on the epoch, for a reason that must hold in the replicated state (I3).

use super::State;
use super::bind::NoChoice;
use super::catalog::AdminState;
use super::command::Rebind;
use super::outcome::{RebindOutcome, RebindRefusal};
use super::record::{Binding, Cause, MoveReason, Record};
use crate::deliberate::{self, Fault};
use crate::ids::{BackendId, LogIndex, PoolId};

impl State {
    pub(super) fn rebind(&mut self, rebind: &Rebind) -> RebindOutcome {
        let Some(Record::Binding(binding)) = self.table.get(&rebind.session) else {
            return RebindOutcome::NotBound;
        };
        if binding.epoch != rebind.epoch && !deliberate::active(Fault::MoveWithoutEpoch) {
            return RebindOutcome::Superseded(binding);
        }
        if !self.holds(rebind.reason, binding.backend) && !deliberate::active(Fault::MoveWithoutReason) {
            return RebindOutcome::Refused(RebindRefusal::ReasonDoesNotHold);
        }
        let (pool, backend) = match self.successor(rebind, &binding) {
            Ok(successor) => successor,
            Err(refusal) => return RebindOutcome::Refused(refusal),
        };
        let moved = Binding {
            backend,
            pool,
            epoch: self.next_epoch(),
            cause: Cause::Moved(rebind.reason),
            last_use: self.time,
            usable_from: if deliberate::active(Fault::MoveUsableAtOnce) { LogIndex(0) } else { self.applied },
            changed_at: self.applied,
            ..binding
        };
        self.put(rebind.session, Record::Binding(moved));
        RebindOutcome::Moved(moved)
    }

    /// Whether the replicated state bears out why a session is to leave `backend`.
    #[must_use]
    pub(super) fn holds(&self, reason: MoveReason, backend: BackendId) -> bool {
        let record = self.catalog.backends.get(&backend);
        match reason {
            MoveReason::BackendRemoved => record.is_none(),
            MoveReason::BackendDown => record.is_some_and(|record| record.health.is_down()),
            MoveReason::BackendMaint => record.is_some_and(|record| record.admin == AdminState::Maint),
            MoveReason::DrainDeadline => record.is_some_and(|record| {
                matches!(record.admin, AdminState::Drain { deadline: Some(deadline) } if deadline <= self.time)
            }),
            MoveReason::Operator => true,
        }
    }

    fn successor(&self, rebind: &Rebind, binding: &Binding) -> Result<(PoolId, BackendId), RebindRefusal> {
        // The sessions of a removed pool have nowhere to go but the pool that their requests take now.
        let pool = match rebind.candidate.and_then(|candidate| self.catalog.backends.get(&candidate)) {
            Some(candidate) if self.catalog.pool(binding.pool).is_none() => candidate.pool,
            _ => binding.pool,
        };
        let chosen = match (rebind.reason, rebind.candidate) {
            // Whoever moves a session by hand names its new backend and gets that one or none.
            (MoveReason::Operator, Some(named)) => self.named_successor(pool, named, binding.backend),
            (MoveReason::Operator, None) => Err(RebindRefusal::NoBackend),
            (_, candidate) => self
                .place(pool, rebind.session, candidate, Some(binding.backend))
                .map_err(RebindRefusal::from),
        };
        chosen.map(|backend| (pool, backend))
    }

    fn named_successor(
        &self,
        pool: PoolId,
        named: BackendId,
        except: BackendId,
    ) -> Result<BackendId, RebindRefusal> {
        let record = self.catalog.backends.get(&named).ok_or(RebindRefusal::UnknownBackend)?;
        if record.pool != pool {
            return Err(RebindRefusal::AnotherPool);
        }
        if named == except {
            return Err(RebindRefusal::AlreadyThere);
        }
        if !record.takes_new() {
            return Err(RebindRefusal::BackendUnusable);
        }
        if self.is_full(named, record) { Err(RebindRefusal::BackendFull) } else { Ok(named) }
    }
}

impl From<NoChoice> for RebindRefusal {
    fn from(choice: NoChoice) -> Self {
        match choice {
            NoChoice::NoBackend => Self::NoBackend,
            NoChoice::Full => Self::BackendFull,
        }
    }
}
