//! What a node decides by what becomes of its own requests: ejections, queues, and how often it tries again.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use stickler_core::document::cluster::Ejection;
use stickler_core::ejection::{Ejections, Noted, most_ejected};
use stickler_core::ids::BackendId;
use stickler_core::request_queue::{Lane, Position, RequestQueue};
use stickler_core::retry_budget::RetryBudget;

const SECOND: Duration = Duration::from_secs(1);
const ONE: BackendId = BackendId(1);

fn policy(consecutive_errors: u32, max_share: u8) -> Ejection {
    Ejection { consecutive_errors, time: SECOND * 10, longest: SECOND * 25, max_share }
}

fn pool(backends: u64) -> impl Iterator<Item = BackendId> {
    (1..=backends).map(BackendId)
}

/// Errors until the backend is ejected.
fn eject(ejections: &mut Ejections, now: Duration) -> Duration {
    for _ in 0..4 {
        assert_eq!(ejections.note_error(ONE, &policy(5, 30), pool(3), now), Noted::Nothing);
    }
    match ejections.note_error(ONE, &policy(5, 30), pool(3), now) {
        Noted::Ejected(length) => length,
        other => panic!("{other:?}"),
    }
}

#[test]
fn so_many_errors_in_a_row_eject_and_a_success_between_them_does_not() {
    let mut ejections = Ejections::default();
    for _ in 0..10 {
        for _ in 0..4 {
            assert_eq!(ejections.note_error(ONE, &policy(5, 30), pool(3), SECOND), Noted::Nothing);
        }
        ejections.note_success(ONE, &policy(5, 30), SECOND);
    }
    assert!(ejections.is_empty(), "what goes well takes no room");
    assert_eq!(eject(&mut ejections, SECOND), SECOND * 10);
    assert!(ejections.is_ejected(ONE, SECOND * 11 - Duration::from_nanos(1)));
    assert!(!ejections.is_ejected(ONE, SECOND * 11));
    assert!(!ejections.is_ejected(BackendId(2), SECOND));
    for _ in 0..10 {
        for _ in 0..4 {
            assert_eq!(ejections.note_error(ONE, &policy(5, 30), pool(3), SECOND * 11), Noted::Nothing);
        }
        ejections.note_success(ONE, &policy(5, 30), SECOND * 11);
    }
}

#[test]
fn ejections_grow_up_to_the_longest_and_shrink_again_in_as_much_time_without_one() {
    let mut ejections = Ejections::default();
    let mut now = SECOND;
    for expected in [10, 20, 25, 25, 25] {
        assert_eq!(eject(&mut ejections, now), SECOND * expected);
        now += SECOND * expected;
    }
    // Three count, however many there were; for each ten seconds, one less.
    assert_eq!(eject(&mut ejections, now + SECOND * 20), SECOND * 20);
    let back = now + SECOND * 40;
    ejections.note_success(ONE, &policy(5, 30), back + SECOND * 19);
    assert!(!ejections.is_empty(), "the last ones are not forgotten yet");
    ejections.note_success(ONE, &policy(5, 30), back + SECOND * 20);
    assert!(ejections.is_empty());
}

