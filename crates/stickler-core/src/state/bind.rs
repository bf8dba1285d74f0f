//! Binding: the first binder wins.

use super::State;
use super::backends::BackendRecord;
use super::command::{Bind, Origin};
use super::deadlines::deadline;
use super::outcome::{BindOutcome, BindRefusal};
use super::record::{Alias, Binding, Cause, Home, Record, SessionKey};
use super::view::{Located, follow};
use crate::balance::{self, Candidate};
use crate::deliberate::{self, Fault};
use crate::document::cluster::Balance;
use crate::ids::{BackendId, Epoch, KeyHash, LogIndex, PoolId};
use crate::time::ClusterTime;

/// What a refused choice of a backend was short of.
pub(super) enum NoChoice {
    /// No backend takes new sessions.
    NoBackend,
    /// Those that do have as many as they may.
    Full,
}

impl State {
    pub(super) fn bind(&mut self, bind: &Bind) -> BindOutcome {
        self.try_bind(bind).unwrap_or_else(BindOutcome::Refused)
    }

    fn try_bind(&mut self, bind: &Bind) -> Result<BindOutcome, BindRefusal> {
        if bind.deadline < self.time || bind.seen < self.forgotten {
            return Err(BindRefusal::Late);
        }
        if self.catalog.affinity(bind.session.affinity).is_none() {
            return Err(BindRefusal::Unknown);
        }
        let from = self.inherited_from(bind);
        let usable_from = match follow(&self.table, bind.session) {
            // The application went back to an older identifier: the two change roles, lest the one in use
            // dies with the alias's grace. Until now the key was routed by the other's epoch.
            Ok(found) if from.is_some_and(|(key, _)| key == found.session.key) => self.applied,
            Ok(_) if deliberate::active(Fault::SecondBinderWins) => self.applied,
            Ok(found) => return found_binding(found, &bind.origin),
            Err(ended_at) if ended_at > bind.seen => return Err(BindRefusal::Ended),
            Err(ended_at) => {
                self.check_return(bind, ended_at)?;
                ended_at
            }
        };
        let (pool, backend, cause) = self.find_place(bind, from.is_some())?;
        let binding = Binding {
            backend,
            pool,
            epoch: self.next_epoch(),
            cause,
            bound_at: from.map_or(self.time, |(_, from)| from.bound_at),
            last_use: self.time,
            usable_from,
            changed_at: self.applied,
            returned: matches!(bind.origin, Origin::Return { .. }),
            home: from.map_or(Home::NONE, |(_, from)| from.home),
        };
        self.put(bind.session, Record::Binding(binding));
        self.schedule_expiry(bind.session, &binding);
        if let Some((key, from)) = from {
            self.alias(SessionKey { key, ..bind.session }, from.epoch, bind.session.key);
        }
        Ok(BindOutcome::Bound { session: bind.session, binding, created: true })
    }

    /// Whether a token without a record may still begin its session: it is not too old, no operator has ended
    /// what it may name, and its session has not begun and ended before. Every identifier of Stickler's is a new one, so that any memory of it means that.
    fn check_return(&self, bind: &Bind, ended_at: LogIndex) -> Result<(), BindRefusal> {
        let Origin::Return { issued, backend, .. } = bind.origin else { return Ok(()) };
        if deliberate::active(Fault::ReturnForever) {
            return Ok(());
        }
        let marked = issued < self.catalog.not_before(bind.session.affinity, backend);
        if marked || ended_at > LogIndex(0) {
            return Err(BindRefusal::Ended);
        }
        if issued + self.return_window(bind.session) < self.time { Err(BindRefusal::Late) } else { Ok(()) }
    }

    /// The binding whose identifier changed, if it still is as the proposer saw it.
    fn inherited_from(&self, bind: &Bind) -> Option<(KeyHash, Binding)> {
        let Origin::Inherit { from, epoch, backend } = bind.origin else { return None };
        if from == bind.session.key {
            return None;
        }
        match self.table.get(&SessionKey { key: from, ..bind.session }) {
            Some(Record::Binding(binding)) if binding.epoch == epoch && binding.backend == backend => {
                Some((from, binding))
            }
            _ => None,
        }
    }

