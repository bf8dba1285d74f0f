//! Evening out bound sessions over a pool, with as few moves as that takes.

use crate::deliberate::{self, Fault};
use crate::ids::{BackendId, PoolId};
use crate::state::{BackendRecord, View};

/// A backend of the pool, as far as its share of sessions goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The backend.
    pub backend: BackendId,
    /// Sessions that are bound to it.
    pub sessions: u64,
    /// Its share.
    pub weight: u32,
}

/// The next moves, up to `most`: each takes a session from the backend that has most above its fair share to the one that
/// has most below. None when every backend has its share, rounded down or up.
#[must_use]
pub fn next_moves(loads: &[Load], most: usize) -> Vec<(BackendId, BackendId)> {
    let mut loads: Vec<Load> = loads.iter().filter(|load| load.weight > 0).copied().collect();
    let sessions: u128 = loads.iter().map(|load| u128::from(load.sessions)).sum();
    let weights: u128 = loads.iter().map(|load| u128::from(load.weight)).sum();
    // What a backend has above its share, times the sum of weights: without a division nothing is rounded.
    let above = |load: &Load| -> i128 {
        let (has, fair) = (u128::from(load.sessions) * weights, sessions * u128::from(load.weight));
        i128::try_from(has).unwrap_or(i128::MAX) - i128::try_from(fair).unwrap_or(i128::MAX)
    };
    let one = i128::try_from(weights).unwrap_or(i128::MAX);
    let mut moves = Vec::new();
    while moves.len() < most {
        let order = |load: &&Load| (above(load), load.backend);
        let (Some(from), Some(to)) = (loads.iter().max_by_key(order), loads.iter().min_by_key(order)) else {
            break;
        };
        // The move must make the two more even: whole sessions can't be divided.
        if above(from) - above(to) <= one || from.backend == to.backend {
            break;
        }
        let backwards = deliberate::active(Fault::RebalanceBackwards);
        if backwards && to.sessions == 0 {
            break;
        }
        let (from, to) = if backwards { (to.backend, from.backend) } else { (from.backend, to.backend) };
        for load in &mut loads {
            load.sessions = load.sessions + u64::from(load.backend == to) - u64::from(load.backend == from);
        }
        moves.push((from, to));
    }
    moves
}

/// The backends of a pool that take new sessions, with what they have.
#[must_use]
pub fn loads(view: &View, pool: PoolId) -> Vec<Load> {
    let taking = view.catalog.backends_of(pool).filter(|(_, record)| record.takes_new());
    let load = |(backend, record): (BackendId, &BackendRecord)| Load {
        backend,
        sessions: view.counts.of_backend(backend),
        weight: record.weight,
    };
    taking.map(load).collect()
}

/// How far the largest backend is above its fair share, in thousandths of that; 0 for an empty pool.
#[must_use]
pub fn imbalance(loads: &[Load]) -> u64 {
    let sessions: u128 =
        loads.iter().filter(|load| load.weight > 0).map(|load| u128::from(load.sessions)).sum();
    let weights: u128 = loads.iter().map(|load| u128::from(load.weight)).sum();
    let of_fair = |load: &Load| {
        let fair = sessions * u128::from(load.weight);
        (u128::from(load.sessions) * weights * 1000).checked_div(fair).unwrap_or(0)
    };
    let largest = loads.iter().filter(|load| load.weight > 0).map(of_fair).max().unwrap_or(0);
    u64::try_from(largest.saturating_sub(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loads(parts: &[(u64, u32)]) -> Vec<Load> {
        let load = |(number, (sessions, weight)): (u64, &(u64, u32))| Load {
            backend: BackendId(number),
            sessions: *sessions,
            weight: *weight,
        };
        (1..).zip(parts).map(load).collect()
    }

    #[test]
    fn three_backends_become_six_with_the_fewest_moves() {
        let before = loads(&[(1000, 100), (1000, 100), (1000, 100), (0, 100), (0, 100), (0, 100)]);
        assert_eq!(imbalance(&before), 1000, "twice the fair share");
        assert_eq!(next_moves(&before, usize::MAX).len(), 1500);
        assert_eq!(next_moves(&before, 10).len(), 10);
    }

    proptest! {
        #[test]
        fn all_moves_together_even_the_pool_out_and_no_session_moves_twice(
            parts in proptest::collection::vec((0..200u64, 0..4u32), 0..7),
        ) {
            let before = loads(&parts);
            let moves = next_moves(&before, usize::MAX);
            let weights: u64 = parts.iter().map(|(_, weight)| u64::from(*weight)).sum();
            let sessions: u64 = parts.iter().filter(|(_, weight)| *weight > 0).map(|(sessions, _)| sessions).sum();
            for (load, number) in before.iter().zip(1..) {
                let of = |at: &dyn Fn(&(BackendId, BackendId)) -> BackendId| {
                    moves.iter().filter(|one| at(one) == BackendId(number)).count() as u64
                };
                let (out, into) = (of(&|one| one.0), of(&|one| one.1));
                prop_assert!(out == 0 || into == 0, "a backend gives and takes");
                if load.weight == 0 {
                    prop_assert_eq!((out, into), (0, 0));
                    continue;
                }
                let after = load.sessions + into - out;
                let fair = sessions as f64 * f64::from(load.weight) / weights as f64;
                prop_assert!((after as f64 - fair).abs() < 1.0 + 1e-9, "{} of {}", after, fair);
                prop_assert!(out as f64 <= (load.sessions as f64 - fair).max(0.0).ceil(), "more than needed");
            }
        }
    }
}
