//! A worker's own part in choosing a backend: counts in flight, randomness, whose turn it is, and what the node has
//! seen of the backends.

use std::collections::HashMap;

use rand::RngCore;
use rand::rngs::StdRng;
use stickler_core::balance::{Candidate, RoundRobin, weighted_round_robin};
use stickler_core::ids::{BackendId, PoolId};
use stickler_core::routing::Chooser;
use stickler_rt::Clock;

use super::node::Proxy;
use super::queue::Queues;
use super::signals::EjectedBackends;
use crate::in_flight::InFlight;

/// One worker's chooser.
pub(super) struct WorkerChooser {
    in_flight: InFlight,
    queues: Queues,
    ejected: EjectedBackends,
    clock: Clock,
    random: StdRng,
    rounds: HashMap<PoolId, RoundRobin>,
}

impl WorkerChooser {
    pub(super) fn new(proxy: &Proxy, random: StdRng) -> Self {
        Self {
            in_flight: proxy.in_flight.clone(),
            queues: proxy.queues.clone(),
            ejected: proxy.ejected.clone(),
            clock: proxy.cluster.outside().clock.clone(),
            random,
            rounds: HashMap::new(),
        }
    }

    pub(super) fn fill<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill_bytes(&mut bytes);
        bytes
    }
}

impl Chooser for WorkerChooser {
    fn in_flight(&self, backend: BackendId) -> u64 {
        u64::from(self.in_flight.count(backend))
    }

    fn random(&mut self) -> u64 {
        self.random.next_u64()
    }

    fn next_in_turn(&mut self, pool: PoolId, candidates: &[Candidate]) -> Option<BackendId> {
        weighted_round_robin(candidates, self.rounds.entry(pool).or_default())
    }

    fn is_ejected(&self, backend: BackendId) -> bool {
        self.ejected.is_ejected(backend, || self.clock.now())
    }

    fn is_busy(&self, backend: BackendId) -> bool {
        self.queues.is_busy(backend)
    }
}
