//! Rebinding: compare-and-set on the epoch, for a reason that must hold in the replicated state (I3).

use super::State;
use super::backends::{AdminState, BackendRecord};
use super::bind::NoChoice;
use super::command::Rebind;
use super::outcome::{RebindOutcome, RebindRefusal};
use super::record::{Binding, Cause, Home, MoveReason, Record, SessionKey};
use crate::deliberate::{self, Fault};
use crate::document::cluster::WhenBack;
use crate::ids::{BackendId, LogIndex, PoolId};

impl State {
    pub(super) fn rebind(&mut self, rebind: &Rebind) -> RebindOutcome {
        let Some(Record::Binding(binding)) = self.table.get(&rebind.session) else {
            return RebindOutcome::NotBound;
        };
        if binding.epoch != rebind.epoch && !deliberate::active(Fault::MoveWithoutEpoch) {
            return RebindOutcome::Superseded(binding);
        }
        if !self.holds(rebind.reason, rebind.session, &binding)
            && !deliberate::active(Fault::MoveWithoutReason)
        {
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
            home: self.home_after(rebind.reason, &binding),
            ..binding
        };
        self.put(rebind.session, Record::Binding(moved));
        if rebind.reason == MoveReason::Job {
            self.count_job_move(binding.pool, moved.epoch);
        }
        RebindOutcome::Moved(moved)
    }

    /// Whether the replicated state bears out why a session is to leave its backend.
    #[must_use]
    fn holds(&self, reason: MoveReason, session: SessionKey, binding: &Binding) -> bool {
        let record = self.catalog.backends.get(&binding.backend);
        match reason {
            MoveReason::BackendRemoved => record.is_none_or(|record| record.has_left(self.time)),
            MoveReason::BackendDown => record.is_some_and(|record| record.health.is_down()),
            MoveReason::BackendMaint => record.is_some_and(|record| record.admin == AdminState::Maint),
            MoveReason::DrainDeadline => record.is_some_and(|record| {
                matches!(record.admin, AdminState::Drain { deadline: Some(deadline) } if deadline <= self.time)
            }),
            MoveReason::Operator => true,
            MoveReason::BackendRestarted => record.is_some_and(|record| record.has_forgotten(binding.epoch)),
            MoveReason::BackendBack => {
                let policy = self.catalog.affinity(session.affinity);
                let returns = policy.is_some_and(|policy| policy.when_back == WhenBack::Return);
                returns && self.catalog.may_go_home(binding).is_some()
            }
            MoveReason::Job => self.moves_by_job(session, binding),
        }
    }

    /// The backend to which the moved session goes back one day: the first one that it had to leave, as long as that
    /// has not forgotten it. Who moves by hand, or for good, means the new place.
    fn home_after(&self, reason: MoveReason, binding: &Binding) -> Home {
        match reason {
            MoveReason::BackendDown | MoveReason::BackendMaint | MoveReason::DrainDeadline => {
                // Where a job has moved it, it is at home.
                let by_job = binding.cause == Cause::Moved(MoveReason::Job);
                let left = binding.home.backend().filter(|_| !by_job);
                let home = left.unwrap_or(binding.backend);
                let record = self.catalog.backends.get(&home);
                if record.is_some_and(|record| !record.has_forgotten(binding.epoch)) {
                    Home::at(home)
                } else {
                    Home::NONE
                }
            }
            // For whoever undoes the job.
            MoveReason::Job if self.remembers_home(binding.pool) => Home::at(binding.backend),
            MoveReason::Job
            | MoveReason::BackendRemoved
            | MoveReason::Operator
            | MoveReason::BackendRestarted
            | MoveReason::BackendBack => Home::NONE,
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
            (MoveReason::BackendBack, _) => match binding.home.backend() {
                Some(home) => self.named_successor(pool, home, binding.backend),
                None => Err(RebindRefusal::ReasonDoesNotHold),
            },
            (MoveReason::Job, candidate) => match self.destination(binding, candidate) {
                Some(named) => self.named_successor(pool, named, binding.backend),
                None => self
                    .place(pool, rebind.session, candidate, Some(binding.backend))
                    .map_err(RebindRefusal::from),
            },
            // It begins anew where it was: what was begun there since then is not torn away, and the load stays even.
            (MoveReason::BackendRestarted, _) if self.takes_new(binding.backend) => Ok(binding.backend),
            (_, candidate) => self
                .place(pool, rebind.session, candidate, Some(binding.backend))
                .map_err(RebindRefusal::from),
        };
        chosen.map(|backend| (pool, backend))
    }

    fn takes_new(&self, backend: BackendId) -> bool {
        self.catalog.backends.get(&backend).is_some_and(BackendRecord::takes_new)
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
        if !record.takes_new() && !deliberate::active(Fault::ReturnTooEarly) {
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
