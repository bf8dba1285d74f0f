//! What a node chooses by itself, from any state.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stickler_core::balance::{Candidate, RoundRobin, weighted_round_robin};
use stickler_core::ids::{BackendId, PoolId};
use stickler_core::routing::{Chooser, ChosenFor, choose};

use crate::config;
use crate::steps::steps;
use crate::world::run;

/// A node that keeps all its requests in flight.
struct Node {
    in_flight: BTreeMap<BackendId, u64>,
    random: u64,
    round: RoundRobin,
}

impl Chooser for Node {
    fn in_flight(&self, backend: BackendId) -> u64 {
        self.in_flight.get(&backend).copied().unwrap_or_default()
    }

    fn random(&mut self) -> u64 {
        // A linear congruential generator (Knuth, MMIX): what is looked at of a number are its upper bits.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random
    }

    fn next_in_turn(&mut self, _: PoolId, candidates: &[Candidate]) -> Option<BackendId> {
        weighted_round_robin(candidates, &mut self.round)
    }
}

/// Enough that every backend gets some, whatever the weights of these documents.
const REQUESTS: usize = 60;

proptest! {
    #![proptest_config(config(300))]

    /// What a session counts for, a request that begins none does not: were it to follow the counts, all of them would go to
    /// the backend that has the fewest, or is the only one below the bound, until somebody binds a session.
    #[test]
    fn requests_that_begin_no_session_reach_every_backend_whatever_is_bound_where(
        shape in any::<u16>(),
        steps in steps(40),
        seed in any::<u64>(),
    ) {
        run(shape, &steps, |_, applied| {
            let view = &applied.view;
            let at_once = |pool: &&PoolId| view.catalog.pool(**pool).is_some_and(|it| it.slow_start.is_none());
            for pool in view.catalog.pools.iter().filter(at_once) {
                let takes = view.catalog.backends_of(*pool).filter(|(id, record)| {
                    let room = record.max_sessions.is_none_or(|most| view.counts.of_backend(*id) < most);
                    record.takes_new() && room
                });
                let taking: Vec<BackendId> = takes.map(|(id, _)| id).collect();
                let mut node = Node { in_flight: BTreeMap::new(), random: seed, round: RoundRobin::default() };
                for _ in 0..REQUESTS {
                    let chosen = choose((view, view.time), *pool, ChosenFor::Request, None, &mut node);
                    assert_eq!(chosen.is_some(), !taking.is_empty());
                    if let Some(chosen) = chosen {
                        *node.in_flight.entry(chosen).or_default() += 1;
                    }
                }
                assert_eq!(node.in_flight.keys().copied().collect::<Vec<_>>(), taking);
            }
        });
    }
}
