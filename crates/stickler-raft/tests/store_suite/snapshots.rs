//! Snapshots on both disks.

use std::fs;

use openraft::Membership;
use openraft::type_config::alias::{SnapshotMetaOf, StoredMembershipOf};
use proptest::prelude::*;
use stickler_core::ids::NodeId;
use stickler_raft::store::{
    DataDirectory, MemoryDisk, SnapshotDirectory, SnapshotError, SnapshotFile, SyncPolicy,
};
use tempfile::TempDir;

use super::sample::{Sample, log_id};

fn on_disk() -> (TempDir, SnapshotDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open(folder.path(), NodeId(1), [1; 16]).unwrap();
    let snapshots = SnapshotDirectory::open(&directory).unwrap();
    (folder, snapshots)
}

fn in_memory() -> SnapshotDirectory {
    MemoryDisk::new(SyncPolicy::Manual).snapshots()
}

fn meta(index: u64) -> SnapshotMetaOf<Sample> {
    let membership = Membership::new_with_defaults(vec![[1, 2, 3].into()], []);
    let last_membership = StoredMembershipOf::<Sample>::new(Some(log_id(1, 0)), membership);
    SnapshotMetaOf::<Sample> { last_log_id: Some(log_id(2, index)), last_membership }
}

fn write(snapshots: &SnapshotDirectory, index: u64, chunks: &[Vec<u8>]) -> SnapshotFile {
    let mut writer = snapshots.create::<Sample>(&meta(index)).unwrap();
    chunks.iter().for_each(|chunk| writer.write_chunk(chunk).unwrap());
    writer.finish().unwrap()
}

fn read(file: &SnapshotFile) -> Vec<Vec<u8>> {
    file.chunks().unwrap().collect::<Result<_, _>>().unwrap()
}

fn latest_index(snapshots: &SnapshotDirectory) -> Option<u64> {
    let latest = snapshots.latest().unwrap()?;
    Some(latest.meta::<Sample>().unwrap().last_log_id.unwrap().index)
}

fn received(from: &SnapshotFile, to: &SnapshotDirectory, step: usize) -> SnapshotFile {
    let mut receiver = to.receive(from.length()).unwrap();
    let mut buffer = vec![0; step];
    loop {
        let read = from.read_at(&mut buffer, receiver.received()).unwrap();
        if read == 0 {
            return receiver.finish().unwrap();
        }
        receiver.write_at(receiver.received(), &buffer[..read]).unwrap();
    }
}

fn sent(from: &SnapshotFile, to: &SnapshotDirectory, step: usize) -> SnapshotFile {
    let received = received(from, to, step);
    received.keep().unwrap();
    received
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_arrives_as_it_was_written(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5_000), 0..20),
        step in 1_usize..9_000,
    ) {
        let (_folder, disk) = on_disk();
        let memory = in_memory();
        let written = write(&disk, 5, &chunks);
        prop_assert_eq!(&read(&written), &chunks);
        prop_assert_eq!(&read(&disk.latest().unwrap().unwrap()), &chunks);
        let received = sent(&sent(&written, &memory, step), &disk, step);
        prop_assert_eq!(&read(&received), &chunks);
        prop_assert_eq!(received.meta::<Sample>().unwrap(), meta(5));
        prop_assert_eq!(&read(&memory.latest().unwrap().unwrap()), &chunks);
    }
}

