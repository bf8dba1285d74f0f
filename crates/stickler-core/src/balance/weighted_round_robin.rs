use super::Candidate;
use crate::ids::BackendId;

/// Where a pool's round stands; owned by whoever chooses, one for each pool. Starts empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundRobin {
    /// What each backend is owed, in the order of the candidates of the last choice. In units of
    /// 1 / (sum of weights) of a turn.
    owed: Vec<(BackendId, i64)>,
}

/// Backends in turn, each as often as its weight says, spread evenly: with weights 2 and 1 the order is
/// a, b, a and not a, a, b. Over as many choices as the weights add up to, each backend is chosen exactly
/// as often as its weight.
///
/// A backend that was not among the candidates of the last choice starts at zero, so that one that comes
/// back is not given the turns that it missed.
pub fn weighted_round_robin(candidates: &[Candidate], round: &mut RoundRobin) -> Option<BackendId> {
    round.align(candidates);
    let mut total = 0_i64;
    let mut chosen: Option<usize> = None;
    for (index, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.weight > 0) {
        let weight = i64::from(candidate.weight);
        total = total.saturating_add(weight);
        let owed = &mut round.owed[index].1;
        *owed = owed.saturating_add(weight);
        let owed = *owed;
        if chosen.is_none_or(|best| round.owed[best].1 < owed) {
            chosen = Some(index);
        }
    }
    let (backend, owed) = &mut round.owed[chosen?];
    *owed = owed.saturating_sub(total);
    Some(*backend)
}

impl RoundRobin {
    /// Makes the entries those of `candidates`, in their order. Allocates only when they have changed.
    fn align(&mut self, candidates: &[Candidate]) {
        let same = self.owed.len() == candidates.len()
            && self
                .owed
                .iter()
                .zip(candidates)
                .all(|((backend, _), candidate)| *backend == candidate.backend);
        if same {
            return;
        }
        let mut before = std::mem::take(&mut self.owed);
        before.sort_unstable();
        self.owed = candidates
            .iter()
            .map(|candidate| {
                let known = before.binary_search_by_key(&candidate.backend, |(backend, _)| *backend);
                (candidate.backend, known.map_or(0, |index| before[index].1))
            })
            .collect();
    }
}
