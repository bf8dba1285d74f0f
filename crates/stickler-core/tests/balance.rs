//! Each algorithm gives backends their share, and none what it must not have.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use stickler_core::balance::{
    Candidate, RoundRobin, fewest_sessions, rendezvous, two_choices, weighted_round_robin,
};
use stickler_core::ids::{BackendId, KeyHash};

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    let candidate = |(id, weight): (u64, &u32)| Candidate { backend: BackendId(id), weight: *weight };
    (1..).zip(weights).map(candidate).collect()
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![1 => Just(0), 4 => 1..=1000_u32], 0..8)
}

fn weight_of(candidates: &[Candidate], backend: BackendId) -> u32 {
    candidates.iter().find(|candidate| candidate.backend == backend).unwrap().weight
}

/// Well-mixed numbers, always the same.
fn numbers() -> impl Iterator<Item = u64> {
    (1_u64..).map(|count| {
        let mut mixed = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn keys() -> impl Iterator<Item = KeyHash> {
    numbers().zip(numbers().skip(7)).map(|(high, low)| KeyHash((u128::from(high) << 64) | u128::from(low)))
}

fn count(choices: impl Iterator<Item = BackendId>) -> BTreeMap<BackendId, u32> {
    let mut counts = BTreeMap::new();
    choices.for_each(|backend| *counts.entry(backend).or_default() += 1);
    counts
}

/// That of `draws` choices each backend has its share, within six standard deviations.
fn assert_shares(candidates: &[Candidate], choices: impl Iterator<Item = BackendId>) {
    const DRAWS: usize = 20_000;
    let counts = count(choices.take(DRAWS));
    let total: u32 = candidates.iter().map(|candidate| candidate.weight).sum();
    for candidate in candidates {
        let share = f64::from(candidate.weight) / f64::from(total);
        let expected = share * DRAWS as f64;
        let found = f64::from(counts.get(&candidate.backend).copied().unwrap_or(0));
        let allowed = 6.0 * (expected * (1.0 - share)).sqrt();
        assert!(
            (found - expected).abs() <= allowed,
            "{candidate:?}: {found} instead of {expected} of {DRAWS}"
        );
    }
}

#[test]
fn an_idle_pool_is_used_by_weight() {
    for weights in [&[100, 100][..], &[1, 0, 9], &[10, 20, 30, 40], &[1000, 1]] {
        let candidates = candidates(weights);
        let choices = numbers()
            .zip(numbers().skip(3))
            .map(|(first, second)| two_choices(&candidates, |_| 0, [first, second]).unwrap());
        assert_shares(&candidates, choices);
    }
}

#[test]
fn keys_are_spread_by_weight() {
    for weights in [&[100, 100][..], &[1, 0, 9], &[10, 20, 30, 40], &[1000, 1], &[7; 40]] {
        let candidates = candidates(weights);
        assert_shares(&candidates, keys().map(|key| rendezvous(&candidates, key).unwrap()));
    }
}

#[test]
fn requests_in_flight_settle_by_weight() {
    let candidates = candidates(&[10, 20, 30]);
    let mut in_flight: BTreeMap<BackendId, u64> = BTreeMap::new();
    for (first, second) in numbers().zip(numbers().skip(3)).take(6_000) {
        let load = |backend| in_flight.get(&backend).copied().unwrap_or(0);
        let chosen = two_choices(&candidates, load, [first, second]).unwrap();
        *in_flight.entry(chosen).or_default() += 1;
    }
    for candidate in &candidates {
        let expected = u64::from(candidate.weight) * 100;
        let found = in_flight[&candidate.backend];
        assert!(found.abs_diff(expected) <= 20, "{candidate:?}: {found} instead of {expected}");
    }
}

#[test]
fn turns_are_spread_evenly() {
    let candidates = candidates(&[5, 1, 1]);
    let mut round = RoundRobin::default();
    let turns: Vec<u64> = (0..7).map(|_| weighted_round_robin(&candidates, &mut round).unwrap().0).collect();
    assert_eq!(turns, [1, 1, 2, 1, 3, 1, 1]);
}

#[test]
fn a_backend_that_comes_back_is_not_given_the_turns_that_it_missed() {
    let all = candidates(&[1, 1, 1]);
    let mut round = RoundRobin::default();
    for _ in 0..100 {
        weighted_round_robin(&all[..2], &mut round);
    }
    let turns = count((0..9).filter_map(|_| weighted_round_robin(&all, &mut round)));
    assert!(turns.values().all(|count| *count == 3), "{turns:?}");
}

#[test]
fn a_backend_that_comes_and_goes_starves_none_of_the_others() {
    let all = candidates(&[1, 1, 1]);
    let mut round = RoundRobin::default();
    let turns = count((0..90).filter_map(|turn| {
        let present = if turn % 2 == 0 { &all[..] } else { &all[..2] };
        weighted_round_robin(present, &mut round)
    }));
    assert!(turns[&BackendId(1)] >= 30 && turns[&BackendId(2)] >= 30, "{turns:?}");
}

#[test]
fn nobody_is_chosen_of_nobody() {
    for weights in [&[][..], &[0, 0]] {
        let candidates = candidates(weights);
        assert_eq!(two_choices(&candidates, |_| 0, [u64::MAX; 2]), None);
        assert_eq!(weighted_round_robin(&candidates, &mut RoundRobin::default()), None);
        assert_eq!(fewest_sessions(&candidates, |_| 0), None);
        assert_eq!(rendezvous(&candidates, KeyHash(1)), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_usable_backend_is_chosen_and_never_one_of_weight_0(
        weights in weights(), random in any::<[u64; 2]>(), key in any::<u128>(), loads in any::<[u64; 8]>(),
    ) {
        let candidates = candidates(&weights);
        let load = |backend: BackendId| loads[backend.0 as usize - 1];
        let usable = weights.iter().any(|weight| *weight > 0);
        for chosen in [
            two_choices(&candidates, load, random),
            weighted_round_robin(&candidates, &mut RoundRobin::default()),
            fewest_sessions(&candidates, load),
            rendezvous(&candidates, KeyHash(key)),
        ] {
            prop_assert_eq!(chosen.is_some(), usable);
            prop_assert!(chosen.is_none_or(|backend| weight_of(&candidates, backend) > 0));
        }
    }

    #[test]
    fn of_two_backends_the_one_with_more_to_do_for_its_weight_is_left_alone(
        weights in any::<[u8; 2]>(), loads in any::<[u16; 2]>(), random in any::<[u64; 2]>(),
    ) {
        let weights = weights.map(|weight| u32::from(weight) + 1);
        let candidates = candidates(&weights);
        let chosen = two_choices(&candidates, |backend| u64::from(loads[backend.0 as usize - 1]), random).unwrap();
        let [chosen, other] = if chosen.0 == 1 { [0, 1] } else { [1, 0] };
        prop_assert!(
            u64::from(loads[chosen]) * u64::from(weights[other])
                <= u64::from(loads[other]) * u64::from(weights[chosen])
        );
    }

    #[test]
    fn every_round_gives_each_backend_its_weight_in_turns(weights in prop::collection::vec(0..20_u32, 1..6)) {
        let candidates = candidates(&weights);
        let total: u32 = weights.iter().sum();
        let mut round = RoundRobin::default();
        for _ in 0..3 {
            let turns = count((0..total).filter_map(|_| weighted_round_robin(&candidates, &mut round)));
            for candidate in &candidates {
                prop_assert_eq!(turns.get(&candidate.backend).copied().unwrap_or(0), candidate.weight);
            }
        }
    }

    #[test]
    fn the_fewest_sessions_for_the_weight_win_in_any_order(
        weights in prop::collection::vec(0..4_u32, 0..8), sessions in prop::collection::vec(0..4_u64, 8),
        rotation in 0..8_usize,
    ) {
        let candidates = candidates(&weights);
        let load = |backend: BackendId| sessions[backend.0 as usize - 1];
        let chosen = fewest_sessions(&candidates, load);
        if let Some(chosen) = chosen {
            let weight = weight_of(&candidates, chosen);
            for other in candidates.iter().filter(|other| other.weight > 0) {
                prop_assert!(
                    u128::from(load(chosen)) * u128::from(other.weight)
                        <= u128::from(load(other.backend)) * u128::from(weight)
                );
            }
        }
        let mut turned = candidates.clone();
        turned.rotate_left(rotation.min(candidates.len()));
        prop_assert_eq!(fewest_sessions(&turned, load), chosen);
    }

    #[test]
    fn a_change_of_one_backend_moves_only_its_share_of_the_keys(
        weights in prop::collection::vec(1..=1000_u32, 2..8), index in any::<prop::sample::Index>(),
        weight in 0..=1000_u32, rotation in 0..8_usize,
    ) {
        let before = candidates(&weights);
        let index = index.index(before.len());
        let mut after = before.clone();
        after[index].weight = weight;
        after.rotate_left(rotation.min(before.len()));
        let changed = before[index].backend;
        for key in keys().take(100) {
            let [old, new] = [&before, &after].map(|candidates| rendezvous(candidates, key).unwrap());
            if old != new {
                prop_assert_eq!(if weight < weights[index] { old } else { new }, changed);
            }
        }
    }
}
