//! What this node has its backends do, for itself and for the others.

use stickler_core::ids::BackendId;
use stickler_core::load::BackendLoad;
use stickler_rt::Clock;

use super::node::Proxy;
use super::queue::Queues;
use super::response_times::BackendTimes;
use super::signals::EjectedBackends;
use crate::in_flight::InFlight;

/// The load of a node's backends, as it is now. Holds nothing that holds the node.
#[derive(Clone, Debug)]
pub struct Load {
    in_flight: InFlight,
    queues: Queues,
    ejected: EjectedBackends,
    times: BackendTimes,
    clock: Clock,
}

impl Load {
    /// What one backend has to do.
    #[must_use]
    pub fn of(&self, backend: BackendId) -> BackendLoad {
        BackendLoad {
            backend,
            in_flight: self.in_flight.count(backend),
            waiting: self.queues.waiting(backend),
            ejected: self.ejected.is_ejected(backend, || self.clock.now()),
            response_times: self.times.of(backend),
        }
    }
}

impl Proxy {
    /// The load of the node's backends.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            in_flight: self.in_flight.clone(),
            queues: self.queues.clone(),
            ejected: self.ejected.clone(),
            times: self.times.clone(),
            clock: self.cluster.outside().clock.clone(),
        }
    }
}
