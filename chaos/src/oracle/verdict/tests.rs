use super::*;
use crate::history::event::{
    Attempt, Echo, Effect, Event, FaultEvent, Listed, Operation, OperationResult, Outcome, Phase, Replica,
    Says, Sighting, Standing, Visit, Wish,
};
use crate::history::{Allowed, RunFile, Window};
use crate::identifier::Door;

const SECOND: u64 = 1_000_000;

/// A run of three nodes and two backends in which nothing happens but what a test adds.
fn quiet() -> History {
    let window = Window { fault: "kill".to_owned(), known: Allowed::Never, fresh: Allowed::Around(2000) };
    let run = RunFile {
        nodes: vec![1, 2, 3],
        backends: vec!["web-1".to_owned(), "web-2".to_owned()],
        windows: vec![window],
        ..RunFile::default()
    };
    History { run, end: 100 * SECOND, ..History::default() }
}

fn attempt(node: u64, at: u64, outcome: Outcome) -> Attempt {
    Attempt { node, began: at * SECOND, ended: at * SECOND + 1000, outcome }
}

fn served(backend: &str, epoch: u64) -> Outcome {
    Outcome::Served {
        backend: backend.to_owned(),
        epoch: Some(epoch),
        key: Some("k".to_owned()),
        revealed: None,
    }
}

fn refused() -> Outcome {
    Outcome::Refused { status: 503, error: "no-quorum".to_owned(), revealed: None }
}

fn visit(door: Door, attempts: Vec<Attempt>) -> Event {
    Event::Visit(Visit { client: 1, door, session: "s".to_owned(), fresh: false, attempts })
}

/// One session of this door: at these seconds, through these nodes, with these answers.
fn history(door: Door, answers: &[(u64, u64, &str, u64)]) -> History {
    let mut history = quiet();
    for (at, node, backend, epoch) in answers {
        history.add(visit(door, vec![attempt(*node, *at, served(backend, *epoch))]));
    }
    history
}

fn fault(history: &mut History, name: &str, (begun, over): (u64, u64), effects: Vec<Effect>) {
    let number = u32::try_from(history.faults.len()).unwrap();
    for (phase, at) in [(Phase::Begun, begun), (Phase::Healed, over), (Phase::Over, over)] {
        let effects = if phase == Phase::Begun { effects.clone() } else { Vec::new() };
        let (name, detail) = (name.to_owned(), String::new());
        history.add(Event::Fault(FaultEvent { number, name, phase, at: at * SECOND, detail, effects }));
    }
}

fn away(backend: &str) -> Effect {
    Effect::BackendAway { backend: backend.to_owned() }
}

fn blind(node: u64, backend: &str) -> Effect {
    Effect::Blind { node, backend: backend.to_owned() }
}

fn operation(history: &mut History, at: u64, wish: Wish, result: OperationResult) {
    let (began, ended) = (at * SECOND, at * SECOND + 1000);
    history.add(Event::Operation(Operation { node: 1, began, ended, wish, result, said: String::new() }));
}

fn admin(backend: &str, admin: &str) -> Wish {
    Wish::SetBackend { backend: backend.to_owned(), admin: admin.to_owned() }
}

fn found(history: &History) -> Vec<Promise> {
    judge(history).violations.iter().map(|violation| violation.promise).collect()
}

#[test]
fn a_run_in_which_everything_holds_has_no_violation() {
    let history = history(Door::Strict, &[(1, 1, "web-1", 5), (2, 2, "web-1", 5), (3, 3, "web-1", 5)]);
    assert_eq!(found(&history), []);
    assert_eq!((judge(&history).observations, judge(&history).sessions), (3, 1));
}

#[test]
fn one_epoch_at_two_backends_is_found_wherever_it_is_seen() {
    let split = history(Door::Own, &[(1, 1, "web-1", 5), (2, 2, "web-2", 5)]);
    assert_eq!(found(&split), [Promise::Agreement]);

    let mut seen = history(Door::Own, &[(1, 1, "web-1", 5)]);
    let (backend, key) = ("web-2".to_owned(), "k".to_owned());
    seen.add(Event::Sighting(Sighting { at: 2, backend, key, epoch: 5 }));
    assert_eq!(found(&seen), [Promise::Agreement]);
}

