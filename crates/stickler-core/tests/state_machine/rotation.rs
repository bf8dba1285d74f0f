//! The ring of sealing keys: one rotation for one proposal, a key seals when all can open it, and opens as
//! long as its overlap.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use stickler_core::affinity::sealing::SealingKeyId;
use stickler_core::ids::LogIndex;
use stickler_core::secrets::KeptSecret;
use stickler_core::state::{Command, MAX_SEALING_KEYS, Outcome, Ring, RotateKey, RotateOutcome};
use stickler_core::time::ClusterTime;

use crate::config;
use crate::documents::{OVERLAP, ROTATE_EVERY};
use crate::steps::steps;
use crate::world::{Entry, World, run};

fn ids(ring: &Ring) -> Vec<u32> {
    ring.keys().iter().map(|key| key.id.0).collect()
}

impl World {
    fn ring(&self) -> Ring {
        self.state.view().catalog.ring.clone()
    }

    fn rotate(&mut self) -> RotateOutcome {
        let expected = self.ring().newest().unwrap().id;
        self.propose(RotateKey { expected, secret: KeptSecret::clear(&[3; 32]) })
    }

    fn propose(&mut self, rotate: RotateKey) -> RotateOutcome {
        match self.commands(vec![Command::RotateKey(rotate)]).outcomes.remove(0) {
            Outcome::Rotate(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_birth_brings_the_first_key_which_seals_at_once() {
    let world = World::new(0);
    assert_eq!(ids(&world.ring()), [1]);
    assert_eq!(world.ring().sealing(LogIndex(0)).unwrap().id, SealingKeyId(1));
}

#[test]
fn a_retry_of_a_rotation_adds_no_second_key() {
    let mut world = World::new(0);
    let rotate = RotateKey { expected: SealingKeyId(1), secret: KeptSecret::clear(&[3; 32]) };
    assert_eq!(world.propose(rotate.clone()), RotateOutcome::Rotated(SealingKeyId(2)));
    assert_eq!(world.propose(rotate), RotateOutcome::Changed(SealingKeyId(2)));
    assert_eq!(ids(&world.ring()), [1, 2]);
}

#[test]
fn a_new_key_seals_once_the_stable_index_has_passed_the_entry_that_added_it() {
    let mut world = World::new(0);
    world.rotate();
    world.rotate();
    let ring = world.ring();
    let [_, second, third] = ring.keys() else { panic!("{ring:?}") };
    let sealing = |index: LogIndex| ring.sealing(index).unwrap().id.0;
    assert_eq!(sealing(LogIndex(second.added_at.0 - 1)), 1);
    assert_eq!(sealing(second.added_at), 2);
    assert_eq!(sealing(LogIndex(third.added_at.0 - 1)), 2);
    assert_eq!(sealing(third.added_at), 3);
}

#[test]
fn an_older_key_opens_tokens_for_the_overlap_and_no_longer() {
    let mut world = World::new(0);
    world.wait(Duration::from_secs(100));
    world.rotate();
    world.wait(OVERLAP - Duration::from_millis(1));
    world.commands(Vec::new());
    assert_eq!(ids(&world.ring()), [1, 2]);
    world.wait(Duration::from_millis(1));
    world.commands(Vec::new());
    assert_eq!(ids(&world.ring()), [2]);
}

#[test]
fn a_key_that_still_seals_somewhere_stays_however_long_that_takes() {
    let mut world = World::new(0);
    world.wait(Duration::from_secs(1));
    world.rotate();
    world.time += u64::try_from((OVERLAP * 5).as_millis()).unwrap();
    world.commands(Vec::new());
    assert_eq!(ids(&world.ring()), [1, 2], "the stable index has not passed the new one");
    world.wait(Duration::ZERO);
    world.commands(Vec::new());
    assert_eq!(ids(&world.ring()), [2]);
}

#[test]
fn a_full_ring_says_when_another_key_can_be_added() {
    let mut world = World::new(0);
    world.wait(Duration::from_secs(7));
    let first_superseded = world.time();
    for id in 2..=MAX_SEALING_KEYS {
        assert_eq!(world.rotate(), RotateOutcome::Rotated(SealingKeyId(u32::try_from(id).unwrap())));
    }
    assert_eq!(world.rotate(), RotateOutcome::Full(first_superseded + OVERLAP));
    assert_eq!(ids(&world.ring()).len(), MAX_SEALING_KEYS);
    world.wait(OVERLAP);
    assert_eq!(world.rotate(), RotateOutcome::Rotated(SealingKeyId(9)), "ids are never used again");
}

#[test]
fn a_rotation_is_due_by_the_age_of_the_newest_key_and_never_in_a_full_ring() {
    let mut world = World::new(0);
    let due = |world: &World, at: ClusterTime| world.state.view().catalog.rotation_due(at);
    let added = world.ring().newest().unwrap().added;
    assert_eq!(due(&world, added + (ROTATE_EVERY - Duration::from_millis(1))), None);
    assert_eq!(due(&world, added + ROTATE_EVERY), Some(SealingKeyId(1)));
    for _ in 1..MAX_SEALING_KEYS {
        world.rotate();
    }
    assert_eq!(due(&world, world.time() + ROTATE_EVERY), None);
}

#[test]
fn no_secret_is_in_what_is_printed() {
    let mut world = World::new(0);
    let rotate = RotateKey { expected: SealingKeyId(1), secret: KeptSecret::clear(&[213; 32]) };
    let shown = format!("{rotate:?} {:?}", Command::RotateKey(rotate.clone()));
    world.propose(rotate);
    let shown = format!("{shown} {:?} {:?}", world.state.view().catalog, world.state);
    for secret in ["213, 213", "2, 2, 2", "1, 1, 1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn keys_come_one_at_a_time_and_go_when_nobody_can_need_them(shape in any::<u16>(), steps in steps(80)) {
        let mut used = BTreeSet::new();
        let mut last = 0;
        run(shape, &steps, |_, applied| {
            let (before, after) = (&applied.view_before.catalog.ring, &applied.view.catalog.ring);
            let newest = after.newest().unwrap();
            assert_eq!(before == after, before.generation() == after.generation());
            assert!(after.keys().len() <= MAX_SEALING_KEYS);
            assert!(after.keys().windows(2).all(|pair| pair[0].id < pair[1].id));
            assert_eq!(newest.superseded, None);
            for pair in before.keys().windows(2).filter(|pair| !ids(after).contains(&pair[0].id.0)) {
                let until = pair[0].opens_until(applied.view_before.catalog.overlap());
                assert!(until.unwrap() <= applied.view.time, "a key was retired before its overlap was over");
                assert!(pair[1].added_at <= applied.view.stable, "a key was retired that may still seal");
            }
            if newest.id.0 > last {
                assert!(used.insert(newest.id), "an id was used again");
                last = newest.id.0;
            }
            let rotated = matches!(applied.outcomes.first(), Some(Outcome::Rotate(RotateOutcome::Rotated(_))));
            let founds = before.newest().is_none();
            assert_eq!(before.newest() != Some(newest), rotated || founds);
            if let (true, Entry::Batch(batch)) = (rotated, &applied.entry)
                && let Some(Command::RotateKey(rotate)) = batch.commands.first()
            {
                assert_eq!(before.newest().map(|key| key.id), Some(rotate.expected));
            }
        });
    }
}
