//! Openraft's own suite against both logs.

use std::io;
use std::sync::{Arc, Mutex};

use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{OptionalSend, RaftSnapshotBuilder, StorageError};
use stickler_core::ids::NodeId;
use stickler_raft::store::{DataDirectory, MemoryDisk, MemoryLog, SledLog, SyncPolicy};
use tempfile::TempDir;

use super::sample::{Sample, log_id};

/// Remembers positions and the membership: all that the suite asks of a state machine.
#[derive(Clone, Default)]
struct Applied {
    state: Arc<Mutex<AppliedState>>,
}

#[derive(Clone, Default)]
struct AppliedState {
    last: Option<LogIdOf<Sample>>,
    membership: StoredMembershipOf<Sample>,
    snapshot: Option<SnapshotMetaOf<Sample>>,
}

impl RaftSnapshotBuilder<Sample> for Applied {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Sample, ()>> {
        let mut state = self.state.lock().unwrap();
        let meta =
            SnapshotMetaOf::<Sample> { last_log_id: state.last, last_membership: state.membership.clone() };
        state.snapshot = Some(meta.clone());
        Ok(SnapshotOf::<Sample, ()> { meta, snapshot: () })
    }
}

impl RaftStateMachine<Sample> for Applied {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Sample>>, StoredMembershipOf<Sample>)> {
        let state = self.state.lock().unwrap();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Sample>>> + Unpin + OptionalSend,
    {
        while let Some((entry, _)) = entries.try_next().await? {
            let mut state = self.state.lock().unwrap();
            let (leader, index) = entry.log_id_parts();
            state.last = Some(LogIdOf::<Sample>::new(*leader, index));
            if let Some(membership) = entry.get_membership() {
                state.membership = StoredMembershipOf::<Sample>::new(state.last, membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Sample>, (): ()) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.last = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Sample, ()>>> {
        let snapshot = self.state.lock().unwrap().snapshot.clone();
        Ok(snapshot.map(|meta| SnapshotOf::<Sample, ()> { meta, snapshot: () }))
    }
}

struct OnDisk;

impl StoreBuilder<Sample, SledLog<Sample>, Applied, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, SledLog<Sample>, Applied), StorageError<Sample>> {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(folder.path().join("data"), NodeId(1), [7; 16]).unwrap();
        Ok((folder, SledLog::open(&directory).unwrap(), Applied::default()))
    }
}

struct InMemory(SyncPolicy);

impl StoreBuilder<Sample, MemoryLog<Sample>, Applied> for InMemory {
    async fn build(&self) -> Result<((), MemoryLog<Sample>, Applied), StorageError<Sample>> {
        Ok(((), MemoryLog::open(&MemoryDisk::new(self.0)), Applied::default()))
    }
}

#[test]
fn the_log_on_disk_keeps_openrafts_contract() {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(Suite::test_all(OnDisk))
        .unwrap();
}

#[test]
fn the_simulated_log_keeps_openrafts_contract() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(InMemory(SyncPolicy::Immediate))).unwrap();
    let a_little_later = SyncPolicy::After(std::time::Duration::from_micros(200));
    runtime.block_on(Suite::test_all(InMemory(a_little_later))).unwrap();
}

/// Guards the helper of all these tests: production's leader ids make terms alone tell positions apart.
#[test]
fn positions_are_ordered_by_term_then_index() {
    assert!(log_id(1, 9) < log_id(2, 3));
    assert!(log_id(2, 3) < log_id(2, 4));
}