    /// The backend for a new session, all limits but those of backends aside.
    pub(super) fn choose(
        &self,
        bind: &Bind,
        inherits: bool,
    ) -> Result<(PoolId, BackendId, Cause), BindRefusal> {
        let (backend, cause) = match bind.origin {
            Origin::Place { pool, .. } if self.catalog.pool(pool).is_none() => {
                return Err(BindRefusal::Unknown);
            }
            Origin::Place { pool, candidate } => {
                let backend = self.place(pool, bind.session, candidate, None)?;
                return Ok((pool, backend, Cause::Placed));
            }
            Origin::Inherit { backend, .. } if inherits => (backend, Cause::Inherited),
            Origin::Adopt { backend } | Origin::Inherit { backend, .. } => (backend, Cause::Adopted),
            Origin::Return { pool, backend, .. } => match self.holder(backend) {
                Ok(record) => return Ok((record.pool, backend, Cause::Returned)),
                Err(_) => {
                    let placed = self.place(pool, bind.session, None, Some(backend))?;
                    return Ok((pool, placed, Cause::Placed));
                }
            },
        };
        let record = match self.holder(backend) {
            Err(BindRefusal::BackendFull) if cause == Cause::Inherited => {
                self.catalog.backends.get(&backend).ok_or(BindRefusal::BackendUnusable)?
            }
            holder => holder?,
        };
        if deliberate::active(Fault::AdoptElsewhere) && cause == Cause::Adopted {
            return Ok((record.pool, self.place(record.pool, bind.session, None, Some(backend))?, cause));
        }
        Ok((record.pool, backend, cause))
    }

    /// A backend that may have a session that it holds already.
    fn holder(&self, backend: BackendId) -> Result<&BackendRecord, BindRefusal> {
        let record = self.catalog.backends.get(&backend).ok_or(BindRefusal::BackendUnusable)?;
        if !record.keeps_bound(self.time) {
            return Err(BindRefusal::BackendUnusable);
        }
        if self.is_full(backend, record) { Err(BindRefusal::BackendFull) } else { Ok(record) }
    }

    /// Chooses a backend for a new or moved session. The candidate is taken if it may be; the pool's
    /// algorithm decides where counts must be exact, and rendezvous where the candidate is of no use.
    pub(super) fn place(
        &self,
        pool: PoolId,
        session: SessionKey,
        candidate: Option<BackendId>,
        except: Option<BackendId>,
    ) -> Result<BackendId, NoChoice> {
        let policy = self.catalog.pool(pool).ok_or(NoChoice::NoBackend)?;
        let takes_new: Vec<(BackendId, &BackendRecord)> = self
            .catalog
            .backends_of(pool)
            .filter(|(id, backend)| backend.takes_new() && Some(*id) != except)
            .collect();
        if takes_new.is_empty() {
            return Err(NoChoice::NoBackend);
        }
        let mut free: Vec<Candidate> = takes_new
            .into_iter()
            .filter(|(id, backend)| !self.is_full(*id, backend))
            .map(|(id, backend)| Candidate { backend: id, weight: self.catalog.share(backend, self.time) })
            .collect();
        if let Some(percent) = policy.bounded_load.filter(|_| !deliberate::active(Fault::IgnoreBound)) {
            balance::within_bound(&mut free, percent, |id| self.counts.of_backend(id));
        }
        let chosen = match (policy.balance, candidate) {
            (Balance::FewestSessions, _) => balance::fewest_sessions(&free, |id| self.counts.of_backend(id)),
            (_, Some(candidate)) if free.iter().any(|free| free.backend == candidate) => Some(candidate),
            _ => balance::rendezvous(&free, session.key),
        };
        chosen.ok_or(NoChoice::Full)
    }

    pub(super) fn is_full(&self, id: BackendId, backend: &BackendRecord) -> bool {
        backend.max_sessions.is_some_and(|most| self.counts.of_backend(id) >= most)
    }

    /// Makes an old identifier follow the new one until its grace is over.
    fn alias(&mut self, session: SessionKey, epoch: Epoch, to: KeyHash) {
        let Some(policy) = self.catalog.affinity(session.affinity) else { return };
        let until = self.time + policy.alias_grace;
        let usable_from =
            if deliberate::active(Fault::AliasUsableAtOnce) { LogIndex(0) } else { self.applied };
        let alias = Alias { to, epoch, until, usable_from, changed_at: self.applied };
        self.put(session, Record::Alias(alias));
    }

    pub(super) fn schedule_expiry(&self, session: SessionKey, binding: &Binding) {
        self.deadlines.schedule(session, self.ends_at(session, binding));
    }

    /// When a binding ends if nothing happens to it: at once when its affinity was removed.
    pub(super) fn ends_at(&self, session: SessionKey, binding: &Binding) -> ClusterTime {
        self.catalog.affinity(session.affinity).map_or(ClusterTime(0), |policy| deadline(binding, policy))
    }
}

/// The key is bound already: good for whoever places, and for whoever holds the session on that backend.
fn found_binding(found: Located, origin: &Origin) -> Result<BindOutcome, BindRefusal> {
    match *origin {
        Origin::Adopt { backend } | Origin::Inherit { backend, .. } if backend != found.binding.backend => {
            Err(BindRefusal::OnAnotherBackend)
        }
        _ => Ok(BindOutcome::Bound { session: found.session, binding: found.binding, created: false }),
    }
}

impl From<NoChoice> for BindRefusal {
    fn from(choice: NoChoice) -> Self {
        match choice {
            NoChoice::NoBackend => Self::NoBackend,
            NoChoice::Full => Self::BackendFull,
        }
    }
}
