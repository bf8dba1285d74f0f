//! Opening the log: what must hold before a node may vote or acknowledge with it.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use openraft::LogIdOptionExt;
use openraft::entry::RaftEntry;
use openraft::type_config::alias::LogIdOf;
use sled::{Db, Tree};
use tokio::sync::{Semaphore, mpsc, watch};

use super::stored::{
    COMMITTED, LogDamage, PURGED, SEQUENCE, StoredEntries, VOTE, entry_key, log_id_of, read_position,
};
use super::table::bring_up_to_date;
use super::view::View;
use super::writer::Writer;
use super::{QUEUE_KIB, QUEUE_REQUESTS, Shared, SledLog};
use crate::store::codec::{DecodeError, Kind};
use crate::store::durable::sync_directory;
use crate::store::identity::IdentityStore;
use crate::store::{DataDirectory, StoreHealth, StoredTypes};

const SLED_CACHE_BYTES: u64 = 64 << 20;
/// Followers that keep up are fed from memory.
const TAIL_BYTES: usize = 16 << 20;
/// sled's file stays locked for a moment after a log in this process was closed. No other process can hold
/// it: the data directory itself is locked.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a log was not opened. A node must not start without it: it may have voted and acknowledged with what
/// is missing.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The log is not there, although this data directory had one.
    #[error(
        "{}: the log is missing although this data directory had one; restore the whole data directory from \
         one backup, or remove this node from the cluster and let it join again with an empty directory",
        .path.display()
    )]
    Missing {
        /// Where it belongs.
        path: PathBuf,
    },
    /// sled holds values outside of the file that is synced.
    #[error(
        "{}: blob files are never synced and this program writes none, so something else wrote here; remove \
         this node from the cluster and let it join again with an empty directory",
        .path.display()
    )]
    Blobs {
        /// The directory that should be empty.
        path: PathBuf,
    },
    /// The log is not what was written.
    #[error(
        "{}: the log is damaged ({reason}); restore the whole data directory from one backup, or remove this \
         node from the cluster and let it join again with an empty directory",
        .path.display()
    )]
    Damaged {
        /// sled's directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later release wrote the log.
    #[error("{}: {reason}", .path.display())]
    NewerVersion {
        /// sled's directory.
        path: PathBuf,
        /// Which version was found.
        reason: DecodeError,
    },
    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl<C: StoredTypes> SledLog<C> {
    /// Opens the log of a data directory, or makes it in one that never had a log. Reads the whole log once
    /// to check it: call it where blocking is allowed.
    ///
    /// # Errors
    /// One of [`LogOpenError`]. What a power cut left unsynced is no error: sled drops it by itself.
    pub fn open(directory: &DataDirectory) -> Result<Self, LogOpenError> {
        Self::open_with_tail(directory, TAIL_BYTES)
    }

    /// As [`Self::open`], with another limit on the bytes (encoded) of the newest entries that stay in
    /// memory. Entries that are not written yet stay above it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_tail(directory: &DataDirectory, tail_bytes: usize) -> Result<Self, LogOpenError> {
        let path = directory.log_path();
        let io_at = |source| LogOpenError::Io { path: path.clone(), source };
        let noted = directory.identity().log_sequence;
        prepare(&path, noted.is_some())?;
        bring_up_to_date(&path, |copy| open_sled(copy, &path))?;

        let db = open_sled(&path, &path)?;
        let tree: Tree = (*db).clone();
        let checked = check(&tree, noted, tail_bytes).map_err(|damage| refusal(&path, &damage))?;
        let data_file = make_durable(&db, &path, directory.path()).map_err(io_at)?;
        // From here on a missing log is a loss, not a first start.
        directory
            .note_log_sequence(checked.sequence)
            .map_err(|source| LogOpenError::Io { path: directory.identity_path(), source })?;
        tracing::info!(
            path = %path.display(), purged = ?checked.view.purged(), last = ?checked.view.last(), "log opened"
        );
        start(db, tree, data_file, directory, checked).map_err(io_at)
    }
}

/// The log as it was found.
struct Checked<C: StoredTypes> {
    view: View<C>,
    sequence: u64,
}

/// Refuses a log that is gone or not ours, and clears away what a first start left that was cut short.
fn prepare(path: &Path, was_made: bool) -> Result<(), LogOpenError> {
    let io_at = |path: &Path| {
        let path = path.to_owned();
        move |source| LogOpenError::Io { path, source }
    };
    if was_made && !path.join("db").is_file() {
        return Err(LogOpenError::Missing { path: path.to_owned() });
    }
    if !was_made && path.exists() {
        // The data directory is told of its log before the first acknowledgement, so nothing in here was
        // ever promised to anyone.
        fs::remove_dir_all(path).map_err(io_at(path))?;
    }
    let blobs = path.join("blobs");
    match fs::read_dir(&blobs).map(Iterator::count) {
        Ok(1..) => Err(LogOpenError::Blobs { path: blobs }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(&blobs)(error)),
        _ => Ok(()),
    }
}

