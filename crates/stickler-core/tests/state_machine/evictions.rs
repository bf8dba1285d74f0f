//! What a full affinity or table makes room with, by example. The property is held with the other commands.

use std::sync::Arc;
use std::time::Duration;

use stickler_core::document::cluster::{ClusterDocument, WhenFull};
use stickler_core::state::{
    ApplyDocument, BindOutcome, BindRefusal, Command, Outcome, Record, Removal, SessionKey, Touch, Use,
};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// A world whose newest affinity may have three sessions, and evicts.
fn evicting() -> World {
    World::new(1 << 10 | 1 << 15)
}

fn bind(world: &mut World, key: u128) -> Result<SessionKey, BindRefusal> {
    let session = world.session(key);
    let place = world.place(session, None);
    match world.commands(vec![place]).outcomes.remove(0) {
        Outcome::Bind(BindOutcome::Bound { .. }) => Ok(session),
        Outcome::Bind(BindOutcome::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

fn is_bound(world: &World, session: SessionKey) -> bool {
    matches!(world.state.view().table.get(&session), Some(Record::Binding(_)))
}

fn use_now(world: &mut World, session: SessionKey) {
    let Some(Record::Binding(binding)) = world.state.view().table.get(&session) else { panic!("bound") };
    world.commands(vec![Command::Touch(Touch { uses: vec![Use { session, epoch: binding.epoch, age: 0 }] })]);
}

/// Replaces the document by a change of the one that is there.
fn change(world: &mut World, change: impl FnOnce(&mut ClusterDocument)) {
    let catalog = world.state.view().catalog;
    let mut document = ClusterDocument::clone(Arc::as_ref(catalog.document.as_ref().unwrap()));
    change(&mut document);
    let apply = ApplyDocument { document, expected: catalog.revision, removal: Removal::Now };
    world.commands(vec![Command::ApplyDocument(Box::new(apply))]);
}

#[test]
fn a_new_session_takes_the_place_of_the_one_that_was_not_used_for_longest() {
    let mut world = evicting();
    let sessions: Vec<_> = (1..=3)
        .map(|key| {
            world.wait(SECOND / 10);
            bind(&mut world, key).unwrap()
        })
        .collect();
    world.wait(SECOND / 10);
    use_now(&mut world, sessions[0]);
    let fourth = bind(&mut world, 4).unwrap();
    let bound: Vec<_> = sessions.iter().map(|session| is_bound(&world, *session)).collect();
    assert_eq!((bound, is_bound(&world, fourth)), (vec![true, false, true], true));
    assert_eq!(world.state.view().counts.evicted_from(fourth.affinity), 1);
}

#[test]
fn who_evicts_is_told_by_the_document_and_takes_effect_at_once() {
    let mut world = World::new(1 << 10);
    for key in 1..=3 {
        bind(&mut world, key).unwrap();
        world.wait(SECOND / 10);
    }
    assert_eq!(bind(&mut world, 4), Err(BindRefusal::AffinityFull));
    let set = |when_full| {
        move |document: &mut ClusterDocument| {
            document.affinities.last_mut().unwrap().when_full = when_full;
            document.source.push('.');
        }
    };
    change(&mut world, set(WhenFull::EvictIdlest));
    bind(&mut world, 4).unwrap();
    assert!(!is_bound(&world, world.session(1)), "sessions from before count");
    change(&mut world, set(WhenFull::Refuse));
    assert_eq!(bind(&mut world, 5), Err(BindRefusal::AffinityFull));
}

#[test]
fn a_full_table_grows_by_the_memory_of_what_it_evicts_and_no_further() {
    // Six bindings, eviction, and no cap of the affinity's own.
    let mut world = World::new(1 << 13 | 1 << 15);
    let outcomes: Vec<_> = (0..12).map(|key| bind(&mut world, key).err()).collect();
    let full = Some(BindRefusal::TableFull);
    assert_eq!(outcomes, [vec![None; 7], vec![full; 5]].concat());
    assert_eq!(world.state.view().table.len(), 7);
    world.wait(4 * SECOND);
    assert_eq!(bind(&mut world, 20).err(), None, "what was evicted is forgotten");
}

#[test]
fn nobody_is_evicted_where_that_makes_no_room() {
    let mut world = World::new(1 << 15);
    for key in 0..9 {
        bind(&mut world, key).unwrap();
    }
    let pool = world.state.view().catalog.pools[0];
    let used = |world: &World| {
        let view = world.state.view();
        let backends = view.catalog.backends_of(pool);
        backends.map(|(id, _)| view.counts.of_backend(id)).collect::<Vec<_>>()
    };
    let before = used(&world);
    assert!(before.iter().all(|sessions| *sessions > 1), "{before:?}");
    change(&mut world, |document| {
        document.source.push('.');
        for backend in document.pools.iter_mut().flat_map(|pool| &mut pool.backends) {
            backend.max_sessions = Some(1);
        }
    });
    assert_eq!(bind(&mut world, 20), Err(BindRefusal::BackendFull));
    assert_eq!(used(&world), before);
}
