//! What one client or one key may do to the others: rates of new sessions, and the heaviest keys.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;
use stickler_core::document::cluster::Rate;
use stickler_core::heaviest::HeaviestKeys;
use stickler_core::ids::{AffinityId, KeyHash};
use stickler_core::source_rates::SourceRates;

const CART: AffinityId = AffinityId(3);
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const SECOND: Duration = Duration::from_secs(1);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In any stretch of time, at most its rate and what it had saved up before: once the rate.
    #[test]
    fn no_source_begins_more_than_its_rate_and_each_that_waits_as_told_is_let_in(
        most in 1..20u32,
        period in 1..20u64,
        gaps in proptest::collection::vec(0..2000u64, 1..200),
    ) {
        let rate = Rate { most, period: Duration::from_secs(period) };
        let mut rates = SourceRates::default();
        let mut now = Duration::ZERO;
        let mut admitted = Vec::new();
        for gap in gaps {
            now += Duration::from_millis(gap);
            match rates.admit(CART, ADDRESS, rate, now) {
                Ok(()) => admitted.push(now),
                Err(wait) => {
                    prop_assert!(wait > Duration::ZERO && wait <= rate.period);
                    prop_assert!(rates.admit(CART, ADDRESS, rate, now + wait - Duration::from_nanos(1)).is_err());
                    now += wait;
                    prop_assert_eq!(rates.admit(CART, ADDRESS, rate, now), Ok(()));
                    admitted.push(now);
                }
            }
        }
        for (index, from) in admitted.iter().enumerate() {
            let within = admitted[index..].iter().filter(|at| **at - *from < rate.period).count();
            prop_assert!(within <= 2 * most as usize, "{} in one period", within);
        }
        // Over the whole time, the rate and one period's worth.
        let share = now.as_secs_f64() / rate.period.as_secs_f64() * f64::from(most);
        prop_assert!(admitted.len() as f64 <= share + f64::from(most) + 1.0);
    }

    /// Every key with more requests than a 128th of all is listed, and no figure is further off than it says.
    #[test]
    fn the_heaviest_keys_are_found_among_any_number_of_others(
        requests in proptest::collection::vec((0..400u128, 1..50u64), 1..2000),
        ends in 0..2000usize,
    ) {
        let mut heaviest = HeaviestKeys::default();
        let mut exact: BTreeMap<u128, u64> = BTreeMap::new();
        for (index, (key, count)) in requests.iter().enumerate() {
            if index == ends {
                heaviest.end_period();
            }
            // Half of all keys are seldom, the others heavy.
            let (key, count) = if key % 2 == 0 { (key % 10, *count) } else { (*key, 1) };
            heaviest.count(CART, KeyHash(key), count);
            *exact.entry(key).or_default() += count;
        }
        let total: u64 = exact.values().sum();
        let (listed, all) = heaviest.of(CART, usize::MAX);
        prop_assert_eq!(all, total);
        prop_assert!(listed.is_sorted_by(|one, other| one.requests >= other.requests));
        for heavy in &listed {
            let really = exact.get(&heavy.key.0).copied().unwrap_or(0);
            prop_assert!(heavy.requests >= really && heavy.requests - heavy.uncertain <= really);
        }
        for (key, count) in exact.iter().filter(|(_, count)| **count > total / 128) {
            prop_assert!(listed.iter().any(|heavy| heavy.key.0 == *key), "{} with {} of {}", key, count, total);
        }
    }
}

#[test]
fn what_was_counted_two_periods_ago_is_forgotten() {
    let mut heaviest = HeaviestKeys::default();
    heaviest.count(CART, KeyHash(1), 5);
    heaviest.end_period();
    assert_eq!(heaviest.of(CART, 9).1, 5);
    heaviest.end_period();
    assert_eq!(heaviest.of(CART, 9), (Vec::new(), 0));
}

#[test]
fn sources_and_affinities_have_rates_of_their_own() {
    let rate = Rate { most: 2, period: SECOND };
    let mut rates = SourceRates::default();
    let mut admit = |affinity, source: &str| {
        rates.admit(affinity, source.parse().expect("an address"), rate, SECOND).is_ok()
    };
    for source in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"] {
        assert_eq!([(); 3].map(|()| admit(CART, source)), [true, true, false], "{source}");
    }
    assert!(admit(AffinityId(4), "192.0.2.1"));
    assert!(!admit(CART, "2001:db8::ffff"), "one network has one rate");
    assert!(!admit(CART, "::ffff:192.0.2.1"), "however the socket shows the address");
}

#[test]
fn ever_new_addresses_take_bounded_memory() {
    let rate = Rate { most: 1, period: SECOND };
    let mut rates = SourceRates::default();
    for number in 0..200_000u128 {
        let source = IpAddr::V6(Ipv6Addr::from_bits(number << 64));
        assert_eq!(rates.admit(CART, source, rate, SECOND), Ok(()));
    }
    assert!(rates.len() <= 64 * 1024, "{}", rates.len());
}
