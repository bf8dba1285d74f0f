//! Step 6: a request waits for its turn where its backend has as many of this node's requests as it may have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use papaya::HashMap;
use stickler_core::ids::BackendId;
use stickler_core::request_queue::{Lane, Position, RequestQueue};
use stickler_core::routing::{Ticket, why_gone};
use stickler_rt::Moment;
use tokio::sync::oneshot;

use super::node::{PATIENCE, ProxyCounters};
use super::steps::{Router, Routing, unavailable};
use crate::responses::Answer;

/// Pause before a request whose backend has gone is decided again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The queues of a node, one for each backend that has a limit. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    queues: Arc<HashMap<BackendId, Queue>>,
}

/// One backend's queue. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Queue {
    // Never held while anybody is called, who may be on another worker's thread.
    inner: Arc<Mutex<RequestQueue<oneshot::Sender<InFlightPlace>>>>,
}

/// A place among a backend's requests in flight, until it is dropped. Then the next one is called.
#[derive(Debug)]
pub(super) struct InFlightPlace {
    queue: Option<Queue>,
}

/// A request that waits, until it is dropped.
struct Waiting {
    queue: Queue,
    position: Position,
    called: oneshot::Receiver<InFlightPlace>,
}

/// What became of waiting for a turn.
pub(super) enum Turn {
    /// The request goes on, with its place if there is a limit.
    Taken(Option<InFlightPlace>),
    /// Its backend has gone meanwhile: decide again.
    DecideAgain,
}

impl Queues {
    /// Whether a request would have to wait.
    pub(super) fn is_busy(&self, backend: BackendId) -> bool {
        self.queues.pin().get(&backend).is_some_and(|queue| queue.lock().is_busy())
    }

    /// Forgets the backends that are not `kept`. Who waits or is in flight there goes on.
    pub(super) fn retain(&self, mut kept: impl FnMut(BackendId) -> bool) {
        self.queues.pin().retain(|backend, _| kept(*backend));
    }

    fn of(&self, backend: BackendId) -> Queue {
        self.queues.pin().get_or_insert_with(backend, Queue::default).clone()
    }
}

impl Queue {
    /// A place at once, or one in the queue; `None` when that is full.
    fn enter(&self, lane: Lane, most: u32, longest: usize) -> Option<Result<InFlightPlace, Waiting>> {
        let mut queue = self.lock();
        queue.set_most(most);
        if queue.enter() {
            return Some(Ok(InFlightPlace { queue: Some(self.clone()) }));
        }
        let (call, called) = oneshot::channel();
        let position = queue.wait(lane, longest, call)?;
        drop(queue);
        // The limit may have been raised.
        self.call();
        Some(Err(Waiting { queue: self.clone(), position, called }))
    }

    /// Gives those that wait what places there are.
    fn call(&self) {
        loop {
            let Some(next) = self.lock().call() else { return };
            let place = InFlightPlace { queue: Some(self.clone()) };
            if let Err(mut place) = next.send(place) {
                // It went away at this moment.
                place.queue = None;
                self.lock().leave();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, RequestQueue<oneshot::Sender<InFlightPlace>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightPlace {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.lock().leave();
            queue.call();
        }
    }
}

impl Drop for Waiting {
    /// A client that goes away leaves the queue. One that was called just now drops its place with the channel.
    fn drop(&mut self) {
        self.queue.lock().give_up(self.position);
    }
}

impl Router {
    /// Waits until the backend of a ticket has room for the request. `until` is kept for the request's later tries, so that
    /// it waits once, however often it is decided again.
    pub(super) async fn wait_for_turn(
        &self,
        routing: &Routing<'_>,
        ticket: &Ticket,
        until: &mut Option<Moment>,
    ) -> Result<Turn, Answer> {
        let backend = ticket.backend;
        let Some(most) = routing.plan.max_requests(backend) else { return Ok(Turn::Taken(None)) };
        let pool = routing.plan.pool_settings(routing.route, self.pool_of(backend));
        let bound = ticket.session.is_some() || ticket.unrecorded.is_some();
        let lane = if bound { Lane::Bound } else { Lane::Other };
        let counters = &self.proxy.counters;
        let mut waiting = match self.proxy.queues.of(backend).enter(lane, most, pool.max_queue as usize) {
            Some(Ok(place)) => return Ok(Turn::Taken(Some(place))),
            Some(Err(waiting)) => waiting,
            None => {
                ProxyCounters::count(&counters.queue_full);
                return Err(unavailable("queue-full", "too many requests wait for this backend"));
            }
        };
        ProxyCounters::count(&counters.queued);
        let clock = &self.proxy.cluster.outside().clock;
        let until = *until.get_or_insert_with(|| clock.now() + pool.queue_timeout);
        let turn = tokio::select! {
            biased;
            called = &mut waiting.called => called.ok(),
            () = self.backend_gone(backend) => None,
            () = clock.sleep_until(until) => {
                ProxyCounters::count(&counters.queue_timeouts);
                return Err(unavailable("queue-timeout", "this backend had no room for the request in time"));
            }
        };
        // It has waited for its backend, not for the cluster.
        routing.deadline.set(clock.now() + PATIENCE);
        Ok(turn.map_or(Turn::DecideAgain, |place| Turn::Taken(Some(place))))
    }

    /// Waits until a backend is down, in maint or removed. Those that wait for it are woken by changes of the catalog
    /// alone: there may be many of them, and whether a session has moved is looked at when its turn comes.
    async fn backend_gone(&self, backend: BackendId) {
        let cluster = &self.proxy.cluster;
        let mut changes = cluster.catalog();
        loop {
            let now = cluster.view().time.max(cluster.standing().time);
            if why_gone(changes.borrow_and_update().backends.get(&backend), now).is_some() {
                // Never at once: a decision by another state must not send requests round in circles.
                return cluster.outside().clock.sleep(LOOK_AGAIN).await;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
