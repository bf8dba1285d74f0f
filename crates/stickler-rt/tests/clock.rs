//! What the clock promises: true in production, wrong exactly as told in a simulation, never backwards.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use stickler_rt::{Clock, Moment, wall_clock};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_true_clock_follows_the_runtimes_time() {
    let clock = Clock::start();
    assert_eq!(clock.now(), Moment::default());
    tokio::time::advance(SECOND).await;
    assert_eq!(clock.now(), Moment(SECOND));
    assert_eq!(clock.clone().now(), Moment(SECOND), "a clone is the same clock");
}

#[tokio::test(start_paused = true)]
async fn a_skewed_clock_runs_at_its_rate_and_jumps_only_when_told() {
    let (clock, skew) = Clock::start_skewed();
    tokio::time::advance(SECOND).await;
    skew.set_rate(1.5);
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(clock.now(), Moment(4 * SECOND));
    skew.jump(10 * SECOND);
    assert_eq!(clock.now(), Moment(14 * SECOND));
    skew.set_rate(0.0);
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(clock.now(), Moment(14 * SECOND));
    assert_eq!(wall_clock(&clock), SystemTime::UNIX_EPOCH + 14 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_sleep_on_a_fast_clock_ends_early_in_true_time() {
    let truth = Clock::start();
    let (clock, skew) = Clock::start_skewed();
    skew.set_rate(2.0);
    clock.sleep(10 * SECOND).await;
    let slept = truth.now().since(Moment::default());
    assert!(slept >= 5 * SECOND && slept < 5 * SECOND + Duration::from_millis(10), "{slept:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sleep_on_a_stopped_clock_ends_once_it_goes_on() {
    let (clock, skew) = Clock::start_skewed();
    skew.set_rate(0.0);
    let sleeper = tokio::spawn({
        let clock = clock.clone();
        async move { clock.sleep(SECOND).await }
    });
    tokio::time::sleep(100 * SECOND).await;
    assert!(!sleeper.is_finished());
    skew.set_rate(1.0);
    sleeper.await.unwrap();
    assert!(clock.now() >= Moment(SECOND));
}

proptest! {
    #[test]
    fn a_clock_never_goes_back(
        steps in proptest::collection::vec((-2.0f64..1e9, 0u64..100_000, 0u64..100_000), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (clock, skew) = Clock::start_skewed();
            let mut last = clock.now();
            for (rate, jump, pass) in steps {
                skew.set_rate(rate);
                prop_assert!(clock.now() >= last);
                skew.jump(Duration::from_millis(jump));
                tokio::time::advance(Duration::from_millis(pass)).await;
                let now = clock.now();
                prop_assert!(now >= last);
                last = now;
            }
            Ok(())
        })?;
    }
}