#[test]
fn epochs_that_go_back_are_found_and_requests_at_the_same_time_are_not() {
    let back = history(Door::Strict, &[(1, 1, "web-1", 5), (2, 2, "web-1", 4)]);
    assert_eq!(found(&back), [Promise::MonotoneEpochs]);

    let mut together = quiet();
    for (began, ended, backend, epoch) in [(0, 9, "web-1", 5), (1, 2, "web-2", 6)] {
        let outcome = served(backend, epoch);
        together.add(visit(Door::Strict, vec![Attempt { node: 1, began, ended, outcome }]));
    }
    fault(&mut together, "backend-kill", (0, 1), vec![away("web-1")]);
    assert_eq!(found(&together), []);
}

#[test]
fn an_isolated_node_may_serve_by_an_older_epoch_only_where_the_affinity_lets_it() {
    for (door, violations, stale) in
        [(Door::Own, vec![], 1), (Door::Strict, vec![Promise::MonotoneEpochs], 0)]
    {
        let mut history = history(
            door,
            &[(1, 1, "web-1", 5), (20, 2, "web-2", 6), (21, 3, "web-1", 5), (22, 2, "web-2", 6)],
        );
        fault(&mut history, "partition", (15, 30), vec![Effect::Isolated { node: 3 }]);
        fault(&mut history, "backend-kill", (16, 19), vec![away("web-1")]);
        assert_eq!((found(&history), judge(&history).stale), (violations, stale));
    }
}

#[test]
fn a_move_needs_a_reason_at_a_majority_of_nodes() {
    let moved = || history(Door::Header, &[(10, 1, "web-1", 5), (30, 2, "web-2", 6), (31, 1, "web-2", 6)]);
    assert_eq!(found(&moved()), [Promise::NoUnforcedMove]);
    assert_eq!(judge(&moved()).moved.len(), 1);

    let with = |effects: Vec<Effect>, span| {
        let mut history = moved();
        fault(&mut history, "some", span, effects);
        found(&history)
    };
    assert_eq!(with(vec![away("web-1")], (15, 20)), []);
    assert_eq!(with(vec![away("web-2")], (15, 20)), [Promise::NoUnforcedMove], "another backend");
    assert_eq!(with(vec![away("web-1")], (40, 50)), [Promise::NoUnforcedMove], "too late");
    assert_eq!(with(vec![away("web-1")], (1, 2)), [Promise::NoUnforcedMove], "too early");
    assert_eq!(with(vec![blind(1, "web-1")], (15, 20)), [Promise::NoUnforcedMove], "one node's bad cable");
    assert_eq!(with(vec![blind(1, "web-1"), blind(3, "web-1")], (15, 20)), []);
}

#[test]
fn the_report_of_a_node_that_is_cut_off_stands_as_long_as_that() {
    let mut moved = history(Door::Header, &[(25, 1, "web-1", 5), (30, 2, "web-2", 6)]);
    fault(&mut moved, "blind", (1, 10), vec![blind(3, "web-1")]);
    fault(&mut moved, "blind", (26, 27), vec![blind(1, "web-1")]);
    assert_eq!(found(&moved), [Promise::NoUnforcedMove]);
    fault(&mut moved, "partition", (5, 24), vec![Effect::Isolated { node: 3 }]);
    assert_eq!(found(&moved), []);
}

#[test]
fn maint_moves_and_drain_does_not() {
    for (state, expected) in [("maint", vec![]), ("drain", vec![Promise::NoUnforcedMove])] {
        let mut moved = history(Door::Own, &[(10, 1, "web-1", 5), (30, 2, "web-2", 6)]);
        operation(&mut moved, 15, admin("web-1", state), OperationResult::Done);
        assert_eq!(found(&moved), expected, "{state}");
    }
    // A wish without an answer may have been granted.
    let mut moved = history(Door::Own, &[(10, 1, "web-1", 5), (30, 2, "web-2", 6)]);
    operation(&mut moved, 3, admin("web-1", "maint"), OperationResult::Refused);
    assert_eq!(found(&moved), [Promise::NoUnforcedMove]);
    operation(&mut moved, 3, admin("web-1", "maint"), OperationResult::Unknown);
    assert_eq!(found(&moved), []);
    operation(&mut moved, 5, admin("web-1", "ready"), OperationResult::Done);
    assert_eq!(found(&moved), [Promise::NoUnforcedMove]);
}

