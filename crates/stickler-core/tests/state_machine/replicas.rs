//! I9: whoever applies the same entries is the same, from the beginning or from a snapshot.

use proptest::prelude::*;
use stickler_core::ids::NodeId;
use stickler_core::invariants::History;
use stickler_core::state::{Command, Record, SessionKey, SnapshotHeader, SnapshotSuperseded, State, Unbind};

use crate::config;
use crate::steps::steps;
use crate::world::{SHORTEST_MEMORY, World, feed};

/// A state as it comes out of a file.
fn through_a_file(state: &State, chunk: usize) -> State {
    let snapshot = state.begin_snapshot();
    let header = serde_json::to_string(&snapshot.header).unwrap();
    let mut chunks = Vec::new();
    snapshot
        .read::<SnapshotSuperseded>(chunk, |records| {
            assert!(records.len() <= chunk);
            chunks.push(serde_json::to_string(&records).unwrap());
            Ok(())
        })
        .unwrap();
    let header: SnapshotHeader = serde_json::from_str(&header).unwrap();
    let mut restored = State::restore(&header);
    for chunk in chunks.iter().rev() {
        let records: Vec<(SessionKey, Record)> = serde_json::from_str(chunk).unwrap();
        restored.restore_records(records);
    }
    restored.finish_restore(&header).unwrap()
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn replicas_and_restored_replicas_are_the_same_at_every_index(
        shape in any::<u16>(),
        steps in steps(60),
        cut in any::<prop::sample::Index>(),
        chunk in 1..8usize,
    ) {
        let mut world = World::new(shape);
        for step in &steps {
            world.step(step);
        }
        let cut = cut.index(world.log.len());
        let mut history = History::default();
        let (mut first, mut second) = (State::new(), State::new());
        let mut restored = None;
        for (position, (index, entry)) in world.log.iter().enumerate() {
            let outcomes = feed(&mut first, *index, entry);
            prop_assert_eq!(&feed(&mut second, *index, entry), &outcomes);
            history.hash(NodeId(1), *index, first.hash()).unwrap();
            history.hash(NodeId(2), *index, second.hash()).unwrap();
            if let Some(restored) = &mut restored {
                prop_assert_eq!(&feed(restored, *index, entry), &outcomes);
                history.hash(NodeId(3), *index, restored.hash()).unwrap();
                history.view(NodeId(3), &restored.view()).unwrap();
                for id in first.view().catalog.backends.keys() {
                    prop_assert_eq!(restored.view().counts.of_backend(*id), first.view().counts.of_backend(*id));
                }
            }
            if position == cut {
                restored = Some(through_a_file(&first, chunk));
            }
        }
        history.hash(NodeId(4), world.seen(), world.state.hash()).unwrap();
        let (view, twin) = (first.view(), restored.expect("every log has a first entry").view());
        prop_assert_eq!((view.catalog, view.time, view.epoch, view.stable), (twin.catalog, twin.time, twin.epoch, twin.stable));
    }
}

#[test]
fn a_restored_replica_forgets_ended_sessions_at_the_same_index() {
    let mut world = World::new(0);
    for key in 0..20 {
        let bind = world.place(world.session(key), None);
        world.commands(vec![bind]);
        let session = world.session(key);
        let epoch = world.state.view().table.get(&session).unwrap().epoch();
        world.commands(vec![Command::Unbind(Unbind { session, epoch })]);
        world.wait(SHORTEST_MEMORY / 10);
    }
    let mut restored = through_a_file(&world.state, 3);
    while !world.state.view().table.is_empty() {
        world.wait(SHORTEST_MEMORY / 10);
        world.commands(Vec::new());
        let (index, entry) = world.log.last().unwrap();
        feed(&mut restored, *index, entry);
        assert_eq!(restored.hash(), world.state.hash());
    }
}

#[test]
fn a_snapshot_with_a_record_changed_missing_or_added_is_refused() {
    let mut world = World::new(0);
    for key in 0..5 {
        let bind = world.place(world.session(key), None);
        world.commands(vec![bind]);
    }
    let read = || {
        let snapshot = world.state.begin_snapshot();
        let (header, mut all) = (snapshot.header.clone(), Vec::new());
        snapshot
            .read::<SnapshotSuperseded>(100, |records| {
                all.extend(records);
                Ok(())
            })
            .unwrap();
        (header, all)
    };
    let restore = |header: &SnapshotHeader, records| {
        let mut state = State::restore(header);
        state.restore_records(records);
        state.finish_restore(header).map(|_| ())
    };
    let (header, records) = read();
    restore(&header, records.clone()).unwrap();
    restore(&header, records[1..].to_vec()).unwrap_err();
    let mut doubled = records.clone();
    doubled.extend(records.clone());
    restore(&header, doubled).unwrap();
    let mut changed = records.clone();
    if let Record::Binding(binding) = &mut changed[0].1 {
        binding.last_use.0 += 1;
    }
    restore(&header, changed).unwrap_err();
    let mut added = records.clone();
    added.push((world.session(99), records[0].1));
    restore(&header, added).unwrap_err();
}
