//! A crash of a simulated disk leaves a beginning of what was written, with all that was acknowledged.

use futures::FutureExt;
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{EntryOf, VoteOf};
use proptest::prelude::*;
use stickler_raft::store::{MemoryDisk, MemoryLog, SyncPolicy};

use super::sample::{Sample, entry};

/// Appends one entry without waiting; resolves when it is acknowledged.
async fn append(log: &mut MemoryLog<Sample>, index: u64) -> impl Future<Output = bool> + use<> {
    let (flushed, answer) = Sample::oneshot();
    log.append([entry(1, index, format!("entry {index}"))], IOFlushed::signal(flushed)).await.unwrap();
    async { matches!(answer.await, Ok(Ok(()))) }
}

async fn entries(log: &mut MemoryLog<Sample>) -> Vec<EntryOf<Sample>> {
    log.get_log_reader().await.try_get_log_entries(..).await.unwrap()
}

proptest! {
    #[test]
    fn a_crash_loses_only_what_was_not_acknowledged(
        synced in 0..20_u64, unsynced in 0..20_u64, tear: Option<u64>,
    ) {
        let disk = MemoryDisk::new(SyncPolicy::Manual);
        let crashed = || async {
            let mut log = MemoryLog::<Sample>::open(&disk);
            for index in 0..synced {
                let mut acknowledged = Box::pin(append(&mut log, index).await);
                assert_eq!(acknowledged.as_mut().now_or_never(), None, "acknowledged before it was synced");
                disk.sync();
                assert!(acknowledged.await);
            }
            let mut unacknowledged = Vec::new();
            for index in synced..synced + unsynced {
                unacknowledged.push(append(&mut log, index).await);
            }
            assert_eq!(entries(&mut log).await.len() as u64, synced + unsynced, "readable when written");
            disk.crash(tear);
            assert!(log.get_log_state().await.is_err(), "a log of a crashed machine still answers");
            for acknowledgement in unacknowledged {
                assert!(!acknowledgement.await, "acknowledged by a crash");
            }
            entries(&mut MemoryLog::open(&disk)).await
        };
        let left = crashed().now_or_never().unwrap();
        let expected: Vec<_> = (0..).map(|index| entry(1, index, format!("entry {index}"))).take(left.len()).collect();
        prop_assert!(left.len() as u64 >= synced);
        prop_assert!(tear.is_some() || left.len() as u64 == synced);
        prop_assert_eq!(left, expected);
    }
}

#[tokio::test]
async fn the_same_seed_tears_the_same_write() {
    let left_by = async |seed| {
        let disk = MemoryDisk::new(SyncPolicy::Manual);
        let mut log = MemoryLog::<Sample>::open(&disk);
        log.append((0..100).map(|index| entry(1, index, String::new())), IOFlushed::noop()).await.unwrap();
        disk.crash(Some(seed));
        entries(&mut MemoryLog::open(&disk)).await.len()
    };
    let mut lengths = Vec::new();
    for seed in 0..50 {
        lengths.push(left_by(seed).await);
        assert_eq!(lengths.last(), Some(&left_by(seed).await));
    }
    assert!(lengths.iter().any(|&length| length > 0 && length < 100), "no seed tears an append: {lengths:?}");
}

#[tokio::test]
async fn a_killed_process_loses_nothing_but_its_acknowledgements() {
    let disk = MemoryDisk::new(SyncPolicy::Manual);
    let mut log = MemoryLog::<Sample>::open(&disk);
    let acknowledged = append(&mut log, 0).await;
    drop(log);
    let mut log = MemoryLog::<Sample>::open(&disk);
    assert!(!acknowledged.await);
    disk.crash(None);
    assert!(log.get_log_state().await.is_err());
    log = MemoryLog::open(&disk);
    assert_eq!(entries(&mut log).await.len(), 1);
}

#[tokio::test]
async fn a_delayed_sync_acknowledges_by_itself() {
    let delay = std::time::Duration::from_millis(1);
    let disk = MemoryDisk::new(SyncPolicy::After(delay));
    let mut log = MemoryLog::<Sample>::open(&disk);
    let acknowledged = append(&mut log, 0).await;
    assert_eq!(disk.unsynced(), 1);
    assert!(acknowledged.await);
    log.save_vote(&VoteOf::<Sample>::new(3, 1)).await.unwrap();
    assert_eq!(disk.unsynced(), 0);
}

#[tokio::test]
async fn a_simulated_disk_that_fails_to_sync_never_acknowledges_again() {
    let disk = MemoryDisk::new(SyncPolicy::Immediate);
    let mut log = MemoryLog::<Sample>::open(&disk);
    assert!(append(&mut log, 0).await.await);
    disk.fail_next_sync("no room");
    assert!(!append(&mut log, 1).await.await);
    assert!(log.health().failed().await.to_string().contains("no room"));
    assert!(log.save_vote(&VoteOf::<Sample>::new(3, 1)).await.is_err());
    assert!(log.append([entry(1, 2, String::new())], IOFlushed::noop()).await.is_err());
    assert_eq!(entries(&mut MemoryLog::open(&disk)).await.len(), 1);
}
