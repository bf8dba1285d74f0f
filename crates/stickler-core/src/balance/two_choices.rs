use super::Candidate;
use crate::ids::BackendId;

/// Of two different backends drawn by weight, the one with fewer requests in flight for its weight; of
/// equals the one drawn first, so that an idle pool is used in proportion to the weights.
///
/// `in_flight` gives the number of requests that this node has in flight to a backend. `random` are two
/// independent numbers, each uniform over all of `u64`.
pub fn two_choices(
    candidates: &[Candidate],
    in_flight: impl Fn(BackendId) -> u64,
    random: [u64; 2],
) -> Option<BackendId> {
    let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    let first = draw(candidates, total, None, random[0])?;
    let rest = total - u64::from(first.weight);
    let Some(second) = draw(candidates, rest, Some(first.backend), random[1]) else {
        return Some(first.backend);
    };
    let first_load = u128::from(in_flight(first.backend)) * u128::from(second.weight);
    let second_load = u128::from(in_flight(second.backend)) * u128::from(first.weight);
    Some(if second_load < first_load { second.backend } else { first.backend })
}

/// Draws by weight among all candidates but `without`; `total` is the sum of their weights.
fn draw(candidates: &[Candidate], total: u64, without: Option<BackendId>, random: u64) -> Option<&Candidate> {
    // Multiplying instead of taking the remainder: no bias that matters, and no division.
    let mut left = u64::try_from((u128::from(random) * u128::from(total)) >> 64)
        .expect("a product of two 64-bit numbers has 128 bits");
    candidates.iter().filter(|candidate| Some(candidate.backend) != without).find(|candidate| {
        let weight = u64::from(candidate.weight);
        let drawn = left < weight;
        left = left.saturating_sub(weight);
        drawn
    })
}
