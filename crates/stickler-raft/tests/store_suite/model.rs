//! Both logs against a plain vector, over random sequences of what openraft may ask.

use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{LogIdOptionExt, RaftLogReader};
use proptest::prelude::*;

use super::rig::{DiskRig, MemoryRig, Rig};
use super::sample::{Sample, entry};

#[derive(Clone, Debug)]
enum Step {
    /// Entries with texts of these lengths; waited for until they are durable or not.
    Append(Vec<usize>, bool),
    /// Take back so many.
    Truncate(u64),
    /// Purge up to so many before the last; negative: beyond it, as after a snapshot.
    Purge(i64),
    Vote,
    Commit(u64),
    Read(u64, u64),
    ReadSome(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Sizes around one value's limit, and above it.
    let length = prop_oneof![6 => 0..200_usize, 2 => 8_100..8_300_usize, 1 => 20_000..50_000_usize];
    let step = prop_oneof![
        8 => (prop::collection::vec(length, 0..12), any::<bool>()).prop_map(|(lengths, wait)| Step::Append(lengths, wait)),
        2 => (0..8_u64).prop_map(Step::Truncate),
        2 => (-3..20_i64).prop_map(Step::Purge),
        1 => Just(Step::Vote),
        1 => (0..5_u64).prop_map(Step::Commit),
        4 => (0..120_u64, 0..60_u64).prop_map(|(start, length)| Step::Read(start, start + length)),
        1 => (0..10_u64).prop_map(Step::ReadSome),
        2 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Default)]
struct Model {
    term: u64,
    vote: Option<VoteOf<Sample>>,
    committed: Option<LogIdOf<Sample>>,
    purged: Option<LogIdOf<Sample>>,
    entries: Vec<EntryOf<Sample>>,
}

impl Model {
    fn last(&self) -> Option<LogIdOf<Sample>> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn between(&self, start: u64, end: u64) -> Vec<EntryOf<Sample>> {
        let inside = |entry: &&EntryOf<Sample>| (start..end).contains(&entry.log_id.index);
        self.entries.iter().filter(inside).cloned().collect()
    }

    async fn take<R: Rig>(&mut self, rig: &mut R, step: Step) {
        match step {
            Step::Append(lengths, wait) => {
                let next = self.last().next_index();
                let entries: Vec<_> = (next..)
                    .zip(lengths)
                    .map(|(index, length)| entry(self.term, index, "x".repeat(length)))
                    .collect();
                self.entries.extend(entries.clone());
                if wait {
                    rig.log().blocking_append(entries).await.unwrap();
                } else {
                    rig.log().append(entries, IOFlushed::noop()).await.unwrap();
                }
            }
            Step::Truncate(count) => {
                let kept = self.entries.len().saturating_sub(usize::try_from(count).unwrap());
                self.entries.truncate(kept);
                // The next entries are of a later leader.
                self.term += 1;
                rig.log().truncate_after(self.last()).await.unwrap();
            }
            Step::Purge(before_last) => self.purge(rig, before_last).await,
            Step::Vote => {
                self.term += 1;
                self.vote = Some(VoteOf::<Sample>::new(self.term, 1));
                rig.log().save_vote(&VoteOf::<Sample>::new(self.term, 1)).await.unwrap();
            }
            Step::Commit(before_last) => {
                let index = self.last().next_index().saturating_sub(before_last);
                let found = self.between(index, index + 1);
                self.committed = found.first().map(|entry| entry.log_id).or(self.committed);
                rig.log().save_committed(self.committed).await.unwrap();
            }
            Step::Read(start, end) => {
                let found = rig.log().get_log_reader().await.try_get_log_entries(start..end).await.unwrap();
                assert_eq!(found, self.between(start, end));
            }
            Step::ReadSome(before_last) => {
                let start = self.last().next_index().saturating_sub(before_last);
                let wanted = self.between(start, u64::MAX);
                let end = self.last().next_index();
                let found =
                    rig.log().get_log_reader().await.limited_get_log_entries(start, end).await.unwrap();
                assert!(wanted.starts_with(&found));
                assert_eq!(found.is_empty(), wanted.is_empty());
            }
            Step::Reopen => rig.reopen().await,
        }
    }

    async fn purge<R: Rig>(&mut self, rig: &mut R, before_last: i64) {
        let Some(upto) = self.last().next_index().checked_add_signed(-1 - before_last) else { return };
        if upto < self.purged.next_index() {
            return;
        }
        let found = self.between(upto, upto + 1);
        let beyond = || super::sample::log_id(self.term, upto);
        let position = found.first().map_or_else(beyond, |entry| entry.log_id);
        self.purged = Some(position);
        self.entries.retain(|entry| entry.log_id.index > upto);
        rig.log().purge(position).await.unwrap();
    }

    async fn compare<R: Rig>(&self, rig: &mut R) {
        let state = rig.log().get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, self.purged);
        assert_eq!(state.last_log_id, self.last());
        assert_eq!(rig.log().read_committed().await.unwrap(), self.committed);
        let mut reader = rig.log().get_log_reader().await;
        assert_eq!(reader.read_vote().await.unwrap(), self.vote);
        assert_eq!(reader.try_get_log_entries(..).await.unwrap(), self.entries);
    }
}

fn follow<R: Rig>(mut rig: R, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut model = Model { term: 1, ..Model::default() };
        for step in steps {
            model.take(&mut rig, step).await;
            model.compare(&mut rig).await;
        }
        rig.reopen().await;
        model.compare(&mut rig).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_log_on_disk_is_the_log_that_was_written(
        steps in steps(),
        tail_bytes in prop_oneof![Just(0), Just(1_000), Just(1 << 20)],
    ) {
        follow(DiskRig::new(tail_bytes), steps);
    }
}

proptest! {
    #[test]
    fn the_simulated_log_is_the_log_that_was_written(steps in steps()) {
        follow(MemoryRig::new(), steps);
    }
}
