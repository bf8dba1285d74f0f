//! Each thing that must not happen is found, and nothing else is.

use super::*;

const DEAD: &str = "shop-1";
const BACKEND_KILLED: u64 = 20_000;

fn at(milliseconds: u64) -> Moment {
    Moment(Duration::from_millis(milliseconds))
}

fn exchange(number: u64, ended: u64, outcome: Outcome) -> Exchange {
    Exchange { number, started: at(ended.saturating_sub(5)), ended: at(ended), retries: 0, outcome }
}

fn served(number: u64, ended: u64, backend: &str, numbers: &[u64]) -> Exchange {
    let outcome = Outcome::Served { node: 1, backend: backend.to_owned(), numbers: numbers.to_vec() };
    exchange(number, ended, outcome)
}

fn failed(number: u64, ended: u64) -> Exchange {
    exchange(number, ended, Outcome::Failed { attempts: "node 1: 503".to_owned() })
}

fn visit(client: &str, exchanges: Vec<Exchange>) -> Visit {
    Visit { client: client.to_owned(), stays: true, proves_bind: true, exchanges }
}

/// One that stays on a backend which lives, one that moves away from the dead one, and a new session every
/// half second.
fn good_run() -> Run {
    let mut visits = vec![
        visit(
            "loyal",
            vec![
                served(1, 100, "shop-2", &[1]),
                served(2, 9_000, "shop-2", &[1, 2]),
                served(3, 29_000, "shop-2", &[1, 2, 3]),
            ],
        ),
        visit(
            "moved",
            vec![
                served(1, 100, DEAD, &[1]),
                served(2, 9_000, DEAD, &[1, 2]),
                served(3, BACKEND_KILLED + 100, "shop-3", &[3]),
                served(4, 29_000, "shop-3", &[3, 4]),
            ],
        ),
    ];
    for start in (500..30_000).step_by(500) {
        let mut newcomer = visit("newcomer", vec![served(1, start, "shop-2", &[1])]);
        newcomer.stays = false;
        visits.push(newcomer);
    }
    Run {
        started: at(0),
        ended: at(30_000),
        backend_killed: at(BACKEND_KILLED),
        dead_backend: DEAD.to_owned(),
        visits,
    }
}

fn failures_with(change: impl FnOnce(&mut Run)) -> (Counts, Vec<Failure>) {
    let mut run = good_run();
    change(&mut run);
    let verdict = judge(&run);
    (verdict.counts, verdict.failures)
}

fn only(failures: &[Failure]) -> &Failure {
    assert_eq!(failures.len(), 1, "{failures:?}");
    &failures[0]
}

