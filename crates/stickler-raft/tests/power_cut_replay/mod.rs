//! The tests, and the process that is recorded.

mod disk;
mod journal;
mod recording;
mod replay;
mod stage;
mod tear;

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use journal::{Operation, Record, parse};
use recording::{Ending, Life, lives, record, without_syncs};
use replay::{Report, operations, replay};

use crate::workload;

/// A file that holds a recording, or is to hold it for a next time.
const RECORDING: &str = "POWER_CUT_REPLAY_RECORDING";
/// Which prefixes are replayed, as in `4000..8000`; all if it isn't set.
const PREFIXES: &str = "POWER_CUT_REPLAY_PREFIXES";

#[test]
fn after_every_prefix_of_what_the_store_does_nothing_acknowledged_is_lost() {
    let journal = record(&lives(1_000));
    let records = parse(&journal);
    let report = replay(&records, 0..count(&records) + 1);
    println!("{report}");
    expect_no_loss(&report, &records, &kept(&journal));
}

#[test]
#[ignore = "takes minutes: cargo test --release -p stickler-raft --test store_power_cut_replay -- --ignored --nocapture"]
fn after_every_prefix_of_ten_thousand_operations_nothing_acknowledged_is_lost() {
    let (journal, path) = match std::env::var_os(RECORDING).map(PathBuf::from) {
        Some(path) if path.exists() => (fs::read(&path).unwrap(), path),
        chosen => {
            let journal = record(&lives(10_500));
            let path = chosen.unwrap_or_else(|| kept(&journal));
            fs::write(&path, &journal).unwrap();
            (journal, path)
        }
    };
    let records = parse(&journal);
    let count = count(&records);
    assert!(count >= 10_000 || std::env::var_os(RECORDING).is_some(), "only {count} operations");
    let report = replay(&records, prefixes().unwrap_or(0..count + 1));
    println!("{count} operations {:?}, {} bytes of journal", operations(&records), journal.len());
    println!("{report}");
    expect_no_loss(&report, &records, &path);
}

fn count(records: &[Record]) -> usize {
    operations(records).values().sum()
}

fn prefixes() -> Option<Range<usize>> {
    let text = std::env::var(PREFIXES).ok()?;
    let (from, to) = text.split_once("..").expect("a range as in 4000..8000");
    Some(from.parse().unwrap()..to.parse().unwrap())
}

/// Keeps a journal where a failure can be looked at again.
fn kept(journal: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recording-{}", std::process::id()));
    fs::write(&path, journal).unwrap();
    path
}

fn expect_no_loss(report: &Report, records: &[Record], recording: &Path) {
    assert!(
        report.losses.is_empty(),
        "{}\n{report}\nto repeat: {RECORDING}={} {PREFIXES}=<n>..<n + 1> cargo test -p stickler-raft \
         --test store_power_cut_replay -- --ignored --nocapture",
        report.losses.join("\n"),
        recording.display()
    );
    assert!(report.acknowledged > 0, "nothing was acknowledged by {} records", records.len());
    if std::env::var_os(RECORDING).is_none() {
        fs::remove_file(recording).unwrap();
    }
}

/// One process from its first start over snapshots and purges, killed at its end.
fn short() -> &'static [Record] {
    static RECORDS: OnceLock<Vec<Record>> = OnceLock::new();
    RECORDS.get_or_init(|| parse(&record(&[Life { operations: 400, ending: Ending::Killed }])))
}

fn losses_without(left_out: impl Fn(&Operation, &str) -> bool) -> Vec<String> {
    let records = without_syncs(short(), left_out);
    assert!(records.len() < short().len(), "no sync was left out");
    replay(&records, 0..count(&records) + 1).losses
}

/// Without these, the replay could pass because its cuts lose nothing.
#[test]
fn without_the_fdatasync_of_the_log_entries_are_lost() {
    let losses = losses_without(|operation, path| {
        matches!(operation, Operation::SyncData { .. }) && path == "data/log/db"
    });
    assert!(losses.iter().any(|loss| loss.contains("is lost")), "{losses:?}");
}

#[test]
fn without_the_fsync_of_a_snapshot_its_content_is_lost() {
    let losses = losses_without(|_, path| path.starts_with("data/snapshots/"));
    assert!(losses.iter().any(|loss| loss.contains("data/snapshots/snapshot-")), "{losses:?}");
}

#[test]
fn without_the_fsync_of_a_directory_its_names_are_lost() {
    for directory in ["data", "data/snapshots", "data/log"] {
        let losses = losses_without(|_, path| path == directory);
        assert!(!losses.is_empty(), "the names in {directory} need no sync");
    }
}

#[test]
fn without_the_fsync_of_the_identity_a_node_does_not_know_itself() {
    let losses = losses_without(|_, path| path == "data/identity.new");
    assert!(losses.iter().any(|loss| loss.contains("identity")), "{losses:?}");
}

/// sled overwrites what its new table doesn't need as soon as it has renamed it, durable or not. So the table must
/// be there before sled opens the log: it then writes none.
#[test]
fn sled_never_writes_a_table_of_pages_beside_the_log() {
    let life = |ending| Life { operations: 150, ending };
    let records = parse(&record(&[life(Ending::Closed), life(Ending::Killed), life(Ending::Killed)]));
    let made: Vec<&str> = records
        .iter()
        .filter_map(|record| match record {
            Record::Operation(Operation::CreateFile { path, .. }) => Some(path.as_str()),
            _ => None,
        })
        .filter(|path| path.ends_with(".generating"))
        .collect();
    assert_eq!(made.len(), 2, "one for each start but the first: {made:?}");
    assert!(made.iter().all(|path| path.starts_with("data/log/copy/")), "{made:?}");
}

/// The process that is recorded. Started by the other tests alone; by itself it has nothing to do.
#[test]
fn process_that_is_recorded() {
    let Some(directory) = std::env::var_os(recording::DIRECTORY) else { return };
    let marks = File::create(std::env::var_os(recording::MARKS).unwrap()).unwrap();
    let say = |event: &str| {
        (&marks).write_all(format!("{event}\n").as_bytes()).unwrap();
        assert_eq!(marks.metadata().unwrap().len(), 0, "nothing is recorded: the library is not loaded");
    };
    let rounds = std::env::var(recording::ROUNDS).map_or(u64::MAX, |rounds| rounds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let failed = runtime.block_on(workload::run(directory.as_ref(), &say, rounds));
    assert!(failed.is_none(), "the store failed");
}
