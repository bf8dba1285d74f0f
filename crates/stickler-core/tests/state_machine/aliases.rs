//! New identifiers of a session that is bound.

use stickler_core::ids::BackendId;
use stickler_core::state::{
    BindOutcome, BindRefusal, Binding, Cause, Command, Expire, MoveReason, Origin, Outcome, Rebind, Record,
    SessionKey, Unbind,
};

use crate::world::{Applied, World, records};

fn bound(applied: &Applied) -> (SessionKey, Binding, bool) {
    match applied.outcomes[0] {
        Outcome::Bind(BindOutcome::Bound { session, binding, created }) => (session, binding, created),
        ref other => panic!("{other:?}"),
    }
}

fn refused(applied: &Applied) -> BindRefusal {
    match applied.outcomes[0] {
        Outcome::Bind(BindOutcome::Refused(refusal)) => refusal,
        ref other => panic!("{other:?}"),
    }
}

fn inherit(world: &World, key: u128, from: u128) -> Command {
    let from = world.state.view().locate(world.session(from)).unwrap();
    let Binding { epoch, backend, .. } = from.binding;
    world.bind(world.session(key), Origin::Inherit { from: from.session.key, epoch, backend })
}

fn expire_all(world: &mut World) {
    let sessions =
        records(&world.state.view()).into_iter().map(|(session, record)| (session, record.epoch())).collect();
    world.commands(vec![Command::Expire(Expire { sessions })]);
}

/// A session with key 1, renamed to key 2.
fn renamed(shape: u16) -> (World, Binding) {
    let mut world = World::new(shape);
    let bind = world.place(world.session(1), None);
    let (_, first, _) = bound(&world.commands(vec![bind]));
    let bind = inherit(&world, 2, 1);
    let (session, binding, created) = bound(&world.commands(vec![bind]));
    assert_eq!((session, binding.backend, created), (world.session(2), first.backend, true));
    assert_eq!((binding.cause, binding.bound_at), (Cause::Inherited, first.bound_at));
    (world, binding)
}

#[test]
fn the_old_identifier_follows_the_session_through_moves_and_dies_after_its_grace() {
    let (mut world, binding) = renamed(0);
    let (old, new) = (world.session(1), world.session(2));
    world.verdict(binding.backend, false);
    let reason = MoveReason::BackendDown;
    let moved = world.commands(vec![Command::Rebind(Rebind {
        session: new,
        epoch: binding.epoch,
        reason,
        candidate: None,
    })]);
    let found = world.state.view().locate(old).unwrap();
    assert_eq!(found.session, new);
    assert_ne!(found.binding.backend, binding.backend);
    assert_eq!(found.usable_from, moved.index, "the move is waited for under the old name, too");
    world.wait(std::time::Duration::from_millis(2999));
    expire_all(&mut world);
    assert!(world.state.view().locate(old).is_some(), "within its grace");
    world.wait(std::time::Duration::from_millis(1));
    expire_all(&mut world);
    assert!(world.state.view().locate(old).is_none());
    assert!(world.state.view().locate(new).is_some());
}

#[test]
fn when_the_session_ends_its_old_identifier_ends_with_it() {
    let (mut world, binding) = renamed(0);
    let (old, new) = (world.session(1), world.session(2));
    let early = world.place(old, None);
    let ended = world.commands(vec![Command::Unbind(Unbind { session: new, epoch: binding.epoch })]);
    assert_eq!(world.state.view().locate(old), None);
    assert_eq!(refused(&world.commands(vec![early])), BindRefusal::Ended);
    let bind = world.place(old, None);
    let (_, next, _) = bound(&world.commands(vec![bind]));
    assert_eq!(next.usable_from, ended.index, "a node may route the old identifier until then");
}

#[test]
fn an_application_that_goes_back_to_an_older_identifier_keeps_its_session() {
    let (mut world, binding) = renamed(0);
    let (old, new) = (world.session(1), world.session(2));
    let bind = inherit(&world, 1, 2);
    let applied = world.commands(vec![bind.clone()]);
    let (session, back, created) = bound(&applied);
    assert_eq!((session, back.backend, created), (old, binding.backend, true));
    assert_eq!(back.usable_from, applied.index);
    assert!(back.epoch > binding.epoch);
    assert!(!bound(&world.commands(vec![bind])).2, "a retry finds it");
    assert_eq!(world.state.view().locate(new).unwrap().session, old);
    world.wait(std::time::Duration::from_secs(4));
    expire_all(&mut world);
    assert!(
        world.state.view().locate(old).is_some(),
        "the identifier in use outlives the grace of the other"
    );
    assert_eq!(world.state.view().locate(new), None);
}

#[test]
fn of_two_identifiers_given_at_once_the_second_is_a_session_of_its_own() {
    let mut world = World::new(0);
    let bind = world.place(world.session(1), None);
    let (_, first, _) = bound(&world.commands(vec![bind]));
    let (one, other) = (inherit(&world, 2, 1), inherit(&world, 3, 1));
    world.commands(vec![one]);
    let (_, second, _) = bound(&world.commands(vec![other]));
    assert_eq!((second.backend, second.cause), (first.backend, Cause::Adopted));
    assert_eq!(world.state.view().locate(world.session(1)).unwrap().session, world.session(2));
}

#[test]
fn a_rename_passes_a_full_backend_but_a_session_of_its_own_does_not() {
    // Two sessions at most on the first backend.
    let mut world = World::new(1 << 3);
    let backend: BackendId = *world
        .state
        .view()
        .catalog
        .backends
        .iter()
        .find(|(_, backend)| backend.max_sessions == Some(2))
        .unwrap()
        .0;
    for key in [1, 2] {
        let bind = world.bind(world.session(key), Origin::Adopt { backend });
        bound(&world.commands(vec![bind]));
    }
    let (rename, stale) = (inherit(&world, 3, 1), inherit(&world, 4, 1));
    bound(&world.commands(vec![rename]));
    assert_eq!(refused(&world.commands(vec![stale])), BindRefusal::BackendFull);
    assert_eq!(world.state.view().counts.of_backend(backend), 2);
}

#[test]
fn a_chain_of_renames_is_followed_for_eight_steps() {
    let mut world = World::new(0);
    let bind = world.place(world.session(0), None);
    world.commands(vec![bind]);
    for key in 1..=9 {
        let bind = inherit(&world, key, key - 1);
        bound(&world.commands(vec![bind]));
    }
    let found = |key| world.state.view().locate(world.session(key)).map(|found| found.session);
    assert_eq!(found(0), None);
    for key in 1..=9 {
        assert_eq!(found(key), Some(world.session(9)));
    }
    // Whoever comes by the lost name gets a new session, after every node has seen the last rename.
    let Some(Record::Alias(last)) = world.state.view().table.get(&world.session(8)) else {
        panic!("renamed")
    };
    let bind = world.place(world.session(0), None);
    assert_eq!(bound(&world.commands(vec![bind])).1.usable_from, last.changed_at);
}