#[test]
fn a_run_as_promised_has_no_failure() {
    let (counts, failures) = failures_with(|_| ());
    assert_eq!(failures, []);
    let expected = Counts {
        sessions: 61,
        requests: 66,
        bound_to_dead: 1,
        moved: 1,
        longest_without_bind: Duration::from_millis(500),
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn a_cart_that_comes_back_without_an_item_is_lost() {
    let (counts, failures) = failures_with(|run| {
        run.visits[0].exchanges[1] = served(2, 9_000, "shop-2", &[2]);
        run.visits[0].exchanges[2] = served(3, 29_000, "shop-2", &[2, 3]);
    });
    assert_eq!(counts.lost_carts, 1);
    assert!(matches!(only(&failures), Failure::LostCart { missing, .. } if missing == &[1]));
}

#[test]
fn an_item_that_was_added_and_is_not_there_is_lost() {
    let (counts, _) = failures_with(|run| run.visits[0].exchanges[0] = served(1, 100, "shop-2", &[]));
    assert_eq!(counts.lost_carts, 1);
}

#[test]
fn a_cart_of_somebody_else_is_found() {
    let (_, failures) = failures_with(|run| run.visits[0].exchanges[0] = served(1, 100, "shop-2", &[1, 77]));
    assert!(matches!(only(&failures), Failure::ForeignItems { numbers, .. } if numbers == &[1, 77]));
}

#[test]
fn a_session_that_moves_though_its_backend_is_up_is_found() {
    let (counts, failures) =
        failures_with(|run| run.visits[0].exchanges[2] = served(3, 29_000, "shop-3", &[3]));
    assert!(failures.iter().any(|it| matches!(it, Failure::UnforcedMove { from, .. } if from == "shop-2")));
    assert_eq!((counts.lost_carts, counts.moved), (1, 1));
}

#[test]
fn a_session_that_moves_before_its_backend_dies_is_found() {
    let (counts, failures) = failures_with(|run| {
        run.visits[1].exchanges.truncate(1);
        run.visits[1].exchanges.push(served(2, BACKEND_KILLED - 1, "shop-3", &[2]));
    });
    assert!(failures.iter().any(|it| matches!(it, Failure::UnforcedMove { from, .. } if from == DEAD)));
    assert_eq!(counts.moved, 0);
}

#[test]
fn a_session_of_the_dead_backend_that_does_not_move_is_found() {
    let stuck = |run: &mut Run| run.visits.push(visit("stuck", vec![served(1, 100, DEAD, &[1])]));
    let (counts, failures) = failures_with(stuck);
    assert_eq!(only(&failures), &Failure::NotMoved { client: "stuck".to_owned() });
    assert_eq!((counts.bound_to_dead, counts.moved), (2, 1));
}

#[test]
fn a_client_that_left_before_the_death_does_not_have_to_move() {
    let (counts, failures) = failures_with(|run| {
        let mut left = visit("left", vec![served(1, 100, DEAD, &[1])]);
        left.stays = false;
        run.visits.push(left);
    });
    assert_eq!((failures.as_slice(), counts.bound_to_dead), (&[][..], 1));
}

#[test]
fn a_client_that_came_back_in_vain_has_not_moved() {
    let (_, failures) = failures_with(|run| {
        let tried = vec![served(1, 100, DEAD, &[1]), failed(2, BACKEND_KILLED + 1_500)];
        let mut passing = visit("passing", tried);
        passing.stays = false;
        run.visits.push(passing);
    });
    assert_eq!(only(&failures), &Failure::NotMoved { client: "passing".to_owned() });
}

#[test]
fn an_error_is_allowed_for_two_seconds_after_the_backends_death_and_at_no_other_time() {
    for (ended, allowed) in [
        (BACKEND_KILLED - 1, false),
        (BACKEND_KILLED, true),
        (BACKEND_KILLED + 2_000, true),
        (BACKEND_KILLED + 2_001, false),
    ] {
        let (counts, failures) =
            failures_with(|run| run.visits.push(visit("unlucky", vec![failed(1, ended)])));
        assert_eq!(failures.is_empty(), allowed, "at {ended}: {failures:?}");
        assert_eq!((counts.errors, counts.errors_outside), (1, usize::from(!allowed)));
    }
}

#[test]
fn an_item_whose_addition_failed_may_be_in_the_cart_or_not() {
    for numbers in [&[1, 2, 3, 4][..], &[1, 2, 4][..]] {
        let (_, failures) = failures_with(|run| {
            let exchanges = &mut run.visits[0].exchanges;
            exchanges[2] = failed(3, BACKEND_KILLED + 100);
            exchanges.push(served(4, 29_000, "shop-2", numbers));
        });
        assert_eq!(failures, []);
    }
}

#[test]
fn a_second_without_a_new_session_is_found_wherever_it_lies() {
    for hole in [0..1_500, 10_000..11_500, 28_500..30_000] {
        let (counts, failures) = failures_with(|run| {
            run.visits.retain(|visit| !hole.contains(&(visit.exchanges[0].ended.0.as_millis() as u64)));
        });
        let long_enough = |failure: &Failure| matches!(failure, Failure::NoNewBind { lasted, .. } if *lasted >= LONGEST_WITHOUT_BIND);
        assert!(failures.iter().any(long_enough), "{hole:?}: {failures:?}");
        assert!(counts.longest_without_bind >= LONGEST_WITHOUT_BIND);
    }
}

#[test]
fn sessions_that_begin_without_a_bind_do_not_hide_that_there_is_none() {
    let (counts, failures) = failures_with(|run| {
        for visit in run.visits.iter_mut().filter(|visit| visit.exchanges[0].ended > at(10_000)) {
            visit.proves_bind = false;
        }
    });
    let lasted = Duration::from_secs(20);
    assert_eq!(only(&failures), &Failure::NoNewBind { after: Duration::from_secs(10), lasted });
    assert_eq!((counts.sessions, counts.longest_without_bind), (61, lasted));
}

#[test]
fn a_run_in_which_nothing_had_to_move_shows_nothing() {
    let (_, failures) = failures_with(|run| drop(run.visits.remove(1)));
    assert_eq!(only(&failures), &Failure::NothingMoved);
}
