//! A damaged log is refused with the way out, and never begun anew in silence.

use std::fs;
use std::path::Path;

use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::type_config::alias::VoteOf;
use stickler_core::ids::NodeId;
use stickler_raft::store::{DataDirectory, LogOpenError, SledLog};

use super::rig::{DiskRig, Rig};
use super::sample::{Sample, entry, log_id};

/// A closed log with a vote, fifty entries, and some purged. Entry 30 takes several values.
async fn written() -> DiskRig {
    let mut rig = DiskRig::new(0);
    rig.log().save_vote(&VoteOf::<Sample>::new(4, 1)).await.unwrap();
    let text = |index| if index == 30 { "x".repeat(30_000) } else { format!("entry {index}") };
    rig.log().blocking_append((0..50).map(|index| entry(4, index, text(index)))).await.unwrap();
    rig.log().purge(log_id(4, 9)).await.unwrap();
    rig.close().await;
    rig
}

fn refusal(rig: &DiskRig) -> (LogOpenError, String) {
    let error = rig.open().err().expect("a damaged log was opened");
    let text = error.to_string();
    let named = rig.path().join("log");
    assert!(text.contains(named.to_str().unwrap()), "{text} does not name {}", named.display());
    (error, text)
}

/// Changes the log behind the store's back.
fn tamper(rig: &DiskRig, change: impl FnOnce(&sled::Db)) {
    let db = sled::open(rig.path().join("log")).unwrap();
    change(&db);
    db.flush().unwrap();
}

fn key(index: u64, part: u16) -> Vec<u8> {
    [b"e".as_slice(), &index.to_be_bytes(), &part.to_be_bytes()].concat()
}

#[tokio::test]
async fn the_undamaged_log_opens() {
    let mut rig = written().await;
    tamper(&rig, |_| {});
    rig.reopen().await;
    let found = rig.log().get_log_reader().await.try_get_log_entries(..).await.unwrap();
    assert_eq!(found.len(), 40);
}

#[tokio::test]
async fn a_hole_is_refused() {
    for missing in [10, 20] {
        let rig = written().await;
        tamper(&rig, |db| drop(db.remove(key(missing, 0)).unwrap()));
        let (error, text) = refusal(&rig);
        assert!(matches!(error, LogOpenError::Damaged { .. }), "{text}");
        assert!(text.contains(&format!("entry {missing} is missing")) && text.contains("restore"), "{text}");
    }
}

#[tokio::test]
async fn a_missing_part_of_an_entry_is_refused() {
    for (part, others) in [(0, 0), (1, 0), (3, 0)] {
        let rig = written().await;
        tamper(&rig, |db| drop(db.remove(key(30, part)).unwrap()));
        let (_, text) = refusal(&rig);
        assert!(text.contains(&format!("entry 30 lacks part {}", part.max(others))), "{text}");
    }
}

#[tokio::test]
async fn an_entry_that_does_not_decode_is_refused() {
    let rig = written().await;
    tamper(&rig, |db| drop(db.insert(key(20, 0), &[1, 0, 2, 1, 0, 77]).unwrap()));
    let (_, text) = refusal(&rig);
    assert!(text.contains("entry 20 is not what was written"), "{text}");
}

#[tokio::test]
async fn an_entry_in_anothers_place_is_refused() {
    let rig = written().await;
    tamper(&rig, |db| {
        let other = db.get(key(21, 0)).unwrap().unwrap();
        drop(db.insert(key(20, 0), other).unwrap());
    });
    let (_, text) = refusal(&rig);
    assert!(text.contains("entry 20 says that it is entry 21"), "{text}");
}

#[tokio::test]
async fn entries_and_votes_of_a_later_release_are_refused() {
    for key in [key(20, 0), b"m-vote".to_vec()] {
        let rig = written().await;
        tamper(&rig, |db| {
            let mut value = db.get(&key).unwrap().unwrap().to_vec();
            let version = if key[0] == b'e' { 3 } else { 1 };
            value[version] = 9;
            drop(db.insert(&key, value).unwrap());
        });
        let (error, text) = refusal(&rig);
        assert!(matches!(error, LogOpenError::NewerVersion { .. }), "{text}");
        assert!(text.contains("version 9") && text.contains("run the release"), "{text}");
    }
}

#[tokio::test]
async fn a_missing_log_is_refused() {
    let rig = written().await;
    fs::remove_dir_all(rig.path().join("log")).unwrap();
    let (error, text) = refusal(&rig);
    assert!(matches!(error, LogOpenError::Missing { .. }), "{text}");
    assert!(!rig.path().join("log").exists(), "a refused start made a new log");
}

#[tokio::test]
async fn blob_files_are_refused() {
    let rig = written().await;
    fs::write(rig.path().join("log/blobs/1234"), "x").unwrap();
    assert!(matches!(refusal(&rig).0, LogOpenError::Blobs { .. }));
}

