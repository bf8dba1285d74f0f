//! A machine whose power is cut: the files in use, the record of what was synced, and what a client knows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use openraft::storage::RaftLogStorage;
use openraft::{RaftLogReader, entry::RaftEntry};
use stickler_core::ids::NodeId;
use stickler_raft::store::{DataDirectory, SledLog};
use tempfile::TempDir;

use super::workload::expected;
use crate::sample::Sample;

/// Names the child's data directory to it.
pub const DIRECTORY: &str = "POWER_CUT_DATA_DIRECTORY";
/// What the child prints before each event.
pub const EVENT: &str = "event: ";

/// What goes wrong beside the cut.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub without_fdatasync: bool,
    pub fdatasyncs_before_failure: Option<u64>,
}

/// See the module.
pub struct Machine {
    folder: TempDir,
    library: &'static Path,
    /// Index and term of every entry that was acknowledged and not taken back.
    entries: BTreeMap<u64, u64>,
    vote: u64,
    purged: u64,
    incarnation: u64,
}

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        Self { folder, library: library(), entries: BTreeMap::new(), vote: 0, purged: 0, incarnation: 0 }
    }

    /// How many entries are known to be acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.entries.len() as u64
    }

    fn files(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("files")
    }

    fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    fn start(&self, faults: Faults) -> Child {
        let _ = fs::remove_dir_all(self.record());
        fs::create_dir(self.record()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "power_cut::process_that_is_cut_off", "--nocapture"])
            .env("LD_PRELOAD", self.library)
            .env("POWER_CUT_ROOT", self.files())
            .env("POWER_CUT_RECORD", self.record())
            .env(DIRECTORY, self.files().join("data"))
            .stdout(Stdio::piped());
        if faults.without_fdatasync {
            command.env("POWER_CUT_WITHOUT_FDATASYNC", "1");
        }
        if let Some(count) = faults.fdatasyncs_before_failure {
            command.env("POWER_CUT_FDATASYNCS_BEFORE_FAILURE", count.to_string());
        }
        command.spawn().unwrap()
    }

    /// Runs the child and kills it as soon as it has said so many things.
    pub fn run_until_cut(&mut self, last_event: u64, faults: Faults) {
        let mut child = self.start(faults);
        let mut events = 0;
        // What the child printed before it died counts, whether it was read before or after.
        for event in events_of(&mut child) {
            self.note(&event);
            events += 1;
            if events == last_event {
                child.kill().unwrap();
            }
        }
        let status = child.wait().unwrap();
        assert!(events >= last_event, "the process ended by itself: {status}");
    }

    /// Runs the child until its store fails, and returns what it found out after that.
    pub fn run_until_failure(&mut self, faults: Faults) -> Vec<String> {
        let mut child = self.start(faults);
        let mut events = events_of(&mut child);
        let mut before = events.by_ref().take_while(|event| event != "failed");
        before.by_ref().for_each(|event| self.note(&event));
        let after = events.collect();
        assert!(child.wait().unwrap().success());
        after
    }

    fn note(&mut self, event: &str) {
        let (what, numbers) = event.split_once(' ').unwrap();
        let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
        match (what, &numbers[..]) {
            ("started", &[incarnation]) => self.incarnation = incarnation,
            ("appended", &[term, index]) => drop(self.entries.insert(index, term)),
            ("voted", &[term]) => self.vote = term,
            ("truncating", &[first]) => drop(self.entries.split_off(&first)),
            ("purging", &[upto]) => self.purged = upto,
            _ => panic!("unknown event {event:?}"),
        }
    }

    /// Puts what was synced in place of the files, starts a store on it, and says what is lost.
    pub fn start_after_cut(&mut self) -> Result<(), String> {
        let root = fs::read_to_string(self.record().join("root")).unwrap();
        fs::remove_dir_all(self.files()).unwrap();
        restore(&self.record(), &root, &self.files());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.check())
    }

    async fn check(&mut self) -> Result<(), String> {
        let directory = DataDirectory::open(self.files().join("data"), NodeId(1), [3; 16])
            .map_err(|error| error.to_string())?;
        if directory.incarnation().0 <= self.incarnation {
            return Err(format!("incarnation {} comes again", self.incarnation));
        }
        let mut log = SledLog::<Sample>::open(&directory).map_err(|error| error.to_string())?;
        drop(directory);
        let mut reader = log.get_log_reader().await;
        let vote = reader.read_vote().await.unwrap().map_or(0, |vote| vote.leader_id.term);
        if vote < self.vote {
            return Err(format!("the vote of term {} is lost, {vote} is there", self.vote));
        }
        let state = log.get_log_state().await.unwrap();
        let first = state.last_purged_log_id.map_or(0, |purged| purged.index + 1);
        if first > self.purged + 1 {
            return Err(format!("purged up to {first}, but only {} was asked for", self.purged));
        }
        let found = reader.try_get_log_entries(0..).await.unwrap();
        let found: BTreeMap<u64, _> =
            found.into_iter().map(|entry| (entry.log_id_parts().1, entry)).collect();
        for (&index, &term) in self.entries.range(first..) {
            match found.get(&index) {
                None => return Err(format!("entry {index} is lost")),
                Some(entry) if *entry == expected(term, index) => {}
                Some(entry) => return Err(format!("entry {index} of term {term} is now {}", entry.log_id)),
            }
        }
        let closed = log.closed();
        drop((log, reader));
        closed.wait().await;
        Ok(())
    }
}

fn events_of(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = BufReader::new(child.stdout.take().unwrap());
    // The test harness of the child prints too, perhaps in front of the first event on its line.
    output
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split_once(EVENT).map(|(_, event)| event.to_owned()))
}

/// Makes a directory as the record holds it. What was never synced is an empty file or an empty directory.
fn restore(record: &Path, object: &str, path: &Path) {
    fs::create_dir(path).unwrap();
    let names = fs::read_to_string(record.join(format!("d-{object}"))).unwrap_or_default();
    for line in names.lines() {
        let [kind, object, name] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let path = path.join(name);
        if kind == "d" {
            restore(record, object, &path);
        } else {
            let content = fs::read(record.join(format!("f-{object}"))).unwrap_or_default();
            fs::write(path, content).unwrap();
        }
    }
}

/// Compiles the preloaded library, once for all tests of this process.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cut/power_cut.c");
        let library =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power_cut-{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread", "-o"])
            .args([&library, &source])
            .status()
            .expect("a C compiler called cc");
        assert!(compiled.success());
        library
    })
}
