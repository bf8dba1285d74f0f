//! A worker's own part in choosing a backend: counts in flight, randomness, and whose turn it is.

use std::collections::HashMap;

use rand::RngCore;
use rand::rngs::StdRng;
use stickler_core::balance::{Candidate, RoundRobin, weighted_round_robin};
use stickler_core::ids::{BackendId, PoolId};
use stickler_core::routing::Chooser;

use crate::in_flight::InFlight;

/// One worker's chooser.
pub(super) struct WorkerChooser {
    in_flight: InFlight,
    random: StdRng,
    rounds: HashMap<PoolId, RoundRobin>,
}

impl WorkerChooser {
    pub(super) fn new(in_flight: InFlight, random: StdRng) -> Self {
        Self { in_flight, random, rounds: HashMap::new() }
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
}
