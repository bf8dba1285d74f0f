//! Step 6: what the requests themselves say about their backends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode};
use stickler_core::document::cluster::Pool;
use stickler_core::ejection::{Ejections, Noted};
use stickler_core::ids::{BackendId, PoolId};
use stickler_core::state::BackendRecord;
use stickler_rt::Moment;

use super::forward::Exchanged;
use super::node::ProxyCounters;
use super::steps::{Router, Routing};
use crate::exchange_error::{ExchangeError, Side};
use crate::probe::instance_of;

/// Which backends one node gives nothing new. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct EjectedBackends {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Nothing bad is known of any backend, as nearly always: then no request waits for the others' lock.
    troubled: AtomicBool,
    ejections: Mutex<Ejections>,
}

impl EjectedBackends {
    pub(super) fn is_ejected(&self, backend: BackendId, now: impl FnOnce() -> Moment) -> bool {
        self.shared.troubled.load(Ordering::Relaxed) && self.lock().is_ejected(backend, now().0)
    }

    /// Forgets the backends that are not `kept`.
    pub(super) fn retain(&self, kept: impl FnMut(BackendId) -> bool) {
        if self.shared.troubled.load(Ordering::Relaxed) {
            self.change(|ejections| ejections.retain(kept));
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Ejections) -> T) -> T {
        let mut ejections = self.lock();
        let changed = change(&mut ejections);
        self.shared.troubled.store(!ejections.is_empty(), Ordering::Relaxed);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Ejections> {
        self.shared.ejections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Router {
    /// The pool of a backend; `None` when it was removed.
    pub(super) fn pool_of(&self, backend: BackendId) -> Option<PoolId> {
        self.proxy.cluster.view().catalog.backends.get(&backend).map(|record| record.pool)
    }

    /// Takes note of what came of an exchange with a backend.
    pub(super) fn note_exchange<E>(
        &self,
        routing: &Routing<'_>,
        backend: BackendId,
        came: Result<&Exchanged, &ExchangeError<E>>,
    ) {
        if came.is_err_and(|error| error.cause.suspects_backend()) {
            self.proxy.suspicions.raise(backend);
        }
        let went_well = match came {
            Ok(exchanged) => exchanged.response.status() < StatusCode::INTERNAL_SERVER_ERROR,
            Err(error) if error.cause.side() == Side::Backend => false,
            // It says nothing about the backend.
            Err(_) => return,
        };
        let ejected = &self.proxy.ejected;
        if went_well && !ejected.shared.troubled.load(Ordering::Relaxed) {
            return;
        }
        let view = self.proxy.cluster.view();
        // One that leaves gets nothing new in any case.
        let stays = |record: &&BackendRecord| record.leaving.is_none();
        let Some(pool) = view.catalog.backends.get(&backend).filter(stays).map(|record| record.pool) else {
            return;
        };
        let Some(policy) = &routing.plan.pool_settings(routing.route, Some(pool)).ejection else { return };
        let now = self.proxy.cluster.outside().clock.now().0;
        if went_well {
            ejected.change(|ejections| ejections.note_success(backend, policy, now));
            return;
        }
        let others = view.catalog.backends_of(pool).filter(|(_, record)| stays(record)).map(|(id, _)| id);
        let noted = ejected.change(|ejections| ejections.note_error(backend, policy, others, now));
        if noted != Noted::Nothing {
            self.proxy.suspicions.raise(backend);
        }
        if let Noted::Ejected(length) = noted {
            tracing::info!(%backend, ?length, "backend ejected");
            ProxyCounters::count(&self.proxy.counters.ejections);
        }
    }

    /// A backend that answers as another life than the voters know is checked at once: until they know, its sessions go
    /// to a memory that does not have them.
    pub(super) fn notice_another_life(&self, backend: BackendId, pool: &Pool, headers: &HeaderMap) {
        let Some(header) = &pool.check.answer.instance_header else { return };
        let Some(value) = headers.get(header.as_str()) else { return };
        let view = self.proxy.cluster.view();
        let known = view.catalog.backends.get(&backend).and_then(|record| record.health.instance.as_deref());
        if known.is_some_and(|known| known != instance_of(value.as_bytes())) {
            self.proxy.suspicions.raise(backend);
        }
    }
}
