//! What counts as a conflict of a node that was cut off.

use stickler_core::ids::{BackendId, Epoch, NodeId};
use stickler_core::state::{Command, MoveReason, Rebind, Record, Served, ServedIsolated, SessionKey, Unbind};

use crate::world::World;

fn bind(world: &mut World, key: u128) -> (SessionKey, Epoch, BackendId) {
    let session = world.session(key);
    let place = world.place(session, None);
    world.commands(vec![place]);
    bound(world, session)
}

fn bound(world: &World, session: SessionKey) -> (SessionKey, Epoch, BackendId) {
    let Some(Record::Binding(binding)) = world.state.view().table.get(&session) else { panic!("bound") };
    (session, binding.epoch, binding.backend)
}

fn report(world: &mut World, served: &[(SessionKey, Epoch, BackendId)]) {
    let served = served.iter().map(|(session, epoch, backend)| Served {
        session: *session,
        epoch: *epoch,
        backend: *backend,
        requests: 3,
    });
    let report = ServedIsolated { node: NodeId(2), served: served.collect() };
    world.commands(vec![Command::ServedIsolated(report)]);
}

/// Sessions in conflict, each with the binding that counts.
fn conflicts(world: &World) -> Vec<(SessionKey, Option<(Epoch, BackendId)>)> {
    let view = world.state.view();
    let newest = view.catalog.conflicts.newest.iter();
    newest.map(|conflict| (conflict.session, conflict.instead)).collect()
}

#[test]
fn what_was_served_by_the_epoch_that_still_counts_is_no_conflict() {
    let mut world = World::new(0);
    let served = bind(&mut world, 1);
    report(&mut world, &[served]);
    let unrecorded = (served.0, Epoch(0), served.2);
    let unknown = (world.session(9), Epoch(0), served.2);
    report(&mut world, &[unrecorded, unknown]);
    assert_eq!(conflicts(&world), []);
}

#[test]
fn what_was_moved_or_ended_meanwhile_is_a_conflict_and_counts_for_ever() {
    let mut world = World::new(0);
    let (moved, ended) = (bind(&mut world, 1), bind(&mut world, 2));
    let candidate = (0..6).map(|number| world.backend(number)).find(|backend| {
        let catalog = world.state.view().catalog;
        *backend != moved.2 && catalog.backends[backend].pool == catalog.backends[&moved.2].pool
    });
    let rebind = Rebind { session: moved.0, epoch: moved.1, reason: MoveReason::Operator, candidate };
    let unbind = Unbind { session: ended.0, epoch: ended.1 };
    world.commands(vec![Command::Rebind(rebind), Command::Unbind(unbind)]);
    report(&mut world, &[moved, ended]);
    let (_, epoch, backend) = bound(&world, moved.0);
    assert_ne!(backend, moved.2);
    assert_eq!(conflicts(&world), [(moved.0, Some((epoch, backend))), (ended.0, None)]);
    report(&mut world, &[moved, ended]);
    assert_eq!(conflicts(&world).len(), 2, "a report that comes twice counts once");
    let others: Vec<_> = (100..500).map(|key| (world.session(key), Epoch(1), moved.2)).collect();
    report(&mut world, &others);
    let view = world.state.view();
    assert_eq!((view.catalog.conflicts.total, view.catalog.conflicts.newest.len()), (402, 256));
}

#[test]
fn a_session_that_ended_so_long_ago_that_it_is_forgotten_is_a_conflict_still() {
    let mut world = World::new(0);
    let forgotten = (world.session(5), Epoch(3), world.backend(0));
    report(&mut world, &[forgotten]);
    assert_eq!(conflicts(&world), [(forgotten.0, None)]);
}
