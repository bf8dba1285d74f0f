//! Backends come and go without taking sessions along.

use std::time::Duration;

use proptest::prelude::*;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::ids::BackendId;
use stickler_core::state::{
    ApplyDocument, BackendRecord, Bind, BindOutcome, Binding, Command, Discover, Finding, MoveReason, Origin,
    Outcome, Rebind, RebindOutcome, Removal, Retire, Source,
};

use crate::config;
use crate::documents::document;
use crate::proposals::discovered;
use crate::steps::steps;
use crate::world::{Applied, Entry, World, count, live, run};

/// Bit 7 leaves out all pools but "shop".
const SHOP: u16 = 1 << 7;

fn apply(world: &mut World, document: ClusterDocument, removal: Removal) {
    let expected = world.state.view().catalog.revision;
    let apply = ApplyDocument { document, expected, removal };
    world.commands(vec![Command::ApplyDocument(Box::new(apply))]);
}

/// The document without the first backend of the pool "shop".
fn smaller() -> ClusterDocument {
    let mut document = document(SHOP);
    document.pools[0].backends.remove(0);
    document
}

fn called(world: &World, name: &str) -> Vec<(BackendId, BackendRecord)> {
    let view = world.state.view();
    let called = view.catalog.backends.iter().filter(|(_, record)| record.name == name);
    called.map(|(id, record)| (*id, record.clone())).collect()
}

fn only(world: &World, name: &str) -> (BackendId, BackendRecord) {
    let mut called = called(world, name);
    assert_eq!(called.len(), 1, "{name}: {called:?}");
    called.remove(0)
}

fn bound(world: &mut World, key: u128, backend: BackendId) -> Binding {
    let (session, command) = (world.session(key), world.place(world.session(key), Some(backend)));
    live(&world.commands(vec![command]).after, session).unwrap()
}

