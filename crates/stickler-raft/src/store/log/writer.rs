//! The one thread that writes the log.
//!
//! It takes what waits, writes it as one batch, makes it durable, and only then says so. sled's own flush
//! hands the bytes to the kernel but does not sync the file, so an `fdatasync` of sled's file follows each
//! flush, in this order: a sync before the flush would sync the batch before this one.

use std::fs::File;
use std::io;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use sled::{Batch, Db, Tree};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::Shared;
use super::stored::{COMMITTED, PURGED, SEQUENCE, VOTE, entry_key, insert_entry, keys_from};
use crate::store::codec::{self, Kind};
use crate::store::{DataDirectory, StoreFailure, StoredTypes};

/// How many bytes of entries go into one sled batch, and into one sync while more wait.
const BATCH_BYTES: usize = 1 << 20;
/// How many keys one slice of a truncation removes.
const TRUNCATED_KEYS: usize = 500;
/// How many keys one slice of a purge removes at least: about a millisecond. sled reads the oldest keys back
/// from the disk, and what it makes of their pages is written by the next sync, for which an append may wait.
const PURGED_KEYS: usize = 16;
/// After how many batches the data directory is told how far the log is known to be.
const NOTE_EVERY: u64 = 4096;

/// What the thread is asked for, in the order of asking.
pub(super) enum Request<C: StoredTypes> {
    /// Write entries (index, envelope); `number` counts these requests.
    Append {
        entries: Vec<(u64, Vec<u8>)>,
        number: u64,
        flushed: IOFlushed<C>,
        /// Room in the queue, free again once this is written.
        room: OwnedSemaphorePermit,
    },
    /// Write the vote.
    Vote { envelope: Vec<u8>, done: Done },
    /// Remove every entry from `first_removed` on.
    Truncate { first_removed: u64, done: Done },
    /// Remember that everything before `keep_from` is purged, and remove it when there is time.
    Purge { envelope: Vec<u8>, keep_from: u64 },
}

/// Answers a request once it is durable.
pub(super) type Done = oneshot::Sender<io::Result<()>>;

/// Everything the thread owns.
pub(super) struct Writer<C: StoredTypes> {
    pub(super) db: Db,
    pub(super) tree: Tree,
    /// sled's data file, opened a second time to be synced.
    pub(super) data_file: File,
    pub(super) directory: DataDirectory,
    pub(super) shared: Arc<Shared<C>>,
    pub(super) requests: mpsc::Receiver<Request<C>>,
    /// Batches written, ever.
    pub(super) sequence: u64,
    /// The sequence that the data directory knows.
    pub(super) noted: u64,
    /// Entries before this index are still to be removed.
    pub(super) purge_before: Option<u64>,
    /// Tells that sled is closed. Dropped last, because fields are dropped in their order.
    pub(super) closed: watch::Sender<bool>,
}

/// Says so when the thread dies of a panic, in sled or here: nobody else would.
struct PanicIsFailure<C: StoredTypes>(Arc<Shared<C>>);

impl<C: StoredTypes> Drop for PanicIsFailure<C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.health.fail("the thread that writes the log panicked");
        }
    }
}

impl<C: StoredTypes> Writer<C> {
    /// Serves requests until the log is dropped, then closes sled.
    pub(super) fn run(mut self) {
        let _guard = PanicIsFailure(Arc::clone(&self.shared));
        while let Some(request) = self.next_request() {
            let group = request.map_or_else(Vec::new, |first| self.gather(first));
            let outcome = if group.is_empty() { self.purge_at_leisure() } else { self.serve(group) };
            if let Err(error) = outcome {
                let failure = self.shared.health.fail(&format!("{}: {error}", self.shared.path.display()));
                self.refuse_all(&failure);
            }
        }
        if let Err(error) = self.write_last() {
            self.shared.health.fail(&format!("{}: {error}", self.shared.path.display()));
        }
        self.shared.view().tree = None;
        let Self { db, tree, directory, closed, .. } = self;
        drop((tree, db));
        drop(directory);
        closed.send_replace(true);
    }

    /// The next request; `Some(None)` when none waits and a purge is unfinished; `None` at the end.
    fn next_request(&mut self) -> Option<Option<Request<C>>> {
        if self.purge_before.is_none() || self.shared.health.failure().is_some() {
            return self.requests.blocking_recv().map(Some);
        }
        match self.requests.try_recv() {
            Ok(request) => Some(Some(request)),
            Err(TryRecvError::Empty) => Some(None),
            Err(TryRecvError::Disconnected) => None,
        }
    }

