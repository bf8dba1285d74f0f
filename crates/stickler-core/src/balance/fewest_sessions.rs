use std::cmp::Reverse;

use super::Candidate;
use crate::ids::BackendId;

/// The backend with the fewest sessions for its weight. Of equals the heavier one, then the one with the
/// lower id, so that `apply` decides the same on every node whatever the order of `candidates`.
///
/// `sessions` gives the exact number of sessions that are bound to a backend.
pub fn fewest_sessions(candidates: &[Candidate], sessions: impl Fn(BackendId) -> u64) -> Option<BackendId> {
    candidates
        .iter()
        .filter(|candidate| candidate.weight > 0)
        .map(|candidate| (candidate, u128::from(sessions(candidate.backend))))
        .min_by(|(left, left_sessions), (right, right_sessions)| {
            // left_sessions / left.weight against right_sessions / right.weight, without a division
            (left_sessions * u128::from(right.weight))
                .cmp(&(right_sessions * u128::from(left.weight)))
                .then_with(|| Reverse(left.weight).cmp(&Reverse(right.weight)))
                .then_with(|| left.backend.cmp(&right.backend))
        })
        .map(|(candidate, _)| candidate.backend)
}