#[test]
fn a_new_snapshot_replaces_the_older_ones() {
    let (folder, disk) = on_disk();
    for snapshots in [disk, in_memory()] {
        assert!(snapshots.latest().unwrap().is_none());
        let old = write(&snapshots, 9, &[b"old".to_vec()]);
        let unfinished = snapshots.create::<Sample>(&meta(50)).unwrap();
        write(&snapshots, 10, &[b"new".to_vec()]);
        assert_eq!(latest_index(&snapshots), Some(10));
        assert_eq!(read(&old), [b"old"], "a follower that is being sent the old one gets all of it");
        drop(unfinished);
        assert_eq!(latest_index(&snapshots), Some(10));
    }
    let left: Vec<_> = fs::read_dir(folder.path().join("snapshots")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_a_process_left_unfinished_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let open = || DataDirectory::open(folder.path(), NodeId(1), [1; 16]).unwrap();
    let snapshots = SnapshotDirectory::open(&open()).unwrap();
    write(&snapshots, 3, &[b"whole".to_vec()]);
    drop(snapshots);
    let unfinished = folder.path().join("snapshots/unfinished-0.new");
    fs::write(&unfinished, "half").unwrap();
    let snapshots = SnapshotDirectory::open(&open()).unwrap();
    assert!(!unfinished.exists());
    assert_eq!(latest_index(&snapshots), Some(3));
}

/// A log may hold entries that contradict it until it is installed.
#[test]
fn a_received_snapshot_is_nobodys_before_it_is_kept() {
    let (_elsewhere, sender) = on_disk();
    let written = write(&sender, 9, &[b"newer".to_vec()]);
    let (folder, snapshots) = on_disk();
    write(&snapshots, 3, &[b"older".to_vec()]);
    let received = received(&written, &snapshots, 7);
    assert_eq!(latest_index(&snapshots), Some(3));
    let files = || fs::read_dir(folder.path().join("snapshots")).unwrap().count();
    assert_eq!(files(), 2);

    received.keep().unwrap();
    received.clone().keep().unwrap();
    assert_eq!((latest_index(&snapshots), files()), (Some(9), 1));
    assert_eq!(read(&received), [b"newer".to_vec()]);
}

#[test]
fn a_received_snapshot_that_is_not_kept_leaves_nothing() {
    let (_elsewhere, sender) = on_disk();
    let written = write(&sender, 9, &[b"newer".to_vec()]);
    let (folder, snapshots) = on_disk();
    drop(received(&written, &snapshots, 7));
    assert_eq!(latest_index(&snapshots), None);
    assert_eq!(fs::read_dir(folder.path().join("snapshots")).unwrap().count(), 0);
}

#[test]
fn every_damaged_byte_of_a_snapshot_is_noticed() {
    let (folder, snapshots) = on_disk();
    write(&snapshots, 3, &[b"some records".to_vec(), vec![7; 40]]);
    let path = fs::read_dir(folder.path().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    damages.push([&whole[..], &[0]].concat());
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        damages.push(damaged);
    }
    for damaged in damages {
        fs::write(&path, &damaged).unwrap();
        let error = snapshots.latest().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        let mut receiver = snapshots.receive(damaged.len() as u64).unwrap();
        receiver.write_at(0, &damaged).unwrap();
        assert!(receiver.finish().is_err(), "a damaged snapshot was taken from a peer");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(latest_index(&snapshots), Some(3));
}

#[test]
fn a_snapshot_of_a_later_release_is_refused() {
    let (folder, snapshots) = on_disk();
    write(&snapshots, 3, &[]);
    let path = fs::read_dir(folder.path().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    fs::write(&path, bytes).unwrap();
    let error = snapshots.latest().unwrap_err();
    assert!(matches!(error, SnapshotError::NewerVersion { found: 2, .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
}

#[test]
fn a_peer_can_send_neither_gaps_nor_more_than_it_announced() {
    let (_folder, snapshots) = on_disk();
    let mut receiver = snapshots.receive(10).unwrap();
    receiver.write_at(0, &[1; 4]).unwrap();
    let gap = receiver.write_at(5, &[1]);
    assert!(matches!(gap, Err(SnapshotError::OutOfOrder { expected: 4, found: 5 })));
    assert!(matches!(receiver.write_at(4, &[1; 7]), Err(SnapshotError::Size { .. })));
    assert!(receiver.finish().is_err());
    assert!(matches!(snapshots.receive(u64::MAX), Err(SnapshotError::Size { .. })));
    assert!(snapshots.latest().unwrap().is_none());
}

#[test]
fn chunks_are_never_empty_nor_over_the_limit() {
    let snapshots = in_memory();
    let mut writer = snapshots.create::<Sample>(&meta(1)).unwrap();
    assert!(matches!(writer.write_chunk(&[]), Err(SnapshotError::Size { .. })));
    assert!(matches!(writer.write_chunk(&vec![0; (8 << 20) + 1]), Err(SnapshotError::Size { .. })));
    writer.write_chunk(&vec![3; 8 << 20]).unwrap();
    assert_eq!(read(&writer.finish().unwrap())[0].len(), 8 << 20);
}