    /// The requests that one sync serves.
    fn gather(&mut self, first: Request<C>) -> Vec<Request<C>> {
        let mut bytes = 0;
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            if let Request::Append { entries, .. } = &request {
                bytes += entries.iter().map(|(_, envelope)| envelope.len()).sum::<usize>();
            }
            group.push(request);
            if bytes >= BATCH_BYTES {
                break;
            }
            next = self.requests.try_recv().ok();
        }
        group
    }

    fn serve(&mut self, group: Vec<Request<C>>) -> io::Result<()> {
        if let Some(failure) = self.shared.health.failure() {
            group.into_iter().for_each(|request| refuse(request, &failure));
            return Ok(());
        }
        let written = self.write(&group).and_then(|keys| self.make_durable().map(|()| keys));
        let written_keys = match written {
            Ok(keys) => keys,
            Err(error) => {
                let failure = self.shared.health.fail(&format!("{}: {error}", self.shared.path.display()));
                group.into_iter().for_each(|request| refuse(request, &failure));
                return Ok(());
            }
        };
        for request in group {
            acknowledge(request);
        }
        // One slice for each group, so that a busy log doesn't put a purge off for ever; and more than the
        // group had, so that the purge comes to its end.
        self.purge_slice(PURGED_KEYS.max(2 * written_keys))?;
        self.note()
    }

    /// Hands a group to sled, and says how many keys its entries took.
    fn write(&mut self, group: &[Request<C>]) -> io::Result<usize> {
        let mut batch = Batch::default();
        let mut keys = 0;
        let mut bytes = 0;
        let mut written_request = None;
        for request in group {
            match request {
                Request::Append { entries, number, .. } => {
                    for (index, envelope) in entries {
                        keys += insert_entry(&mut batch, *index, envelope);
                        bytes += envelope.len();
                        if bytes >= BATCH_BYTES {
                            self.apply(std::mem::take(&mut batch))?;
                            bytes = 0;
                        }
                    }
                    written_request = Some(*number);
                }
                Request::Vote { envelope, .. } => batch.insert(VOTE, envelope.as_slice()),
                Request::Purge { envelope, keep_from } => {
                    batch.insert(PURGED, envelope.as_slice());
                    self.purge_before = Some(*keep_from);
                }
                Request::Truncate { first_removed, .. } => {
                    // Entries asked for before it are among those it removes, those after it are not.
                    self.apply(std::mem::take(&mut batch))?;
                    self.truncate(*first_removed)?;
                }
            }
        }
        self.insert_committed(&mut batch)?;
        self.apply(batch)?;
        if let Some(number) = written_request {
            self.shared.view().written(number);
        }
        Ok(keys)
    }

    /// Writes a batch with the next sequence number, whatever else it has.
    fn apply(&mut self, mut batch: Batch) -> io::Result<()> {
        self.sequence += 1;
        batch.insert(SEQUENCE, &self.sequence.to_le_bytes());
        Ok(self.tree.apply_batch(batch)?)
    }

    /// The committed position goes with the next batch: to lose its last values costs nothing, it is only
    /// where a restarted node begins to catch up.
    fn insert_committed(&self, batch: &mut Batch) -> io::Result<()> {
        let mut view = self.shared.view();
        if std::mem::take(&mut view.committed_is_new) {
            match &view.committed {
                Some(committed) => batch.insert(COMMITTED, encode(Kind::LogPosition, committed)?),
                None => batch.remove(COMMITTED),
            }
        }
        Ok(())
    }

    fn make_durable(&self) -> io::Result<()> {
        self.db.flush()?;
        self.data_file.sync_data()
    }

    /// Removes from the end backwards: cut short, it leaves a shorter removal and no hole.
    fn truncate(&mut self, first_removed: u64) -> io::Result<()> {
        loop {
            let keys = self.tree.range(keys_from(first_removed)).keys().rev().take(TRUNCATED_KEYS);
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::default();
            keys.into_iter().for_each(|key| batch.remove(key));
            self.apply(batch)?;
        }
    }

    /// Removes a slice while nobody waits, and syncs it at once: many slices would make the next append's
    /// sync slow.
    fn purge_at_leisure(&mut self) -> io::Result<()> {
        self.purge_slice(PURGED_KEYS)?;
        self.make_durable()
    }

    /// Removes one slice of what is purged, oldest first. The purged position was written before, so
    /// whatever a power cut leaves of the slices is not taken for a part of the log.
    fn purge_slice(&mut self, most_keys: usize) -> io::Result<()> {
        let Some(keep_from) = self.purge_before else { return Ok(()) };
        let keys = self.tree.range(entry_key(0, 0)..entry_key(keep_from, 0)).keys().take(most_keys);
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            self.purge_before = None;
            // sled reuses the room only once the removals are stable, and nobody else may come to flush.
            return self.make_durable();
        }
        let mut batch = Batch::default();
        keys.into_iter().for_each(|key| batch.remove(key));
        self.apply(batch)
    }

    /// Tells the data directory how far the log is, now and then. Everything up to here is durable but the
    /// slice of a purge that may just have been removed.
    fn note(&mut self) -> io::Result<()> {
        if self.sequence - self.noted >= NOTE_EVERY {
            self.make_durable()?;
            self.directory.note_log_sequence(self.sequence)?;
            self.noted = self.sequence;
        }
        Ok(())
    }

    fn write_last(&mut self) -> io::Result<()> {
        self.shared.health.check()?;
        let mut batch = Batch::default();
        self.insert_committed(&mut batch)?;
        self.apply(batch)?;
        self.make_durable()?;
        self.directory.note_log_sequence(self.sequence)
    }

    fn refuse_all(&mut self, failure: &StoreFailure) {
        while let Ok(request) = self.requests.try_recv() {
            refuse(request, failure);
        }
    }
}

fn encode<T: serde::Serialize>(kind: Kind, value: &T) -> io::Result<Vec<u8>> {
    codec::encode(kind, value).map_err(io::Error::other)
}

/// Nobody may wait for the answer any more; that is no concern of the log.
fn acknowledge<C: StoredTypes>(request: Request<C>) {
    match request {
        Request::Append { flushed, room, .. } => {
            drop(room);
            flushed.io_completed(Ok(()));
        }
        Request::Vote { done, .. } | Request::Truncate { done, .. } => drop(done.send(Ok(()))),
        Request::Purge { .. } => {}
    }
}

fn refuse<C: StoredTypes>(request: Request<C>, failure: &StoreFailure) {
    let error = Err(io::Error::other(failure.clone()));
    match request {
        Request::Append { flushed, .. } => flushed.io_completed(error),
        Request::Vote { done, .. } | Request::Truncate { done, .. } => drop(done.send(error)),
        Request::Purge { .. } => {}
    }
}
