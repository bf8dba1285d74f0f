//! Whose a data directory is.

use std::fs;
use std::path::Path;

use stickler_core::ids::{ClusterId, DirectoryId, Incarnation, NodeId};
use stickler_raft::store::{ClusterError, DataDirectory, IdentityStore, MemoryDisk, OpenError, SyncPolicy};

const NODE: NodeId = NodeId(1);

fn refusal(path: &Path, node: NodeId) -> (OpenError, String) {
    let error = DataDirectory::open(path, node, [9; 16]).unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn a_directory_keeps_its_identity_and_counts_its_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/data");
    for start in 1..4 {
        // Other random bytes at each start: the first ones stay.
        let directory = DataDirectory::open(&path, NODE, [start; 16]).unwrap();
        assert_eq!(directory.id(), DirectoryId(u128::from_le_bytes([1; 16])));
        assert_eq!(directory.incarnation(), Incarnation(start.into()));
        assert_eq!(directory.identity().node, NODE);
    }
}

#[test]
fn the_cluster_is_learned_once() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = || DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap();
    let disk = MemoryDisk::new(SyncPolicy::Immediate);
    let in_memory = || disk.start(NODE, [1; 16]).unwrap();
    learn_once(on_disk);
    learn_once(in_memory);
}

fn learn_once<I: IdentityStore>(start: impl Fn() -> I) {
    let identity = start();
    assert_eq!(identity.identity().cluster, None);
    identity.learn_cluster(ClusterId(7)).unwrap();
    identity.learn_cluster(ClusterId(7)).unwrap();
    let other = identity.learn_cluster(ClusterId(8));
    assert!(matches!(other, Err(ClusterError::OtherCluster { recorded: ClusterId(7), .. })));
    drop(identity);
    let restarted = start().identity();
    assert_eq!(restarted.cluster, Some(ClusterId(7)));
    assert_eq!(restarted.incarnation, Incarnation(2));
    assert_eq!(restarted.directory, DirectoryId(u128::from_le_bytes([1; 16])));
}

#[test]
fn two_processes_never_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let first = DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap();
    let (error, text) = refusal(folder.path(), NODE);
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(text.contains(folder.path().join("lock").to_str().unwrap()), "{text}");
    let clone = first.clone();
    drop(first);
    assert!(DataDirectory::open(folder.path(), NODE, [1; 16]).is_err());
    drop(clone);
    DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap();
}

#[test]
fn another_nodes_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap());
    let (error, text) = refusal(folder.path(), NodeId(2));
    assert!(matches!(error, OpenError::OtherNode { recorded: NODE, asked: NodeId(2), .. }));
    assert!(text.contains(folder.path().join("identity").to_str().unwrap()), "{text}");
    let opened = DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap();
    assert_eq!(opened.incarnation(), Incarnation(2), "a refused open counts as a start");
    assert!(MemoryDisk::new(SyncPolicy::Manual).start(NODE, [1; 16]).is_ok());
}

#[test]
fn a_foreign_directory_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "important").unwrap();
    let (error, text) = refusal(folder.path(), NODE);
    assert!(matches!(error, OpenError::Foreign { .. }));
    assert!(text.contains(folder.path().to_str().unwrap()) && text.contains("thesis.tex"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn state_without_an_identity_is_refused() {
    for remains in ["log", "snapshots"] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(remains)).unwrap();
        let (error, text) = refusal(folder.path(), NODE);
        assert!(matches!(error, OpenError::IdentityMissing { .. }));
        assert!(text.contains(folder.path().join("identity").to_str().unwrap()), "{text}");
        assert!(text.contains(remains) && text.contains("restore"), "{text}");
    }
}

#[test]
fn every_flipped_bit_of_an_identity_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap());
    let path = folder.path().join("identity");
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        let (error, text) = refusal(folder.path(), NODE);
        assert!(matches!(error, OpenError::Damaged { .. }), "bit {bit}: {text}");
        assert!(text.contains(path.to_str().unwrap()) && text.contains("restore"), "{text}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "a refused file was changed");
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(refusal(folder.path(), NODE).0, OpenError::Damaged { .. }));
    }
}

#[test]
fn an_identity_of_a_later_release_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap());
    let path = folder.path().join("identity");
    let mut bytes = fs::read(&path).unwrap();
    // Magic (8), kind (1), version (2).
    bytes[9] = 2;
    let summed = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..summed]);
    bytes[summed..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let (error, text) = refusal(folder.path(), NODE);
    assert!(matches!(error, OpenError::NewerVersion { .. }), "{text}");
    assert!(text.contains(path.to_str().unwrap()) && text.contains("version 2"), "{text}");
}

/// A first start that was cut short leaves these; the next one is not refused.
#[test]
fn what_an_unfinished_first_start_leaves_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["lock", "identity.new"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    DataDirectory::open(folder.path(), NODE, [1; 16]).unwrap();
}
