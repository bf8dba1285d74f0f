//! Which sessions a rule means, and what is counted of them.

use std::collections::BTreeSet;
use std::time::Duration;

use stickler_core::by_rule::{Deed, Given, Rule, Tally};
use stickler_core::ids::LogIndex;
use stickler_core::state::{Command, Origin, Outcome, RETURN_WINDOW, SessionKey};

use crate::world::{World, live};

const SECOND: Duration = Duration::from_secs(1);
const ALL: Rule = Rule { affinity: None, backend: None, older_than: None };

/// A session of the newest affinity.
fn cart(world: &mut World, key: u128) -> SessionKey {
    let session = world.session(key);
    adopt(world, session, 0)
}

fn adopt(world: &mut World, session: SessionKey, backend: usize) -> SessionKey {
    let bind = world.bind(session, Origin::Adopt { backend: world.backend(backend) });
    world.commands(vec![bind]);
    session
}

fn given(world: &World) -> Given {
    Given { epoch: world.state.view().epoch, time: world.time() }
}

fn meant(world: &World, rule: Rule, given: Given) -> BTreeSet<SessionKey> {
    let view = world.state.view();
    let found = rule.find(given, &view, usize::MAX);
    assert_eq!(rule.count(given, &view), found.len() as u64);
    found.into_iter().map(|(session, _)| session).collect()
}

#[test]
fn a_rule_means_what_all_of_its_parts_mean() {
    let mut world = World::new(0);
    let (user, cart_affinity) = (world.affinities[0], world.affinities[1]);
    let of = |affinity, key| SessionKey { affinity, ..World::new(0).session(key) };
    let old_1 = adopt(&mut world, of(cart_affinity, 1), 0);
    let old_2 = adopt(&mut world, of(cart_affinity, 2), 1);
    let old_user = adopt(&mut world, of(user, 3), 0);
    world.wait(SECOND);
    let young = adopt(&mut world, of(cart_affinity, 4), 0);

    let now = given(&world);
    let web_1 = Some(world.backend(0));
    assert_eq!(meant(&world, ALL, now), [old_1, old_2, old_user, young].into());
    assert_eq!(
        meant(&world, Rule { affinity: Some(cart_affinity), ..ALL }, now),
        [old_1, old_2, young].into()
    );
    assert_eq!(meant(&world, Rule { backend: web_1, ..ALL }, now), [old_1, old_user, young].into());
    let old = Rule { older_than: Some(SECOND / 2), ..ALL };
    assert_eq!(meant(&world, old, now), [old_1, old_2, old_user].into());
    assert_eq!(
        meant(&world, Rule { affinity: Some(cart_affinity), backend: web_1, ..old }, now),
        [old_1].into()
    );
    assert_eq!(meant(&world, Rule { older_than: Some(SECOND), ..ALL }, now), [].into(), "more than that");
    assert_eq!(ALL.find(now, &world.state.view(), 3).len(), 3);
}

#[test]
fn a_rule_does_not_mean_what_came_or_moved_after_it_was_given() {
    let mut world = World::new(0);
    let stays = cart(&mut world, 1);
    let moves = cart(&mut world, 2);
    let before = given(&world);
    cart(&mut world, 3);
    let epoch = world.state.view().table.get(&moves).unwrap().epoch();
    let to = world.backend(1);
    world.commands(vec![Deed::Move { to }.command(moves, epoch)]);
    assert_eq!(meant(&world, ALL, before), [stays].into());
}

#[test]
fn what_is_done_by_rule_is_compared_on_the_epoch_and_counted_by_its_outcome() {
    let mut world = World::new(0);
    let sessions: Vec<SessionKey> = (1..=4).map(|key| cart(&mut world, key)).collect();
    let now = given(&world);
    let found = ALL.find(now, &world.state.view(), usize::MAX);
    let (from, to) = (world.backend(0), world.backend(1));

    // One moves and one ends after the rule has looked.
    world.commands(vec![Deed::Move { to }.command(found[0].0, found[0].1)]);
    world.commands(vec![Deed::Unbind.command(found[1].0, found[1].1)]);
    let commands: Vec<Command> =
        found.iter().map(|(session, epoch)| Deed::Unbind.command(*session, *epoch)).collect();
    let applied = world.commands(commands);
    let mut tally = Tally::default();
    applied.outcomes.iter().for_each(|outcome| tally.count(applied.index, outcome));
    assert_eq!((tally.done, tally.superseded, tally.gone, tally.index), (2, 1, 1, applied.index));
    assert_eq!(live(&applied.after, sessions[0]).unwrap().backend, to, "left alone");

    let session = cart(&mut world, 9);
    let epoch = world.state.view().epoch;
    let refused = world.commands(vec![Deed::Move { to: from }.command(session, epoch)]);
    tally.count(refused.index, &refused.outcomes[0]);
    assert_eq!((tally.refused, tally.done), (1, 2));
    tally.count(LogIndex(1), &Outcome::Noted);
    assert_eq!(tally.index, refused.index, "never back");
}

#[test]
fn only_tokens_that_could_return_are_marked() {
    let rule = |older_than| Rule { older_than, ..ALL };
    assert_eq!(rule(None).mark().unwrap().age, 0);
    assert_eq!(rule(Some(SECOND)).mark().unwrap().age, 1000);
    assert_eq!(rule(Some(RETURN_WINDOW)).mark(), None);
}
