//! Marks: tokens without a record that are too old to bring a session back.

use std::time::Duration;

use stickler_core::ids::{AffinityId, BackendId};
use stickler_core::state::{Command, MarkOutcome, NotBefore, Outcome, RETURN_WINDOW};
use stickler_core::time::ClusterTime;

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn mark(
    world: &mut World,
    affinity: Option<AffinityId>,
    backend: Option<BackendId>,
    age: u64,
) -> MarkOutcome {
    match world.commands(vec![Command::NotBefore(NotBefore { affinity, backend, age })]).outcomes.remove(0) {
        Outcome::Marked(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn not_before(world: &World, affinity: AffinityId, backend: BackendId) -> ClusterTime {
    world.state.view().catalog.not_before(affinity, backend)
}

#[test]
fn a_mark_covers_what_it_names_and_nothing_else() {
    let mut world = World::new(0);
    let [user, cart] = [0, 1].map(|place| world.affinities[place]);
    let [web_1, web_2] = [0, 1].map(|number| world.backend(number));
    assert_eq!(not_before(&world, cart, web_1), ClusterTime(0));

    world.wait(SECOND);
    let first = world.time();
    assert_eq!(mark(&mut world, Some(cart), Some(web_1), 0), MarkOutcome::Marked(first));
    assert_eq!(not_before(&world, cart, web_1), first);
    assert_eq!(not_before(&world, cart, web_2), ClusterTime(0));
    assert_eq!(not_before(&world, user, web_1), ClusterTime(0));

    world.wait(SECOND);
    let second = world.time();
    mark(&mut world, None, Some(web_1), 0);
    assert_eq!(not_before(&world, cart, web_1), second, "the youngest that covers it counts");
    assert_eq!(not_before(&world, user, web_1), second);
    assert_eq!(not_before(&world, user, web_2), ClusterTime(0));

    world.wait(SECOND);
    let third = world.time();
    mark(&mut world, None, None, 0);
    assert_eq!(not_before(&world, user, web_2), third);
}

#[test]
fn a_mark_may_lie_in_the_past_and_never_grows_older() {
    let mut world = World::new(0);
    let (cart, web_1) = (world.affinities[1], world.backend(0));
    world.wait(SECOND * 10);
    let now = world.time();
    mark(&mut world, Some(cart), None, 4000);
    assert_eq!(not_before(&world, cart, web_1), now - SECOND * 4);
    mark(&mut world, Some(cart), None, 1000);
    assert_eq!(not_before(&world, cart, web_1), now - SECOND);
    mark(&mut world, Some(cart), None, 8000);
    assert_eq!(not_before(&world, cart, web_1), now - SECOND);
    assert_eq!(world.state.view().catalog.marks.len(), 1);
}

#[test]
fn a_mark_lasts_as_long_as_a_token_could_return_and_no_longer() {
    let mut world = World::new(0);
    let (cart, web_1) = (world.affinities[1], world.backend(0));
    world.wait(SECOND);
    let marked = world.time();
    mark(&mut world, Some(cart), Some(web_1), 0);
    world.wait(RETURN_WINDOW);
    world.commands(Vec::new());
    assert_eq!(not_before(&world, cart, web_1), marked);
    world.wait(Duration::from_millis(1));
    world.commands(Vec::new());
    assert!(world.state.view().catalog.marks.is_empty());
}

#[test]
fn marks_have_a_limit_with_a_name() {
    let mut world = World::new(0);
    let mut kept = 0;
    while let MarkOutcome::Marked(_) = mark(&mut world, None, Some(BackendId(kept)), 0) {
        kept += 1;
        assert!(kept < 100_000, "marks have no limit");
    }
    assert_eq!(world.state.view().catalog.marks.len() as u64, kept);
    let known = mark(&mut world, None, Some(BackendId(0)), 0);
    assert!(matches!(known, MarkOutcome::Marked(_)), "one that is there needs no room");
    world.wait(RETURN_WINDOW + SECOND);
    assert!(matches!(mark(&mut world, None, None, 0), MarkOutcome::Marked(_)));
}

#[test]
fn a_node_that_lacks_a_mark_is_seen_to_differ() {
    let (mut one, mut other) = (World::new(0), World::new(0));
    mark(&mut one, None, None, 0);
    other.commands(Vec::new());
    assert_ne!(one.state.hash(), other.state.hash());
}