#[test]
fn a_binding_that_was_lost_is_found_and_one_that_was_ended_is_not_missed() {
    let lost = || history(Door::Header, &[(10, 1, "web-1", 5), (11, 2, "web-1", 5), (30, 2, "web-1", 9)]);
    assert_eq!(found(&lost()), [Promise::Durability]);
    let mut ended = lost();
    let unbind = |epoch| Wish::Unbind { key: "k".to_owned(), epoch };
    operation(&mut ended, 15, unbind(4), OperationResult::Done);
    assert_eq!(found(&ended), [Promise::Durability], "the unbind was of an older epoch");
    operation(&mut ended, 15, unbind(5), OperationResult::Unknown);
    assert_eq!(found(&ended), []);
}

#[test]
fn an_operators_move_is_a_reason_and_so_is_a_rule_while_it_is_carried_out() {
    let moved = || history(Door::Header, &[(10, 1, "web-1", 5), (30, 2, "web-2", 9)]);
    let to = |epoch| Wish::Move { key: "k".to_owned(), epoch, to: "web-2".to_owned() };
    let mut by_hand = moved();
    operation(&mut by_hand, 15, to(4), OperationResult::Done);
    assert_eq!(found(&by_hand), [Promise::NoUnforcedMove], "the move was of an older epoch");
    operation(&mut by_hand, 15, to(5), OperationResult::Refused);
    assert_eq!(found(&by_hand), [Promise::NoUnforcedMove], "it was refused");
    operation(&mut by_hand, 15, to(5), OperationResult::Unknown);
    assert_eq!(found(&by_hand), []);

    let rule = |backend: &str| Wish::UnbindByRule { affinity: "a".to_owned(), backend: backend.to_owned() };
    for (at, backend, result, expected) in [
        (15, "web-1", OperationResult::Done, vec![]),
        (15, "web-2", OperationResult::Done, vec![Promise::NoUnforcedMove]),
        (5, "web-1", OperationResult::Done, vec![Promise::NoUnforcedMove]),
        (5, "web-1", OperationResult::Unknown, vec![]),
        (15, "web-1", OperationResult::Refused, vec![Promise::NoUnforcedMove]),
    ] {
        let mut by_rule = moved();
        operation(&mut by_rule, at, rule(backend), result);
        assert_eq!(found(&by_rule), expected, "{at} {backend} {result:?}");
    }
}

#[test]
fn a_session_that_is_not_where_it_was_revealed_is_found() {
    let mut revealed = quiet();
    let reveal = Outcome::Served {
        backend: "web-1".to_owned(),
        epoch: Some(5),
        key: None,
        revealed: Some("web-1--x".to_owned()),
    };
    revealed.add(visit(Door::Own, vec![attempt(1, 1, reveal.clone())]));
    assert_eq!(found(&revealed), []);
    revealed.add(visit(Door::Own, vec![attempt(2, 2, served("web-2", 6))]));
    assert_eq!(found(&revealed), [Promise::RevealedMeansCommitted]);
}

#[test]
fn what_must_not_be_revealed_is_found() {
    let reveal = |backend: &str, epoch| Outcome::Served {
        backend: backend.to_owned(),
        epoch,
        key: None,
        revealed: Some("web-1--x".to_owned()),
    };
    let leaked =
        Outcome::Refused { status: 503, error: "unknown".to_owned(), revealed: Some("x".to_owned()) };
    for outcome in [reveal("web-2", Some(5)), reveal("web-1", None), leaked] {
        let mut history = quiet();
        let mut attempts = vec![attempt(1, 1, outcome.clone())];
        attempts
            .extend(matches!(outcome, Outcome::Refused { .. }).then(|| attempt(2, 2, served("web-1", 5))));
        history.add(visit(Door::Own, attempts));
        assert_eq!(found(&history), [Promise::RevealedMeansCommitted], "{outcome:?}");
    }
}

#[test]
fn a_token_without_a_record_is_good_from_a_node_that_is_cut_off_and_from_no_other() {
    let token = Outcome::Served {
        backend: "web-1".to_owned(),
        epoch: None,
        key: None,
        revealed: Some("sealed".to_owned()),
    };
    let mut history = quiet();
    fault(&mut history, "deaf", (10, 20), vec![Effect::Isolated { node: 2 }]);
    history.add(visit(Door::Token, vec![attempt(2, 15, token.clone())]));
    assert_eq!(found(&history), []);
    history.add(visit(Door::Token, vec![attempt(1, 15, token)]));
    assert_eq!(found(&history), [Promise::RevealedMeansCommitted]);
}

