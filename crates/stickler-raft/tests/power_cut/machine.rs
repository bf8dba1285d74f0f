//! A machine whose power is cut: the files in use, the record of what was synced, and what a client knows.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::found::Found;
use crate::ledger::Ledger;
use crate::preloaded::compile;

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
    ledger: Ledger,
}

impl Machine {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        Self { folder, library: library(), ledger: Ledger::default() }
    }

    /// How many entries are known to be acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.ledger.acknowledged()
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
            self.ledger.note(&event);
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
        before.by_ref().for_each(|event| self.ledger.note(&event));
        let after = events.collect();
        assert!(child.wait().unwrap().success());
        after
    }

    /// Puts what was synced in place of the files, starts a store on it, and says what is lost.
    pub fn start_after_cut(&mut self) -> Result<(), String> {
        let root = fs::read_to_string(self.record().join("root")).unwrap();
        fs::remove_dir_all(self.files()).unwrap();
        restore(&self.record(), &root, &self.files());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        self.ledger.judge(&runtime.block_on(Found::open(&self.files().join("data")))?)
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
    LIBRARY.get_or_init(|| compile("power_cut/power_cut.c"))
}