fn leave(world: &mut World, binding: &Binding, key: u128) -> RebindOutcome {
    let (session, epoch) = (world.session(key), binding.epoch);
    let rebind = Rebind { session, epoch, reason: MoveReason::BackendRemoved, candidate: None };
    match world.commands(vec![Command::Rebind(rebind)]).outcomes.remove(0) {
        Outcome::Rebind(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn retire(world: &mut World) -> Applied {
    let backends = world.state.view().catalog.backends.keys().copied().collect();
    world.commands(vec![Command::Retire(Retire { backends })])
}

#[test]
fn a_backend_that_the_document_names_no_more_keeps_its_sessions_until_its_time_is_over() {
    let mut world = World::new(SHOP);
    let (shop_1, _) = only(&world, "shop-1");
    let binding = bound(&mut world, 1, shop_1);
    apply(&mut world, smaller(), Removal::Drain { deadline: None });
    let (same, record) = only(&world, "shop-1");
    assert_eq!(same, shop_1);
    assert!(!record.takes_new() && record.keeps_bound(world.time()));
    let view = world.state.view();
    assert_eq!(view.locate(world.session(1)).unwrap().binding, binding);
    assert!(matches!(leave(&mut world, &binding, 1), RebindOutcome::Refused(_)), "it may stay");
    retire(&mut world);
    assert_eq!(only(&world, "shop-1").0, shop_1, "somebody is on it");

    world.wait(Duration::from_secs(3));
    assert!(matches!(leave(&mut world, &binding, 1), RebindOutcome::Moved(moved) if moved.backend != shop_1));
    retire(&mut world);
    assert_eq!(called(&world, "shop-1"), [], "it has left");
}

#[test]
fn a_backend_without_sessions_is_gone_when_no_response_can_begin_one_there() {
    let mut world = World::new(SHOP);
    apply(&mut world, smaller(), Removal::Drain { deadline: Some(3_600_000) });
    let view = world.state.view();
    let pool = view.catalog.pool(view.catalog.pools[0]).unwrap();
    world.wait(pool.response_timeout);
    retire(&mut world);
    assert!(only(&world, "shop-1").1.leaving.is_some());
    // And for what that begins to be bound.
    world.wait(Duration::from_secs(3));
    retire(&mut world);
    assert_eq!(called(&world, "shop-1"), []);
}

#[test]
fn a_forced_removal_leaves_those_alone_that_were_leaving_before() {
    let mut world = World::new(SHOP);
    let (shop_1, _) = only(&world, "shop-1");
    let binding = bound(&mut world, 1, shop_1);
    apply(&mut world, smaller(), Removal::Drain { deadline: Some(3_600_000) });
    let leaving = only(&world, "shop-1").1.leaving;
    let mut smallest = smaller();
    smallest.pools[0].backends.clear();
    apply(&mut world, smallest, Removal::Now);
    assert_eq!(called(&world, "shop-2"), [], "it was named until now");
    assert_eq!(only(&world, "shop-1").1.leaving, leaving);
    assert!(matches!(leave(&mut world, &binding, 1), RebindOutcome::Refused(_)), "it may stay");
}

#[test]
fn a_forced_removal_lets_sessions_go_at_once() {
    let mut world = World::new(SHOP);
    let (shop_1, _) = only(&world, "shop-1");
    let binding = bound(&mut world, 1, shop_1);
    apply(&mut world, smaller(), Removal::Now);
    assert_eq!(called(&world, "shop-1"), []);
    assert!(matches!(leave(&mut world, &binding, 1), RebindOutcome::Moved(_)));
}

#[test]
fn a_backend_that_is_named_again_is_the_same_with_its_sessions() {
    let mut world = World::new(SHOP);
    let (shop_1, _) = only(&world, "shop-1");
    let binding = bound(&mut world, 1, shop_1);
    apply(&mut world, smaller(), Removal::Drain { deadline: None });
    world.wait(Duration::from_secs(1));
    apply(&mut world, document(SHOP), Removal::Drain { deadline: None });
    let (same, record) = only(&world, "shop-1");
    assert_eq!((same, record.leaving), (shop_1, None));
    assert!(record.takes_new());
    world.wait(Duration::from_secs(30));
    retire(&mut world);
    assert_eq!(world.state.view().locate(world.session(1)).unwrap().binding, binding);
}

#[test]
fn a_name_with_a_new_address_is_a_new_backend_beside_the_old_one() {
    let mut world = World::new(SHOP);
    let (before, _) = only(&world, "shop-1");
    bound(&mut world, 1, before);
    apply(&mut world, document(SHOP | 1 << 2), Removal::Drain { deadline: None });
    let both = called(&world, "shop-1");
    assert_eq!(both.len(), 2);
    let (_, old) = both.iter().find(|(id, _)| *id == before).unwrap();
    let (new, record) = both.iter().find(|(id, _)| *id != before).unwrap();
    assert!(old.leaving.is_some() && record.leaving.is_none());
    assert_eq!((old.address.port(), record.address.port()), (8, 9));
    let pool = record.pool;
    assert_eq!(world.state.view().catalog.backend_by_route(pool, "shop-1"), Some(*new));
}

#[test]
fn a_backend_that_says_where_it_was_is_the_same_with_its_sessions() {
    let mut world = World::new(SHOP);
    let (shop_1, _) = only(&world, "shop-1");
    let binding = bound(&mut world, 1, shop_1);
    apply(&mut world, document(SHOP | 1 << 2 | 1 << 10), Removal::Now);
    let (same, record) = only(&world, "shop-1");
    assert_eq!((same, record.address.port()), (shop_1, 9));
    assert!(record.takes_new(), "it is as healthy as it was");
    assert_eq!(world.state.view().locate(world.session(1)).unwrap().binding, binding);
}

fn discover(world: &mut World, numbers: &[u8], behind: u64) {
    let view = world.state.view();
    let pool = view.catalog.pools[0];
    let mut expected = view.catalog.discovered[&pool].revision;
    expected.0 -= behind;
    let backends = numbers.iter().map(|number| discovered(*number)).collect();
    world.commands(vec![Command::Discover(Discover { pool, expected, backends })]);
}

#[test]
fn what_a_name_leads_to_comes_beside_what_the_document_names_and_leaves_as_slowly() {
    let mut world = World::new(SHOP);
    discover(&mut world, &[2, 3], 0);
    let (ip_2, record) = only(&world, "ip-2");
    assert_eq!(record.source, Source::Discovery);
    assert!(!record.takes_new(), "nobody has checked it");
    for command in world.all_find(ip_2, &Finding::UP) {
        world.commands(vec![command]);
    }
    let binding = bound(&mut world, 1, ip_2);
    assert_eq!(binding.backend, ip_2);
    discover(&mut world, &[3], 0);
    assert!(only(&world, "ip-2").1.leaving.is_some());
    discover(&mut world, &[2, 3], 0);
    let (same, record) = only(&world, "ip-2");
    assert_eq!((same, record.leaving), (ip_2, None));
    assert_eq!(only(&world, "shop-2").1.source, Source::Document);
}

#[test]
fn an_answer_that_comes_after_a_later_one_changes_nothing() {
    let mut world = World::new(SHOP);
    discover(&mut world, &[2], 0);
    discover(&mut world, &[3], 1);
    assert_eq!(called(&world, "ip-3"), []);
    apply(&mut world, document(SHOP), Removal::Now);
    discover(&mut world, &[3], 1);
    assert_eq!(called(&world, "ip-3"), [], "it was asked for by another document");
    only(&world, "ip-2");
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn a_backend_goes_only_when_it_was_forced_or_its_leave_is_over(shape in any::<u16>(), steps in steps(60)) {
        run(shape, &steps, |_, applied| {
            let Entry::Batch(batch) = &applied.entry else { return };
            let (before, after) = (&applied.view_before.catalog, &applied.view.catalog);
            for (id, gone) in before.backends.iter().filter(|(id, _)| !after.backends.contains_key(id)) {
                let empty = count(&applied.before, |_, binding| binding.backend == *id) == 0;
                let may_go = batch.commands.iter().any(|command| match command {
                    Command::ApplyDocument(apply) => {
                        let forced = apply.removal == Removal::Now && gone.leaving.is_none();
                        forced || after.pool(gone.pool).is_none()
                    }
                    Command::Retire(_) => gone.leaving.is_some_and(|leaving| {
                        let now = applied.view.time;
                        let responses = before.pool(gone.pool).unwrap().response_timeout;
                        leaving.until <= now || (empty && leaving.since + responses < now)
                    }),
                    _ => false,
                });
                assert!(may_go, "{gone:?} went by {:?}", batch.commands);
            }
        });
    }

    #[test]
    fn an_id_names_one_backend_for_ever(shape in any::<u16>(), steps in steps(60)) {
        let mut known = std::collections::BTreeMap::new();
        run(shape, &steps, |_, applied| {
            for (id, record) in &applied.view.catalog.backends {
                let name = (record.pool, record.name.clone());
                let first = known.entry(*id).or_insert_with(|| (name.clone(), record.address));
                assert_eq!(first.0, name);
                let written = applied.view.catalog.document.iter().flat_map(|document| &document.pools);
                let moved = written.flat_map(|pool| &pool.backends).any(|backend| {
                    backend.name == record.name && backend.moved_from == Some(first.1)
                });
                let stays = first.1 == record.address || record.leaving.is_some();
                assert!(stays || moved, "{first:?} is at {}", record.address);
                first.1 = record.address;
            }
        });
    }

    #[test]
    fn no_backend_gets_more_new_sessions_than_its_pool_s_bound(shape in any::<u16>(), steps in steps(60)) {
        // With the bound, without slow starts and evictions.
        run((shape | 1 << 3) & !(1 << 9) & !(1 << 15), &steps, |_, applied| {
            let Entry::Batch(batch) = &applied.entry else { return };
            let [Command::Bind(Bind { origin: Origin::Place { pool, .. }, .. })] = batch.commands[..] else { return };
            let Some(Outcome::Bind(BindOutcome::Bound { binding, created: true, .. })) = applied.outcomes.first()
            else {
                return;
            };
            let policy = applied.view.catalog.pool(pool).unwrap();
            let Some(percent) = policy.bounded_load.filter(|_| policy.slow_start.is_none()) else { return };
            let on = |id: BackendId| count(&applied.before, |_, binding| binding.backend == id);
            let takes = |(id, record): &(BackendId, &BackendRecord)| {
                record.takes_new() && record.max_sessions.is_none_or(|most| on(*id) < most)
            };
            let taking: Vec<_> = applied.view.catalog.backends_of(pool).filter(takes).collect();
            let total: u64 = taking.iter().map(|(id, _)| on(*id)).sum::<u64>() + 1;
            let weights: u64 = taking.iter().map(|(_, record)| u64::from(record.weight)).sum();
            let weight = u64::from(applied.view.catalog.backends[&binding.backend].weight);
            let most = (u64::from(percent) * total * weight).div_ceil(100 * weights);
            assert!(on(binding.backend) < most, "it had {} of {total}", on(binding.backend));
        });
    }
}
