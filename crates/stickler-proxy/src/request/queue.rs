//! Step 6: a request waits for its turn where its backend has as many of this node's requests as it may have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use papaya::HashMap;
use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::BackendId;
use stickler_core::request_queue::{Lane, Position, Queued, RequestQueue};
use stickler_core::routing::{Ticket, why_gone};
use stickler_rt::Moment;
use tokio::sync::oneshot;

use super::answers::unavailable;
use super::node::{PATIENCE, ProxyCounters};
use super::steps::{Router, Routing};
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

    /// How many requests wait for a backend.
    pub(super) fn waiting(&self, backend: BackendId) -> u32 {
        let waiting = self.queues.pin().get(&backend).map_or(0, |queue| queue.lock().waiting());
        u32::try_from(waiting).unwrap_or(u32::MAX)
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
        queue.set_most(if deliberate::active(Fault::QueueWithoutLimit) { u32::MAX } else { most });
        if queue.enter() {
            return Some(Ok(InFlightPlace { queue: Some(self.clone()) }));
        }
        let (call, called) = oneshot::channel();
        let Queued { position, gives_way } = queue.wait(lane, longest, call)?;
        drop(queue);
        // It hears of it by the end of its channel.
        drop(gives_way);
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
        // By the state of this moment: one that has waited may be sent to a backend that its document did not name.
        let most =
            self.proxy.cluster.view().catalog.backends.get(&backend).and_then(|record| record.max_requests);
        let Some(most) = most else { return Ok(Turn::Taken(None)) };
        let pool = routing.plan.pool_settings(routing.route, self.pool_of(backend));
        let bound = ticket.session.is_some() || ticket.unrecorded.is_some();
        let lane = if bound && !deliberate::active(Fault::WaitWithAll) { Lane::Bound } else { Lane::Other };
        let counters = &self.proxy.counters;
        let mut waiting = match self.proxy.queues.of(backend).enter(lane, most, pool.max_queue as usize) {
            Some(Ok(place)) => return Ok(Turn::Taken(Some(place))),
            Some(Err(waiting)) => waiting,
            None => return Err(queue_full(counters)),
        };
        ProxyCounters::count(&counters.queued);
        let clock = &self.proxy.cluster.outside().clock;
        let for_ever = deliberate::active(Fault::WaitForRoomForEver);
        let longest = if for_ever { Duration::from_secs(60) } else { pool.queue_timeout };
        let until = *until.get_or_insert_with(|| clock.now() + longest);
        let turn = tokio::select! {
            biased;
            called = &mut waiting.called => match called {
                Ok(place) => Some(place),
                Err(_gave_way) => return Err(queue_full(counters)),
            },
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

fn queue_full(counters: &ProxyCounters) -> Answer {
    ProxyCounters::count(&counters.queue_full);
    unavailable("queue-full", "too many requests wait for this backend")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const MOST: u32 = 3;

    fn wait(queue: &Queue) -> Waiting {
        queue.enter(Lane::Bound, 2, 10).expect("there is room in the queue").expect_err("both are taken")
    }

    #[test]
    fn the_place_of_one_that_goes_away_as_it_is_called_is_the_next_ones() {
        let queue = Queue::default();
        let take = || queue.enter(Lane::Bound, 2, 10).unwrap().ok().unwrap();
        let (first, stays) = (take(), take());
        let (mut gone, mut next, mut last) = (wait(&queue), wait(&queue), wait(&queue));
        gone.called.close();
        drop(first);
        let place = next.called.try_recv().expect("it is its turn");
        assert!(last.called.try_recv().is_err(), "one for one");
        assert_eq!(queue.lock().in_flight(), 2);
        drop(place);
        // Called, and gone before it knows.
        drop((last, stays));
        let queue = queue.lock();
        assert_eq!((queue.in_flight(), queue.waiting()), (0, 0));
    }

    /// One of many that come and go; every fifth goes away while it waits.
    async fn come_and_go(queue: Queue, running: Arc<AtomicU32>, lane: Lane) {
        for round in 0..300 {
            let place = match queue.enter(lane, MOST, 1000).expect("there is room in the queue") {
                Ok(place) => place,
                Err(waiting) if round % 5 == 0 => {
                    tokio::task::yield_now().await;
                    drop(waiting);
                    continue;
                }
                Err(mut waiting) => (&mut waiting.called).await.expect("it is called some time"),
            };
            assert!(running.fetch_add(1, Ordering::SeqCst) < MOST, "more than may be in flight");
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            drop(place);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn however_many_threads_come_and_go_away_no_place_is_taken_twice_and_none_is_lost() {
        let (queue, running) = (Queue::default(), Arc::default());
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let lane = if number % 2 == 0 { Lane::Bound } else { Lane::Other };
                tokio::spawn(come_and_go(queue.clone(), Arc::clone(&running), lane))
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(30), task)
                .await
                .expect("nobody waits for ever")
                .unwrap();
        }
        let queue = queue.lock();
        assert_eq!((queue.in_flight(), queue.waiting()), (0, 0));
    }
}
