use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::Candidate;
use crate::ids::{BackendId, KeyHash};

/// The backend with the highest weighted score for `key`: the same key and candidates give the same
/// backend on every node, in whatever order they stand. A backend that goes takes along only the keys
/// that it had, one that comes takes only its share, and a changed weight moves keys to or from that
/// backend alone.
///
/// Each (key, backend) has a pseudo-random number u in (0, 1], and the lowest -log(u) / weight wins. The
/// logarithm is computed on integers, because floating-point logarithms differ between platforms.
pub fn rendezvous(candidates: &[Candidate], key: KeyHash) -> Option<BackendId> {
    candidates
        .iter()
        .filter(|candidate| candidate.weight > 0)
        .map(|candidate| (candidate, u128::from(cost(key, candidate.backend))))
        .min_by(|(left, left_cost), (right, right_cost)| {
            // left_cost / left.weight against right_cost / right.weight, without a division
            (left_cost * u128::from(right.weight))
                .cmp(&(right_cost * u128::from(left.weight)))
                .then_with(|| left.backend.cmp(&right.backend))
        })
        .map(|(candidate, _)| candidate.backend)
}

/// -log2(u) of the pair's number u, with [`FRACTION_BITS`] bits after the point.
fn cost(key: KeyHash, backend: BackendId) -> u64 {
    let [low, high] = [key.0, key.0 >> 64]
        .map(|half| u64::try_from(half & u128::from(u64::MAX)).expect("masked to 64 bits"));
    let mut hasher = SipHasher13::new_with_keys(low, high);
    hasher.write(&backend.0.to_le_bytes());
    // 1 to 2^64: zero has no logarithm
    let number = u128::from(hasher.finish()) + 1;
    (64 << FRACTION_BITS) - log2(number)
}

/// Enough to tell apart the winners of any pool: the smallest costs of 4,096 backends lie around 2^-12.
const FRACTION_BITS: u32 = 48;

/// The binary logarithm of a number from 1 to 2^64, with [`FRACTION_BITS`] bits after the point, rounded
/// down. Squaring a mantissa doubles its logarithm, so each squaring yields the next bit.
fn log2(number: u128) -> u64 {
    let whole = number.ilog2();
    let mut fraction = 0_u64;
    // the mantissa, in [1, 2), with 63 bits after the point
    let mut mantissa = if whole > 63 { 1 << 63 } else { number << (63 - whole) };
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        fraction <<= 1;
        if mantissa >> 64 != 0 {
            fraction |= 1;
            mantissa >>= 1;
        }
    }
    (u64::from(whole) << FRACTION_BITS) | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integer_logarithm_agrees_with_a_floating_one() {
        for number in [1_u128, 2, 3, 7, 10, 1_000, 123_456_789, 1 << 40, u128::from(u64::MAX), 1 << 64] {
            let expected = (number as f64).log2();
            let found = log2(number) as f64 / (1_u64 << FRACTION_BITS) as f64;
            assert!((expected - found).abs() < 1e-11, "log2({number}) = {expected}, not {found}");
        }
    }

    #[test]
    fn choices_are_the_same_in_every_build() {
        let candidates: Vec<Candidate> =
            (1..=5).map(|id| Candidate { backend: BackendId(id), weight: 100 }).collect();
        let chosen: Vec<u64> =
            (0..12_u128).map(|key| rendezvous(&candidates, KeyHash(key << 64 | 7)).unwrap().0).collect();
        assert_eq!(chosen, [3, 2, 5, 1, 3, 1, 2, 1, 5, 2, 5, 1]);
    }
}
