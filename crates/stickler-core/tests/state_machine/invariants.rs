//! The named invariants over random histories, and what each command may do at all.

use proptest::prelude::*;
use stickler_core::document::cluster::WhenFull;
use stickler_core::ids::{BackendId, Epoch, LogIndex, NodeId};
use stickler_core::invariants::{History, Violation};
use stickler_core::state::{Binding, Record, SessionKey, digest};

use crate::config;
use crate::steps::steps;
use crate::world::{Entry, World, count, run};

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn agreement_monotone_epochs_and_no_unforced_move_hold(shape in any::<u16>(), steps in steps(60)) {
        let mut history = History::default();
        run(shape & 0x7ff, &steps, |_, applied| {
            history.view(NodeId(1), &applied.view).unwrap();
            for (session, record) in &applied.before {
                if let (Record::Binding(before), Some(Record::Binding(after))) = (record, applied.after.get(session)) {
                    let then = (&*applied.view.catalog, applied.view.time);
                    history.changed(applied.index, *session, (*before, *after), then).unwrap();
                }
            }
        });
    }

    #[test]
    fn an_epoch_is_drawn_once(shape in any::<u16>(), steps in steps(60)) {
        let mut drawn = std::collections::BTreeMap::new();
        run(shape, &steps, |_, applied| {
            assert!(applied.view.epoch >= applied.view_before.epoch);
            for (session, record) in &applied.after {
                assert!(record.epoch() <= applied.view.epoch);
                let owner = drawn.entry(record.epoch()).or_insert(*session);
                assert_eq!(owner, session, "two sessions share an epoch");
            }
        });
    }

    #[test]
    fn counts_equal_a_recount_and_caps_are_never_passed(shape in any::<u16>(), steps in steps(60)) {
        run(shape, &steps, |_, applied| {
            let catalog = &applied.view.catalog;
            let limits = catalog.limits().unwrap();
            let grown = applied.after.len() > applied.before.len();
            // The memory of what was evicted comes on top, within a bound.
            let evicts = |id| catalog.affinity(id).unwrap().when_full == WhenFull::EvictIdlest;
            let evicted = catalog.affinities.iter().any(|id| evicts(*id));
            let most = limits.max_bindings + u64::from(evicted) * (limits.max_bindings / 4).max(1);
            assert!(!grown || applied.after.len() as u64 <= most);
            for (id, backend) in &catalog.backends {
                let of = |_: &_, binding: &Binding| binding.backend == *id;
                let (before, after) = (count(&applied.before, of), count(&applied.after, of));
                assert_eq!(applied.view.counts.of_backend(*id), after);
                let cap = backend.max_sessions.unwrap_or(u64::MAX);
                assert!(after <= before.max(cap), "{after} sessions on a backend that may have {cap}");
            }
            for id in &catalog.affinities {
                let of = |session: &SessionKey, _: &_| session.affinity == *id;
                let (before, after) = (count(&applied.before, of), count(&applied.after, of));
                assert_eq!(applied.view.counts.of_affinity(*id), after);
                let cap = catalog.affinity(*id).unwrap().max_sessions.unwrap_or(u64::MAX);
                assert!(after <= before.max(cap), "{after} sessions of an affinity that may have {cap}");
            }
        });
    }

    #[test]
    fn ended_epochs_are_remembered_exactly_as_long_as_needed(shape in any::<u16>(), steps in steps(80)) {
        run(shape, &steps, |_, applied| {
            let Entry::Batch(_) = applied.entry else { return };
            let memory = applied.view_before.catalog.limits().unwrap().ended_memory;
            for (session, record) in &applied.before {
                let Record::Ended(ended) = record else {
                    assert!(applied.after.contains_key(session), "a live record vanished");
                    continue;
                };
                let over = ended.changed_at <= applied.view.stable && applied.view.time > ended.ended_at + memory;
                let remembered = applied.after.get(session) == Some(record);
                let followed = applied.after.get(session).is_some_and(|after| after.epoch() > record.epoch());
                assert_eq!(remembered, !over && !followed, "{session:?} {record:?}");
                if let (false, true, Some(Record::Binding(next))) = (over, followed, applied.after.get(session)) {
                    assert!(next.usable_from >= ended.changed_at, "usable while a node may route the old epoch");
                }
            }
        });
    }
}

proptest! {
    #![proptest_config(config(30))]

    #[test]
    fn the_incremental_hash_equals_one_from_scratch(shape in any::<u16>(), steps in steps(40)) {
        run(shape, &steps, |world, applied| {
            let sum = applied.after.iter().fold(0u128, |sum, record| sum.wrapping_add(digest(&(*record.0, *record.1))));
            let header = world.state.begin_snapshot().header;
            assert_eq!(header.records_hash, sum);
            assert_eq!(header.records, applied.after.len() as u64);
            assert_eq!(header.hash(), world.state.hash());
            assert_eq!(header.applied, applied.index);
        });
    }
}

#[test]
fn the_invariants_notice_what_they_are_for() {
    let mut world = World::new(0);
    let session = world.session(1);
    world.commands(vec![world.place(session, None)]);
    let Some(Record::Binding(binding)) = world.state.view().table.get(&session) else { panic!("bound") };
    let other = Binding { backend: BackendId(99), ..binding };
    let older = Binding { epoch: Epoch(0), ..binding };
    let (one, two) = (NodeId(1), NodeId(2));
    let index = binding.changed_at;
    let later = LogIndex(index.0 + 5);

    let mut history = History::default();
    history.record(one, index, session, &Record::Binding(binding)).unwrap();
    let found = history.record(two, later, session, &Record::Binding(other)).unwrap_err();
    assert!(matches!(found, Violation::Agreement { .. }));
    let found = history.record(two, LogIndex(later.0 + 1), session, &Record::Binding(older)).unwrap_err();
    assert!(matches!(found, Violation::MonotoneEpochs { .. }));
    history.hash(one, index, 1).unwrap();
    assert!(matches!(history.hash(two, index, 2).unwrap_err(), Violation::SameState { .. }));
    let then = (&*world.state.view().catalog, world.time());
    let found = history.changed(later, session, (binding, other), then).unwrap_err();
    assert!(matches!(found, Violation::NoUnforcedMove { .. }));
}