#[tokio::test]
async fn the_log_of_an_older_backup_is_refused() {
    let mut rig = written().await;
    let log = rig.path().join("log");
    let backup = rig.path().join("backup");
    copy(&log, &backup);
    rig.reopen().await;
    rig.log().save_vote(&VoteOf::<Sample>::new(5, 1)).await.unwrap();
    rig.close().await;
    fs::remove_dir_all(&log).unwrap();
    fs::rename(&backup, &log).unwrap();
    let (error, text) = refusal(&rig);
    assert!(matches!(error, LogOpenError::Damaged { .. }), "{text}");
    assert!(text.contains("what came after is lost"), "{text}");
}

/// sled takes a damaged batch for the end of its file and drops what follows.
#[tokio::test]
async fn damage_inside_sleds_file_never_passes_for_a_shorter_log() {
    let mut refused = 0;
    for step in 0..24 {
        let rig = written().await;
        let path = rig.path().join("log/db");
        for snapshot in fs::read_dir(rig.path().join("log")).unwrap() {
            let path = snapshot.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
                fs::remove_file(path).unwrap();
            }
        }
        let mut bytes = fs::read(&path).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let at = written * step / 24;
        bytes[at..(at + 16).min(written)].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, bytes).unwrap();
        match rig.open() {
            Err(error) => {
                assert!(error.to_string().contains(rig.path().to_str().unwrap()), "{error}");
                refused += 1;
            }
            // What was hit was no longer needed.
            Ok(mut log) => {
                let mut reader = log.get_log_reader().await;
                assert_eq!(reader.try_get_log_entries(..).await.unwrap().len(), 40, "at {at} of {written}");
                assert_eq!(reader.read_vote().await.unwrap(), Some(VoteOf::<Sample>::new(4, 1)));
            }
        }
    }
    assert!(refused > 5, "only {refused} of 24 damages were noticed");
}

/// The log is made before the data directory knows of it. Power cut in between: nothing was promised yet.
#[tokio::test]
async fn a_first_start_that_was_cut_short_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataDirectory::open(folder.path(), NodeId(1), [1; 16]).unwrap());
    fs::create_dir(folder.path().join("log")).unwrap();
    fs::write(folder.path().join("log/db"), [0xff; 5000]).unwrap();
    let directory = DataDirectory::open(folder.path(), NodeId(1), [1; 16]).unwrap();
    let mut log = SledLog::<Sample>::open(&directory).unwrap();
    log.blocking_append([entry(1, 0, "first".to_owned())]).await.unwrap();
}

#[tokio::test]
async fn an_entry_over_the_limit_is_refused_and_the_log_goes_on() {
    let mut rig = DiskRig::new(0);
    let error = rig.log().blocking_append([entry(1, 0, "x".repeat(5 << 20))]).await.unwrap_err();
    assert!(error.to_string().contains("limit of 4194304 bytes"), "{error}");
    assert_eq!(rig.log().get_log_state().await.unwrap().last_log_id, None);
    let largest = entry(1, 0, "x".repeat((4 << 20) - 100));
    rig.log().blocking_append([largest.clone()]).await.unwrap();
    rig.reopen().await;
    assert_eq!(rig.log().get_log_reader().await.try_get_log_entries(..).await.unwrap(), [largest]);
    assert_eq!(fs::read_dir(rig.path().join("log/blobs")).unwrap().count(), 0, "sled wrote a blob file");
}

/// sled may write a whole page anew at any moment, and makes a blob file of it, which it never syncs, when it is
/// over a limit: so it must be under it with whatever number of the largest values sled leaves in a page.
#[tokio::test]
async fn no_page_of_large_values_becomes_a_blob() {
    let mut rig = DiskRig::new(0);
    for round in 0..40 {
        let entries = (0..4).map(|place| entry(1, 4 * round + place, "x".repeat(1 << 20)));
        rig.log().blocking_append(entries).await.unwrap();
        if round % 3 == 2 {
            rig.log().purge(log_id(1, 4 * round + 1)).await.unwrap();
        }
        if round % 7 == 6 {
            rig.log().truncate_after(Some(log_id(1, 4 * round + 2))).await.unwrap();
            rig.log().blocking_append([entry(1, 4 * round + 3, "y".repeat(1 << 20))]).await.unwrap();
        }
        assert_eq!(fs::read_dir(rig.path().join("log/blobs")).unwrap().count(), 0, "round {round}");
    }
}

#[tokio::test]
async fn an_append_that_leaves_a_hole_is_refused() {
    let mut rig = DiskRig::new(0);
    rig.log().blocking_append([entry(1, 0, String::new())]).await.unwrap();
    assert!(rig.log().blocking_append([entry(1, 2, String::new())]).await.is_err());
    assert!(rig.log().blocking_append([entry(1, 0, String::new())]).await.is_err());
    rig.log().blocking_append([entry(1, 1, String::new())]).await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
