//! Room for a new session: the limits of table and affinity, and what makes room when there is none.

use super::State;
use super::catalog::Catalog;
use super::command::{Bind, Origin};
use super::counts::Counts;
use super::outcome::BindRefusal;
use super::record::{Binding, Record, SessionKey};
use crate::deliberate::{self, Fault};
use crate::document::cluster::WhenFull;
use crate::ids::{AffinityId, BackendId, PoolId};
use crate::state::Cause;

/// The memory of evicted sessions stays in the table for a while. While it takes this share of the table's limit on
/// top of it, nothing more is evicted for want of room in the table.
const EVICTED_SHARE: u64 = 4;

/// How many of the idlest sessions are looked at for one on a backend that the new session could go to.
const LOOKED_AT: usize = 64;

/// Why there is no room for another session of an affinity; `None` when there is. `records` is the table's size.
pub(super) fn lacks_room(
    catalog: &Catalog,
    counts: &Counts,
    records: u64,
    affinity: AffinityId,
) -> Option<BindRefusal> {
    let (Some(limits), Some(policy)) = (catalog.limits(), catalog.affinity(affinity)) else {
        return Some(BindRefusal::Unknown);
    };
    if records >= limits.max_bindings {
        return Some(BindRefusal::TableFull);
    }
    let full = policy.max_sessions.is_some_and(|most| counts.of_affinity(affinity) >= most);
    full.then_some(BindRefusal::AffinityFull)
}

impl State {
    /// A place for a session that is about to be bound: within all limits, or one that an idler session leaves.
    pub(super) fn find_place(
        &mut self,
        bind: &Bind,
        inherits: bool,
    ) -> Result<(PoolId, BackendId, Cause), BindRefusal> {
        let chosen = self.choose(bind, inherits);
        let lacks = self.lacks_room(bind.session.affinity, inherits);
        let refusal = match (lacks, chosen) {
            (None, Ok(chosen)) => return Ok(chosen),
            (Some(refusal @ (BindRefusal::AffinityFull | BindRefusal::TableFull)), Ok(_)) => refusal,
            (lacks, Err(BindRefusal::BackendFull)) => lacks.unwrap_or(BindRefusal::BackendFull),
            (Some(refusal), Ok(_)) | (_, Err(refusal)) => return Err(refusal),
        };
        let on_full_backend = matches!(chosen, Err(BindRefusal::BackendFull));
        let victim = self.idlest(bind, on_full_backend).ok_or(refusal)?;
        if deliberate::active(Fault::EvictNobody) {
            return chosen;
        }
        self.evict(victim);
        self.choose(bind, inherits)
    }

    fn lacks_room(&self, affinity: AffinityId, inherits: bool) -> Option<BindRefusal> {
        let lacks = lacks_room(&self.catalog, &self.counts, self.table.len() as u64, affinity);
        // A new name of a session is no new session.
        lacks.filter(|refusal| !(inherits && *refusal == BindRefusal::AffinityFull))
    }

    /// The session that has been idle for longest of those that may be evicted for a new one: one of the same affinity,
    /// and where the new one could go to none but full backends, one that makes room on such a backend.
    fn idlest(&self, bind: &Bind, on_full_backend: bool) -> Option<SessionKey> {
        let affinity = bind.session.affinity;
        self.catalog.affinity(affinity).filter(|policy| policy.when_full == WhenFull::EvictIdlest)?;
        let limit = self.catalog.limits()?.max_bindings;
        if self.table.len() as u64 >= limit + (limit / EVICTED_SHARE).max(1) {
            return None;
        }
        let own = match bind.origin {
            Origin::Inherit { from, .. } => Some(from),
            Origin::Place { .. } | Origin::Adopt { .. } | Origin::Return { .. } => None,
        };
        let frees = |session: &SessionKey| match self.table.get(session) {
            Some(Record::Binding(binding)) if own != Some(session.key) => {
                !on_full_backend || self.frees_place(bind, &binding)
            }
            _ => false,
        };
        let idlest = self.idle.sessions(affinity);
        if deliberate::active(Fault::EvictBusiest) {
            return idlest.rev().take(LOOKED_AT).find(frees);
        }
        idlest.take(LOOKED_AT).find(frees)
    }

    /// Whether the new session could go to the backend of this one if this one were gone.
    fn frees_place(&self, bind: &Bind, binding: &Binding) -> bool {
        let Some(record) = self.catalog.backends.get(&binding.backend) else { return false };
        // Where a cap was lowered, one session less is still too many.
        if record.max_sessions.is_some_and(|most| self.counts.of_backend(binding.backend) > most) {
            return false;
        }
        let holds = |holder| binding.backend == holder && record.keeps_bound(self.time);
        match bind.origin {
            Origin::Place { pool, .. } => record.pool == pool && record.takes_new(),
            Origin::Return { pool, backend, .. } => {
                holds(backend) || (record.pool == pool && record.takes_new())
            }
            Origin::Adopt { backend } | Origin::Inherit { backend, .. } => holds(backend),
        }
    }

    fn evict(&mut self, session: SessionKey) {
        if let Some(Record::Binding(binding)) = self.table.get(&session) {
            self.counts.evicted(session.affinity);
            self.end(session, binding.epoch);
        }
    }
}
