//! Moves of live bindings, and the operators' part in them.

use stickler_core::ids::{BackendId, PoolId};
use stickler_core::state::{
    Admin, ApplyDocument, BindOutcome, BindRefusal, Command, MoveReason, Origin, Outcome, Rebind,
    RebindOutcome, RebindRefusal, Removal, SetAdmin,
};

use crate::documents::document;
use crate::proposals::answer;
use crate::world::{World, live};

fn set_admin(world: &mut World, backend: BackendId, admin: Admin) {
    let expected = world.state.view().catalog.backends[&backend].revision;
    world.commands(vec![Command::SetAdmin(SetAdmin { backend, admin, expected })]);
}

fn apply(world: &mut World, shape: u16) {
    let expected = world.state.view().catalog.revision;
    world.commands(vec![Command::ApplyDocument(Box::new(ApplyDocument {
        document: document(shape),
        expected,
        removal: Removal::Now,
    }))]);
}

fn rebind(world: &mut World, key: u128, reason: MoveReason, candidate: Option<BackendId>) -> RebindOutcome {
    let session = world.session(key);
    let epoch = world.state.view().table.get(&session).unwrap().epoch();
    match world
        .commands(vec![Command::Rebind(Rebind { session, epoch, reason, candidate })])
        .outcomes
        .remove(0)
    {
        Outcome::Rebind(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_draining_backend_accepts_the_sessions_that_it_created_and_no_others() {
    let mut world = World::new(0);
    let backend = world.backend(0);
    set_admin(&mut world, backend, Admin::Drain { deadline: Some(500) });
    let adopt = |world: &mut World, key| {
        let bind = world.bind(world.session(key), Origin::Adopt { backend });
        world.commands(vec![bind]).outcomes.remove(0)
    };
    assert!(matches!(adopt(&mut world, 1), Outcome::Bind(BindOutcome::Bound { created: true, .. })));
    let place = world.place(world.session(2), Some(backend));
    let placed = world.commands(vec![place]);
    assert_ne!(live(&placed.after, world.session(2)).unwrap().backend, backend);
    let refusal = RebindOutcome::Refused(RebindRefusal::ReasonDoesNotHold);
    assert_eq!(rebind(&mut world, 1, MoveReason::DrainDeadline, None), refusal);
    world.wait(std::time::Duration::from_millis(500));
    assert!(matches!(rebind(&mut world, 1, MoveReason::DrainDeadline, None), RebindOutcome::Moved(_)));
    assert_eq!(adopt(&mut world, 3), Outcome::Bind(BindOutcome::Refused(BindRefusal::BackendUnusable)));
}

#[test]
fn an_operator_gets_the_named_backend_whatever_the_pool_s_algorithm() {
    for algorithm in 0..4 {
        let mut world = World::new(algorithm);
        let (from, to) = (world.backend(0), world.backend(1));
        for (key, backend) in [(1, from), (2, to), (3, to)] {
            let bind = world.bind(world.session(key), Origin::Adopt { backend });
            world.commands(vec![bind]);
        }
        let RebindOutcome::Moved(moved) = rebind(&mut world, 1, MoveReason::Operator, Some(to)) else {
            panic!("moved")
        };
        assert_eq!(moved.backend, to);
        let there = RebindOutcome::Refused(RebindRefusal::AlreadyThere);
        assert_eq!(rebind(&mut world, 1, MoveReason::Operator, Some(to)), there);
        let nowhere = RebindOutcome::Refused(RebindRefusal::NoBackend);
        assert_eq!(rebind(&mut world, 1, MoveReason::Operator, None), nowhere);
    }
}

#[test]
fn an_operator_is_told_why_a_session_can_not_move() {
    // The first backend of the shop may have two sessions.
    let mut world = World::new(1 << 3);
    let (full, from, other) = (world.backend(0), world.backend(1), world.backend(2));
    for (key, backend) in [(1, from), (2, full), (3, full)] {
        let bind = world.bind(world.session(key), Origin::Adopt { backend });
        world.commands(vec![bind]);
    }
    let move_to = |world: &mut World, to| match rebind(world, 1, MoveReason::Operator, Some(to)) {
        RebindOutcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(move_to(&mut world, BackendId(999)), RebindRefusal::UnknownBackend);
    assert_eq!(move_to(&mut world, full), RebindRefusal::BackendFull);
    let blog = world.backend(3);
    assert_ne!(world.state.view().catalog.backends[&blog].pool, world.state.view().catalog.pools[0]);
    assert_eq!(move_to(&mut world, blog), RebindRefusal::AnotherPool);
    for admin in [Admin::Maint, Admin::Drain { deadline: None }] {
        set_admin(&mut world, other, admin);
        assert_eq!(move_to(&mut world, other), RebindRefusal::BackendUnusable, "{admin:?}");
    }
    set_admin(&mut world, other, Admin::Ready);
    world.verdict(other, false);
    assert_eq!(move_to(&mut world, other), RebindRefusal::BackendUnusable, "it is down");
    world.verdict(other, true);
    assert!(matches!(rebind(&mut world, 1, MoveReason::Operator, Some(other)), RebindOutcome::Moved(_)));
}

#[test]
fn a_session_of_a_removed_pool_moves_to_the_pool_of_its_candidate() {
    let mut world = World::new(0);
    let blog = world.backend(3);
    let bind = world.bind(world.session(1), Origin::Adopt { backend: blog });
    world.commands(vec![bind]);
    apply(&mut world, 1 << 7);
    let shop = world.state.view().catalog.pools[0];
    assert_eq!(world.state.view().catalog.pools.len(), 1);
    let nowhere = RebindOutcome::Refused(RebindRefusal::NoBackend);
    assert_eq!(rebind(&mut world, 1, MoveReason::BackendRemoved, None), nowhere);
    let candidate = Some(world.backend(1));
    let RebindOutcome::Moved(moved) = rebind(&mut world, 1, MoveReason::BackendRemoved, candidate) else {
        panic!("moved")
    };
    assert_eq!((moved.pool, Some(moved.backend)), (shop, candidate));
}

#[test]
fn a_name_with_a_new_address_is_a_new_backend_and_the_old_id_never_returns() {
    let mut world = World::new(0);
    let first = world.backend(0);
    let bind = world.bind(world.session(1), Origin::Adopt { backend: first });
    world.commands(vec![bind]);
    for shape in [1 << 2, 0] {
        apply(&mut world, shape);
        let catalog = world.state.view().catalog;
        assert!(!catalog.backends.contains_key(&first));
        assert_eq!(catalog.backends.values().filter(|backend| backend.name == "shop-1").count(), 1);
    }
    assert!(matches!(rebind(&mut world, 1, MoveReason::BackendRemoved, None), RebindOutcome::Moved(_)));
}

#[test]
fn a_bind_to_a_removed_pool_says_so() {
    let mut world = World::new(0);
    let bind = world.bind(world.session(1), Origin::Place { pool: PoolId(999), candidate: None });
    let outcome = world.commands(vec![bind]).outcomes.remove(0);
    assert_eq!(outcome, Outcome::Bind(BindOutcome::Refused(BindRefusal::Unknown)));
}

fn restart(world: &mut World, backend: BackendId, life: u8) {
    let reports = world.all_find(backend, &answer(false, life));
    world.commands(reports);
}

fn begin(world: &mut World, key: u128, backend: BackendId) {
    let bind = world.bind(world.session(key), Origin::Adopt { backend });
    world.commands(vec![bind]);
}

#[test]
fn the_sessions_of_a_backend_that_was_started_again_are_lost_and_counted() {
    let mut world = World::new(0);
    let (backend, other) = (world.backend(0), world.backend(1));
    let refusal = RebindOutcome::Refused(RebindRefusal::ReasonDoesNotHold);
    begin(&mut world, 1, backend);
    begin(&mut world, 2, other);
    restart(&mut world, backend, 1);
    assert_eq!(
        rebind(&mut world, 1, MoveReason::BackendRestarted, None),
        refusal,
        "its first life that tells"
    );
    restart(&mut world, backend, 2);
    let health = world.state.view().catalog.backends[&backend].health.clone();
    assert_eq!((health.restarts, health.lost, health.instance.as_deref()), (1, 1, Some("life-2")));
    assert_eq!(rebind(&mut world, 2, MoveReason::BackendRestarted, None), refusal, "on another backend");
    let RebindOutcome::Moved(anew) = rebind(&mut world, 1, MoveReason::BackendRestarted, Some(other)) else {
        panic!("begun anew")
    };
    assert_eq!(anew.backend, backend, "where it was");
    assert_eq!(rebind(&mut world, 1, MoveReason::BackendRestarted, None), refusal, "once");
    begin(&mut world, 3, backend);
    assert_eq!(rebind(&mut world, 3, MoveReason::BackendRestarted, None), refusal, "begun in the new life");
    // One that takes no new sessions does not get its lost ones anew.
    restart(&mut world, backend, 1);
    set_admin(&mut world, backend, Admin::Drain { deadline: None });
    let RebindOutcome::Moved(moved) = rebind(&mut world, 1, MoveReason::BackendRestarted, None) else {
        panic!("moved")
    };
    assert_ne!(moved.backend, backend);
}

/// Bit 5 of a document's shape has the cart go back, and takes the weight from its second backend.
const RETURNS: u16 = 1 << 5;

#[test]
fn a_session_goes_back_where_its_affinity_says_so_and_its_backend_still_has_it() {
    let refusal = RebindOutcome::Refused(RebindRefusal::ReasonDoesNotHold);
    for (shape, restarted, returns) in [(RETURNS, false, true), (RETURNS, true, false), (0, false, false)] {
        let mut world = World::new(shape);
        let home = world.backend(0);
        restart(&mut world, home, 1);
        begin(&mut world, 1, home);
        assert_eq!(rebind(&mut world, 1, MoveReason::BackendBack, None), refusal, "it never left");
        set_admin(&mut world, home, Admin::Maint);
        assert!(matches!(rebind(&mut world, 1, MoveReason::BackendMaint, None), RebindOutcome::Moved(_)));
        assert_eq!(rebind(&mut world, 1, MoveReason::BackendBack, None), refusal, "its home is in maint");
        if restarted {
            restart(&mut world, home, 2);
        }
        set_admin(&mut world, home, Admin::Ready);
        match rebind(&mut world, 1, MoveReason::BackendBack, None) {
            RebindOutcome::Moved(back) => assert!(returns && back.backend == home),
            outcome => assert!(!returns && outcome == refusal, "{outcome:?}"),
        }
    }
}

#[test]
fn a_session_that_an_operator_has_moved_stays_there() {
    let mut world = World::new(RETURNS);
    let (home, away) = (world.backend(0), world.backend(2));
    begin(&mut world, 1, home);
    set_admin(&mut world, home, Admin::Maint);
    rebind(&mut world, 1, MoveReason::BackendMaint, None);
    set_admin(&mut world, home, Admin::Ready);
    rebind(&mut world, 1, MoveReason::Operator, Some(home));
    rebind(&mut world, 1, MoveReason::Operator, Some(away));
    let refusal = RebindOutcome::Refused(RebindRefusal::ReasonDoesNotHold);
    assert_eq!(rebind(&mut world, 1, MoveReason::BackendBack, None), refusal);
}

#[test]
fn a_backend_that_has_come_up_gets_its_share_little_by_little() {
    // Bit 9 has pools start slowly, in three seconds; fewest sessions wins otherwise.
    let mut world = World::new(1 | 1 << 9 | 1 << 12);
    world.wait(std::time::Duration::from_secs(10));
    let new = world.backend(2);
    world.verdict(new, false);
    for key in 0..20 {
        let place = world.place(world.session(key), None);
        world.commands(vec![place]);
    }
    world.verdict(new, true);
    let placed = |world: &mut World, key: u128| {
        let place = world.place(world.session(key), None);
        live(&world.commands(vec![place]).after, world.session(key)).unwrap().backend == new
    };
    let at_once = (100..110).filter(|key| placed(&mut world, *key)).count();
    assert!(at_once <= 1, "{at_once} of 10 at once");
    world.wait(std::time::Duration::from_millis(1500));
    let half_way = (200..230).filter(|key| placed(&mut world, *key)).count();
    // 61 sessions over the weights 100, 50 and, half-way, 50 of 100.
    assert!((13..=16).contains(&half_way), "{half_way} of 30 half-way");
    world.wait(std::time::Duration::from_secs(2));
    let later = (300..330).filter(|key| placed(&mut world, *key)).count();
    assert!((19..=22).contains(&later), "{later} of 30 with its whole share");
}
