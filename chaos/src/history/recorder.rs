//! Writes a history while it happens.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stickler_rt::{Clock, Moment};

use super::event::Event;

/// Takes events from everywhere in the run, in the order in which they are over, nearly. Clones write the same
/// history.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    clock: Clock,
    start: Moment,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Recorder {
    /// Begins a history in this new file. Times count from now.
    pub(crate) fn begin(path: &Path, clock: &Clock) -> io::Result<Self> {
        let file = BufWriter::new(File::create_new(path)?);
        let lines = Lines { file, failed: None };
        Ok(Self { clock: clock.clone(), start: clock.now(), lines: Arc::new(Mutex::new(lines)) })
    }

    /// Microseconds since the history began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.clock.now().since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// Writes one event. What fails is told by [`Recorder::finish`].
    pub(crate) fn write(&self, event: &Event) {
        let mut lines = self.lines();
        if lines.failed.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut lines.file, event)
            .map_err(io::Error::from)
            .and_then(|()| lines.file.write_all(b"\n"));
        lines.failed = written.err();
    }

    /// Everything that was written so far is in the file.
    pub(crate) fn finish(&self) -> io::Result<()> {
        let mut lines = self.lines();
        match lines.failed.take() {
            Some(error) => Err(error),
            None => lines.file.flush(),
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