#[test]
fn what_a_replica_lacks_or_has_otherwise_is_found() {
    let listed = |epoch, backend: &str| Listed {
        key: "k".to_owned(),
        epoch,
        backend: backend.to_owned(),
        cause: "placed".to_owned(),
    };
    let with = |sessions: [Vec<Listed>; 3]| {
        let mut history = history(Door::Header, &[(1, 1, "web-1", 5)]);
        for (node, sessions) in (1..).zip(sessions) {
            history.add(Event::Replica(Replica { at: 90 * SECOND, node, sessions }));
        }
        found(&history)
    };
    let good = || vec![listed(5, "web-1")];
    assert_eq!(with([good(), good(), good()]), []);
    assert_eq!(with([good(), vec![], good()]), [Promise::Durability, Promise::SameState]);
    let other = vec![listed(5, "web-2")];
    assert_eq!(with([good(), good(), other]), [Promise::Agreement, Promise::SameState]);
    let newer = || vec![listed(6, "web-2")];
    assert_eq!(with([newer(), newer(), newer()]), [Promise::Durability; 3]);
    let extra = vec![listed(5, "web-1"), Listed { key: "other".to_owned(), ..listed(3, "web-1") }];
    assert_eq!(with([good(), good(), extra]), [Promise::SameState]);
}

#[test]
fn two_states_at_one_index_are_found() {
    let standing = |node, applied, hash: &str| {
        let says = Says {
            role: "follower".to_owned(),
            term: 1,
            leader: 1,
            footing: "leased".to_owned(),
            applied,
            hash: hash.to_owned(),
            sessions: 0,
            readiness: "ready".to_owned(),
        };
        Event::Standing(Standing { at: SECOND, node, says: Some(says) })
    };
    let mut history = quiet();
    history.add(standing(1, 7, "a"));
    history.add(standing(2, 8, "b"));
    assert_eq!(found(&history), []);
    history.add(standing(3, 7, "c"));
    assert_eq!(found(&history), [Promise::SameState]);
}

#[test]
fn an_open_websocket_of_an_ended_epoch_is_found_after_the_grace() {
    let with = |at: u64| {
        let mut history = history(Door::Socket, &[(1, 1, "web-1", 5), (20, 2, "web-2", 6)]);
        fault(&mut history, "backend-pause", (15, 19), vec![away("web-1")]);
        let (began, ended) = (at * SECOND, at * SECOND + 1);
        let (session, backend) = ("s".to_owned(), "web-1".to_owned());
        history.add(Event::Echo(Echo { client: 1, session, node: 1, began, ended, backend, epoch: 5 }));
        found(&history)
    };
    assert_eq!(with(22), []);
    assert_eq!(with(27), [Promise::OneOwner]);
}

#[test]
fn an_error_outside_of_the_windows_is_found() {
    let with = |fresh, at: u64| {
        let mut history = quiet();
        fault(&mut history, "kill", (10, 20), vec![Effect::NodeAway { node: 1 }]);
        let attempts = vec![attempt(1, at, refused()), attempt(2, at, refused())];
        let (door, session) = (Door::Own, "s".to_owned());
        history.add(Event::Visit(Visit { client: 1, door, session, fresh, attempts }));
        history
    };
    for (fresh, at, allowed) in [
        (true, 9, false),
        (true, 11, true),
        (true, 15, false),
        (true, 21, true),
        (true, 30, false),
        (false, 11, false),
    ] {
        let expected = if allowed { vec![] } else { vec![Promise::NoErrorOutsideWindows] };
        assert_eq!(found(&with(fresh, at)), expected, "{fresh} {at}");
    }
    let felt = judge(&with(true, 11)).felt;
    assert_eq!((felt["kill"].times, felt["kill"].fresh, felt["kill"].longest), (1, 1, SECOND + 1000));
    // One node that serves is enough.
    let mut retried = quiet();
    retried.add(visit(Door::Own, vec![attempt(1, 50, refused()), attempt(2, 50, served("web-1", 5))]));
    assert_eq!(found(&retried), []);
}
