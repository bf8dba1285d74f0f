//! A run as it was seen from outside, event by event, in a directory that can be judged again later.

pub(crate) mod event;
pub(crate) mod recorder;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use event::{Echo, Event, FaultEvent, Operation, Replica, Sighting, Standing, Visit};

/// Version of both files. A reader refuses any other.
pub(crate) const FORMAT: u32 = 1;

/// Name of the file with the events, one in each line.
pub(crate) const EVENTS: &str = "history.jsonl";

/// Name of the file about the run as a whole.
pub(crate) const RUN: &str = "run.json";

/// Why a saved history can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// Name a directory that a run was told to keep.
    #[error("can't read {0}: {1}")]
    File(PathBuf, io::Error),
    /// The file was damaged, or is none of a history.
    #[error("{path}, line {line}: {error}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1 on.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// Another version of this program wrote it: use that one.
    #[error("{path} has format {found}, this program reads {FORMAT}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// What is known of a run as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// [`FORMAT`].
    pub format: u32,
    /// What was run.
    pub scenario: String,
    /// The system under test, and its version as it says itself.
    pub version: String,
    /// The run's seed.
    pub seed: u64,
    /// How long faults were done, in seconds.
    pub duration: u64,
    /// How the nodes were connected.
    pub network: String,
    /// The nodes' ids.
    pub nodes: Vec<u64>,
    /// The backends' names.
    pub backends: Vec<String>,
    /// After which faults a client that tries every node may still see an error, and for how long.
    pub windows: Vec<Window>,
    /// What had to hold beside the oracle's predicates, with what was measured.
    pub bars: Vec<Bar>,
    /// Figures that decide nothing.
    pub figures: Vec<(String, String)>,
}

/// After a fault of this name, a client that tries every node may see an error for so long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// The fault.
    pub fault: String,
    /// Requests of known sessions.
    pub known: Allowed,
    /// Requests that begin a session.
    pub fresh: Allowed,
}

/// When errors are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Allowed {
    /// At no time.
    #[default]
    Never,
    /// So many milliseconds from the fault's beginning on, and as many from its healing on.
    Around(u64),
    /// From the beginning until so many milliseconds after the nodes are ready again.
    Throughout(u64),
}

/// Something that had to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bar {
    /// What.
    pub what: String,
    /// What was measured.
    pub measured: String,
    /// What it must be.
    pub must: String,
    /// Whether it was.
    pub held: bool,
}

/// A whole run, sorted by kinds of events.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// About the run as a whole.
    pub run: RunFile,
    /// In the order in which they were written, as all others.
    pub visits: Vec<Visit>,
    /// Messages over WebSockets.
    pub echoes: Vec<Echo>,
    /// What backends saw.
    pub sightings: Vec<Sighting>,
    /// Faults.
    pub faults: Vec<FaultEvent>,
    /// What operators did.
    pub operations: Vec<Operation>,
    /// What nodes said of themselves.
    pub standings: Vec<Standing>,
    /// What the nodes' replicas held in the end.
    pub replicas: Vec<Replica>,
    /// When the last event was over.
    pub end: u64,
}

impl History {
    /// Takes in one event.
    pub(crate) fn add(&mut self, event: Event) {
        self.end = self.end.max(event.at());
        match event {
            Event::Visit(visit) => self.visits.push(visit),
            Event::Echo(echo) => self.echoes.push(echo),
            Event::Sighting(sighting) => self.sightings.push(sighting),
            Event::Fault(fault) => self.faults.push(fault),
            Event::Operation(operation) => self.operations.push(operation),
            Event::Standing(standing) => self.standings.push(standing),
            Event::Replica(replica) => self.replicas.push(replica),
        }
    }

    /// Reads the history in this directory.
    pub(crate) fn read(directory: &Path) -> Result<Self, HistoryError> {
        let mut history = Self { run: read_run(directory)?, ..Self::default() };
        let path = directory.join(EVENTS);
        let file = File::open(&path).map_err(|error| HistoryError::File(path.clone(), error))?;
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.map_err(|error| HistoryError::File(path.clone(), error))?;
            let event = serde_json::from_str(&line);
            history.add(event.map_err(|error| HistoryError::Line {
                path: path.clone(),
                line: number,
                error,
            })?);
        }
        Ok(history)
    }
}

fn read_run(directory: &Path) -> Result<RunFile, HistoryError> {
    let path = directory.join(RUN);
    let text = fs::read_to_string(&path).map_err(|error| HistoryError::File(path.clone(), error))?;
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = |error| HistoryError::Line { path: path.clone(), line: 1, error };
    let Version { format } = serde_json::from_str(&text).map_err(damaged)?;
    if format != FORMAT {
        return Err(HistoryError::Format { path, found: format });
    }
    serde_json::from_str(&text).map_err(damaged)
}

impl RunFile {
    /// Writes it into this directory.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from)?;
        fs::write(directory.join(RUN), text + "\n")
    }
}

#[cfg(test)]
mod tests {
    use stickler_rt::Clock;

    use super::event::{Attempt, Outcome};
    use super::recorder::Recorder;
    use super::*;
    use crate::identifier::Door;

    fn visit() -> Visit {
        let served = Outcome::Served {
            backend: "web-1".to_owned(),
            epoch: Some(7),
            key: None,
            revealed: Some("abc".to_owned()),
        };
        let unknown = Outcome::Unknown { why: "no answer".to_owned() };
        let attempts = [(1, unknown), (2, served)];
        let attempts = attempts.map(|(node, outcome)| Attempt { node, began: 5, ended: 9, outcome });
        Visit {
            client: 3,
            door: Door::Own,
            session: "a".to_owned(),
            fresh: true,
            attempts: attempts.to_vec(),
        }
    }

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::begin(&directory.path().join(EVENTS), &Clock::start()).unwrap();
        recorder.write(&Event::Visit(visit()));
        recorder.finish().unwrap();
        let run = RunFile { format: FORMAT, scenario: "mixed".to_owned(), seed: 7, ..RunFile::default() };
        run.write(directory.path()).unwrap();
        let history = History::read(directory.path()).unwrap();
        assert_eq!((history.run, history.visits, history.end), (run, vec![visit()], 9));
    }

    #[test]
    fn a_history_of_another_format_is_refused_before_it_is_judged() {
        let directory = tempfile::tempdir().unwrap();
        RunFile { format: FORMAT + 1, ..RunFile::default() }.write(directory.path()).unwrap();
        let refused = History::read(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("format 2, this program reads 1"), "{refused}");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        RunFile { format: FORMAT, ..RunFile::default() }.write(directory.path()).unwrap();
        fs::write(directory.path().join(EVENTS), "{\"kind\":\"visit\"}\n").unwrap();
        let refused = History::read(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("line 1") && refused.contains(EVENTS), "{refused}");
    }
}