#[test]
fn a_backend_that_is_ejected_goes_on_being_suspected() {
    let mut ejections = Ejections::default();
    eject(&mut ejections, SECOND);
    let noted: Vec<Noted> =
        (0..5).map(|_| ejections.note_error(ONE, &policy(5, 30), pool(3), SECOND * 2)).collect();
    assert_eq!(noted[4], Noted::Suspect);
    assert!(!ejections.is_ejected(ONE, SECOND * 11), "for as long as it was said");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to whichever backends, no more than a share of the pool is ejected, and never all of it.
    #[test]
    fn never_more_than_the_share_of_a_pool_is_ejected(
        backends in 1..12u64,
        max_share in 1..=100u8,
        errors in 1..4u32,
        events in proptest::collection::vec((0..12u64, 0..4u8, 0..4000u64), 1..400),
    ) {
        let policy = policy(errors, max_share);
        let mut ejections = Ejections::default();
        let mut now = Duration::ZERO;
        let most = most_ejected(backends as usize, max_share);
        prop_assert!(most < backends as usize);
        prop_assert!(most >= usize::from(backends > 1), "one may be");
        prop_assert!(most <= 1 || most * 100 <= backends as usize * usize::from(max_share));
        for (backend, kind, wait) in events {
            let backend = BackendId(backend % backends + 1);
            now += Duration::from_millis(wait);
            if kind == 0 {
                ejections.note_success(backend, &policy, now);
            } else {
                let before = ejections.is_ejected(backend, now);
                let noted = ejections.note_error(backend, &policy, pool(backends), now);
                if let Noted::Ejected(length) = noted {
                    prop_assert!(length >= policy.time && length <= policy.longest);
                }
                let ejected = matches!(noted, Noted::Ejected(_));
                prop_assert_eq!(ejections.is_ejected(backend, now), before || ejected);
            }
            let ejected = pool(backends).filter(|backend| ejections.is_ejected(*backend, now)).count();
            prop_assert!(ejected <= most, "{} of {}", ejected, backends);
        }
    }

    /// Beside a queue that is written down in the plainest way: nobody is lost, nobody overtakes, no more than allowed.
    #[test]
    fn requests_wait_in_their_order_and_those_of_bound_sessions_go_first(
        events in proptest::collection::vec((0..6u8, any::<bool>(), 0..8u32), 1..300),
    ) {
        let longest = 5;
        let mut queue: RequestQueue<u32> = RequestQueue::default();
        queue.set_most(2);
        let mut most = 2;
        let mut in_flight = 0_u32;
        let mut waiting: VecDeque<(bool, u32, Position)> = VecDeque::new();
        for (name, (kind, bound, number)) in (0..).zip(events) {
            match kind {
                // One more comes.
                0..=2 => {
                    if queue.enter() {
                        prop_assert!(in_flight < most && waiting.is_empty());
                        in_flight += 1;
                        continue;
                    }
                    prop_assert!(in_flight >= most || !waiting.is_empty());
                    let lane = if bound { Lane::Bound } else { Lane::Other };
                    match queue.wait(lane, longest, name) {
                        Some(queued) => {
                            let full = waiting.len() == longest;
                            let last = waiting.iter().rposition(|(bound, ..)| full && !bound);
                            let last = last.and_then(|last| waiting.remove(last)).map(|(_, name, _)| name);
                            prop_assert_eq!((queued.gives_way, full && !bound), (last, false));
                            waiting.push_back((bound, name, queued.position));
                        }
                        None => {
                            prop_assert_eq!(waiting.len(), longest);
                            prop_assert!(!bound || waiting.iter().all(|(bound, ..)| *bound));
                        }
                    }
                }
                // One is over.
                3 => {
                    queue.leave();
                    in_flight = in_flight.saturating_sub(1);
                }
                // One gives up.
                4 => if let Some((_, _, position)) = waiting.remove(number as usize) {
                    queue.give_up(position);
                    queue.give_up(position);
                },
                // Another document.
                _ => {
                    most = number.max(1);
                    queue.set_most(most);
                }
            }
            // Between the end of one and the call of the next, another worker's request may come.
            let call_now = number % 2 == 0;
            while call_now && let Some(called) = queue.call() {
                in_flight += 1;
                prop_assert!(in_flight <= most);
                let first = waiting.iter().position(|(bound, ..)| *bound).unwrap_or(0);
                let expected = waiting.remove(first).map(|(_, name, _)| name);
                prop_assert_eq!(Some(called), expected);
            }
            prop_assert!(
                !call_now || in_flight >= most || waiting.is_empty(),
                "somebody waits for nothing"
            );
            prop_assert_eq!((queue.in_flight(), queue.waiting()), (in_flight, waiting.len()));
        }
    }

    /// In no ten seconds more than the share of what came, and the floor.
    #[test]
    fn retries_stay_within_their_share_of_the_requests_of_ten_seconds(
        percent in 0..=100u8,
        events in proptest::collection::vec((0..1500u64, 0..40u64, 0..60u64), 1..120),
    ) {
        let mut budget = RetryBudget::default();
        let mut now = Duration::ZERO;
        let mut requests = 0;
        let mut history: Vec<(u64, u64, u64)> = Vec::new();
        for (wait, came, wanted) in events {
            now += Duration::from_millis(wait);
            budget.begin_second(now, requests);
            requests += came;
            let taken = (0..wanted).filter(|_| budget.take(now, requests, percent)).count() as u64;
            history.push((now.as_secs(), came, taken));
            let window = history.iter().filter(|(at, ..)| at + 10 > now.as_secs());
            let (came, sum) = window.fold((0, 0), |(came, sum), (_, more, one)| (came + more, sum + one));
            let most = came * u64::from(percent) / 100 + 100;
            // What was taken while there was more to take from may lie beyond it by now.
            prop_assert!(taken == 0 || sum <= most, "{} of {}", sum, most);
            prop_assert!(taken == wanted || sum >= most, "refused before the budget was used up");
        }
    }
}
