//! A recording of a store: one process after another works on one folder, each ends in another way, and a
//! preloaded library writes down what they do.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::disk::{Disk, PowerCut};
use super::journal::{Operation, Record, parse, power_cut_record};
use super::stage;
use crate::preloaded::compile;

/// Names the process's data directory to it.
pub const DIRECTORY: &str = "POWER_CUT_REPLAY_DATA_DIRECTORY";
/// Names the file of its marks to it.
pub const MARKS: &str = "RECORDER_MARKS";
/// Tells the process after how many rounds it closes its store.
pub const ROUNDS: &str = "POWER_CUT_REPLAY_ROUNDS";
/// About how many operations a round of the workload takes.
const OPERATIONS_OF_ROUND: usize = 8;

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// It closes its store.
    Closed,
    /// It is killed; the machine goes on.
    Killed,
    /// The power of its machine is cut.
    PowerCut(PowerCut),
}

/// One process: about how many operations it does, and how it ends.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub operations: usize,
    pub ending: Ending,
}

/// Lives of many lengths, so many operations together. The first ones end in the middle of the first start.
pub fn lives(operations: usize) -> Vec<Life> {
    const LENGTHS: [usize; 9] = [7, 26, 60, 250, 25, 500, 150, 12, 700];
    let mut lives = Vec::new();
    let mut left = operations;
    for (number, length) in LENGTHS.into_iter().cycle().enumerate() {
        let ending = match number % 5 {
            0 => Ending::PowerCut(PowerCut::Tears(number as u64)),
            1 | 3 => Ending::Killed,
            2 => Ending::PowerCut(PowerCut::KeepsSynced),
            _ => Ending::Closed,
        };
        if left <= length {
            lives.push(Life { operations: left, ending: Ending::Killed });
            return lives;
        }
        lives.push(Life { operations: length, ending });
        // How much a process does before it closes its store is known about only.
        if !matches!(ending, Ending::Closed) {
            left -= length;
        }
    }
    unreachable!("the lengths come again and again")
}

/// Records so many lives and returns the journal.
pub fn record(lives: &[Life]) -> Vec<u8> {
    let folder = stage::folder();
    let root = folder.path().canonicalize().unwrap();
    fs::create_dir(root.join("files")).unwrap();
    let mut disk = Disk::new();
    let mut read = 0;
    for life in lives {
        live(&root, *life);
        let journal = fs::read(root.join("journal")).unwrap();
        for record in parse(&journal[read..]) {
            match &record {
                Record::Found { path, inode } => disk.found(path, *inode),
                Record::Operation(operation) => disk.apply(operation),
                Record::RangePushed | Record::Mark(_) | Record::PowerCut(_) => {}
            }
        }
        let recorded = disk.image(PowerCut::KeepsAll);
        assert!(recorded == stage::read(&root.join("files")).unwrap(), "a change of a file was not recorded");
        if let Ending::PowerCut(cut) = life.ending {
            disk = disk.after(cut);
            stage::set(&root.join("files"), &disk.image(PowerCut::KeepsAll)).unwrap();
            let mut journal = File::options().append(true).open(root.join("journal")).unwrap();
            journal.write_all(&power_cut_record(cut)).unwrap();
        }
        read = usize::try_from(fs::metadata(root.join("journal")).unwrap().len()).unwrap();
    }
    fs::read(root.join("journal")).unwrap()
}

/// Runs one process to its end.
fn live(root: &Path, life: Life) {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| compile("power_cut_replay/recorder.c"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "power_cut_replay::process_that_is_recorded", "--nocapture"])
        .env("LD_PRELOAD", library)
        .env("RECORDER_ROOT", root.join("files"))
        .env("RECORDER_JOURNAL", root.join("journal"))
        .env(MARKS, root.join("marks"))
        .env(DIRECTORY, root.join("files/data"))
        .stdout(Stdio::null());
    match life.ending {
        Ending::Closed => command.env(ROUNDS, (life.operations / OPERATIONS_OF_ROUND).to_string()),
        Ending::Killed | Ending::PowerCut(_) => {
            command.env("RECORDER_OPERATIONS", life.operations.to_string())
        }
    };
    let status = command.status().unwrap();
    assert_eq!(status.success(), matches!(life.ending, Ending::Closed), "the process ended with {status}");
    assert!(status.success() || status.code().is_none(), "the process gave up: {status}");
}

/// A recording as it would be if some syncs had not been called. Each is judged by what it syncs: a path below
/// the folder.
pub fn without_syncs(records: &[Record], left_out: impl Fn(&Operation, &str) -> bool) -> Vec<Record> {
    let mut paths = std::collections::HashMap::new();
    let mut kept = Vec::new();
    for record in records {
        match record {
            Record::Found { path, inode }
            | Record::Operation(
                Operation::CreateFile { path, inode } | Operation::MakeDirectory { path, inode },
            ) => drop(paths.insert(*inode, path.clone())),
            Record::Operation(operation @ (Operation::Sync { inode } | Operation::SyncData { inode }))
                if left_out(operation, &paths[inode]) =>
            {
                continue;
            }
            _ => {}
        }
        kept.push(record.clone());
    }
    kept
}