/// Opens sled in a directory. Its errors are about `path`.
fn open_sled(directory: &Path, path: &Path) -> Result<Db, LogOpenError> {
    let config = sled::Config::new()
        .path(directory)
        .mode(sled::Mode::HighThroughput)
        .cache_capacity(SLED_CACHE_BYTES)
        .flush_every_ms(None);
    let damaged = |reason: String| LogOpenError::Damaged { path: path.to_owned(), reason };
    let mut attempts = 0;
    loop {
        // On some damage sled panics instead of answering; for an operator that is the same.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
            .map_err(|_| damaged("sled gave up reading its file".to_owned()))?;
        match opened {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(source)) => {
                attempts += 1;
                if !source.to_string().contains("could not acquire lock") || attempts == LOCK_ATTEMPTS {
                    return Err(LogOpenError::Io { path: path.to_owned(), source });
                }
                thread::sleep(LOCK_PAUSE);
            }
            Err(error) => return Err(damaged(error.to_string())),
        }
    }
}

/// Syncs what sled has written so far, its configuration, and the names of its files: sled leaves most of that
/// to the kernel. Returns its data file, to be synced from now on.
fn make_durable(db: &Db, log: &Path, data_directory: &Path) -> io::Result<File> {
    db.flush()?;
    let data_file = File::options().read(true).write(true).open(log.join("db"))?;
    data_file.sync_all()?;
    File::open(log.join("conf"))?.sync_all()?;
    sync_directory(&log.join("blobs"))?;
    sync_directory(log)?;
    sync_directory(data_directory)?;
    Ok(data_file)
}

/// Reads everything once. After a power cut sled keeps a beginning of what was written in its order, and it
/// was written in the log's order: so the end may be shorter than what was asked for (never than what was
/// acknowledged), but a hole can't come from a power cut. A hole means damage, and so does a log that is
/// behind what the data directory knows to be durable: sled takes a damaged batch for the end and drops
/// everything after it without a word.
fn check<C: StoredTypes>(
    tree: &Tree,
    noted: Option<u64>,
    tail_bytes: usize,
) -> Result<Checked<C>, LogDamage> {
    let sequence = match tree.get(SEQUENCE)? {
        None => 0,
        Some(bytes) => {
            let bytes = bytes.as_ref().try_into().map_err(|_| LogDamage::Sequence)?;
            u64::from_le_bytes(bytes)
        }
    };
    if let Some(noted) = noted.filter(|noted| *noted > sequence) {
        return Err(LogDamage::Behind { found: sequence, noted });
    }
    let purged: Option<LogIdOf<C>> = read_position(tree, PURGED, Kind::LogPosition, "the purged position")?;
    let mut view = View::new(tree.clone(), purged, tail_bytes);
    view.vote = read_position(tree, VOTE, Kind::Vote, "the vote")?;
    view.committed = read_position(tree, COMMITTED, Kind::LogPosition, "the committed position")?;
    for stored in StoredEntries::<C>::from(tree, view.next_index()) {
        let (entry, bytes) = stored?;
        let (expected, found) = (view.next_index(), entry.log_id_parts().1);
        if found != expected {
            return Err(LogDamage::Hole { expected, found });
        }
        if view.last().is_some_and(|last| log_id_of::<C>(&entry) <= last) {
            return Err(LogDamage::TermsGoBack { index: found });
        }
        view.push_stored(entry, bytes);
    }
    Ok(Checked { view, sequence })
}

fn refusal(path: &Path, damage: &LogDamage) -> LogOpenError {
    let path = path.to_owned();
    match damage.newer_version() {
        Some(reason) => LogOpenError::NewerVersion { path, reason: reason.clone() },
        None => LogOpenError::Damaged { path, reason: damage.to_string() },
    }
}

fn start<C: StoredTypes>(
    db: Db,
    tree: Tree,
    data_file: File,
    directory: &DataDirectory,
    checked: Checked<C>,
) -> io::Result<SledLog<C>> {
    let keep_from = checked.view.purged().next_index();
    let remains = tree.range(entry_key(0, 0)..entry_key(keep_from, 0)).next().transpose()?.is_some();
    let shared = Arc::new(Shared {
        view: Mutex::new(checked.view),
        health: StoreHealth::new(),
        path: directory.log_path(),
    });
    let (requests, received) = mpsc::channel(QUEUE_REQUESTS);
    let (closing, closed) = watch::channel(false);
    let writer = Writer {
        db,
        tree,
        data_file,
        directory: directory.clone(),
        shared: Arc::clone(&shared),
        requests: received,
        sequence: checked.sequence,
        noted: checked.sequence,
        purge_before: remains.then_some(keep_from),
        closed: closing,
    };
    thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run())?;
    let room = Arc::new(Semaphore::new(QUEUE_KIB as usize));
    Ok(SledLog { shared, requests, room, appends: 0, closed })
}
