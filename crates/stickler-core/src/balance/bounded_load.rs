use super::Candidate;
use crate::ids::BackendId;

/// Leaves out the candidates that have more than `percent` of their share of the sessions that all of them have, with the
/// one that is to be placed: consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018), for any
/// algorithm. With 100 percent or more somebody is always left.
pub fn within_bound(candidates: &mut Vec<Candidate>, percent: u32, sessions: impl Fn(BackendId) -> u64) {
    let weights: u128 = candidates.iter().map(|candidate| u128::from(candidate.weight)).sum();
    let total: u128 = candidates.iter().map(|candidate| u128::from(sessions(candidate.backend))).sum();
    candidates.retain(|candidate| {
        let most = u128::from(percent) * (total + 1) * u128::from(candidate.weight);
        u128::from(sessions(candidate.backend)) < most.div_ceil(100 * weights.max(1))
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn somebody_is_always_left_and_nobody_goes_beyond_the_bound(
            backends in proptest::collection::vec((1_u32..1000, 0_u64..10_000), 1..20),
            percent in 100_u32..1000,
        ) {
            let sessions = |id: BackendId| backends[usize::try_from(id.0).unwrap()].1;
            let all = || backends.iter().enumerate().map(|(id, (weight, _))| {
                Candidate { backend: BackendId(id as u64), weight: *weight }
            });
            let mut left: Vec<Candidate> = all().collect();
            within_bound(&mut left, percent, sessions);
            prop_assert!(!left.is_empty());
            let total: u64 = backends.iter().map(|(_, sessions)| sessions).sum::<u64>() + 1;
            let weights: u64 = all().map(|candidate| u64::from(candidate.weight)).sum();
            for candidate in all() {
                let share = total as f64 * f64::from(candidate.weight) / weights as f64;
                let within = ((sessions(candidate.backend)) as f64) < share * f64::from(percent) / 100.0;
                let near = (sessions(candidate.backend) as f64 - share * f64::from(percent) / 100.0).abs() < 1.0;
                prop_assert!(near || within == left.contains(&candidate));
            }
        }
    }
}
