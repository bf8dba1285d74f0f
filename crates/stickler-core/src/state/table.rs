//! The binding table: one writer (`apply`), any number of readers that never wait for it, and snapshots
//! that are taken while it changes.
//!
//! Readers see each record whole and always at its newest. A snapshot at index `s` walks the live table:
//! a record last changed after `s` is passed over, and its state at `s` comes from the list of first
//! pre-images that the writer keeps while a snapshot is under way. So a snapshot costs memory only for
//! what changes meanwhile, and the writer never stops.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use super::hash::HashSum;
use super::record::{Record, SessionKey};
use crate::ids::LogIndex;

/// Every record by its key. See the module's documentation.
pub struct BindingTable {
    records: papaya::HashMap<SessionKey, Record, KeyedAlready>,
    /// The snapshot under way, if any. Locked by the writer once for each record that it changes while a
    /// snapshot runs, and by the snapshot once at its end.
    capture: Mutex<Option<Arc<Capture>>>,
}

/// Records as they were at `at`, where they have changed since.
struct Capture {
    at: LogIndex,
    before: Mutex<Vec<(SessionKey, Record)>>,
}

impl BindingTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self { records: papaya::HashMap::with_hasher(KeyedAlready), capture: Mutex::new(None) }
    }

    /// The record of `key` at its newest. Never waits.
    #[must_use]
    pub fn get(&self, key: &SessionKey) -> Option<Record> {
        self.records.pin().get(key).copied()
    }

    /// How many records there are, ended ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Calls `visit` for every record, in no order, until it returns false. Records that change meanwhile
    /// are seen in their old or new state; those that are there throughout are seen.
    pub fn visit(&self, mut visit: impl FnMut(&SessionKey, &Record) -> bool) {
        for (key, record) in &self.records.pin() {
            if !visit(key, record) {
                return;
            }
        }
    }

    /// Only for the writer: sets the record of `key` and keeps `sum` in step.
    pub(super) fn put(&self, sum: &mut HashSum, key: SessionKey, record: Record) {
        let records = self.records.pin();
        if let Some(old) = records.get(&key).copied() {
            sum.remove(&(key, old));
            self.keep_for_snapshot(key, old);
        }
        sum.add(&(key, record));
        records.insert(key, record);
    }

    /// Only for the writer: forgets `key` and keeps `sum` in step.
    pub(super) fn forget(&self, sum: &mut HashSum, key: SessionKey) {
        let records = self.records.pin();
        if let Some(old) = records.get(&key).copied() {
            sum.remove(&(key, old));
            self.keep_for_snapshot(key, old);
            records.remove(&key);
        }
    }

    /// Only for the writer: starts a snapshot of the table as it is now, at index `at`. One runs at a
    /// time; an older one that has not ended yields an error at its end.
    pub(super) fn begin_snapshot(self: &Arc<Self>, at: LogIndex) -> TableSnapshot {
        let capture = Arc::new(Capture { at, before: Mutex::new(Vec::new()) });
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&capture));
        TableSnapshot { table: Arc::clone(self), capture }
    }

    fn keep_for_snapshot(&self, key: SessionKey, old: Record) {
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(capture) = capture.as_ref().filter(|capture| old.changed_at() <= capture.at) {
            capture.before.lock().unwrap_or_else(PoisonError::into_inner).push((key, old));
        }
    }
}

impl Default for BindingTable {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for BindingTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BindingTable").field("records", &self.len()).finish_non_exhaustive()
    }
}

/// The records of a table as they were at one index, readable once while the table goes on changing.
#[derive(Debug)]
pub struct TableSnapshot {
    table: Arc<BindingTable>,
    capture: Arc<Capture>,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("at", &self.at).finish_non_exhaustive()
    }
}

/// A newer snapshot was begun while this one was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a newer snapshot was begun meanwhile")]
pub struct SnapshotSuperseded;

impl TableSnapshot {
    /// Hands every record of the snapshot to `emit`, at most `chunk` at a time. A record that changes just
    /// while it is read may be handed out twice, both times in the same state.
    ///
    /// # Errors
    /// Whatever `emit` returns; or [`SnapshotSuperseded`], after which the snapshot must be thrown away.
    pub fn read<E: From<SnapshotSuperseded>>(
        self,
        chunk: usize,
        mut emit: impl FnMut(Vec<(SessionKey, Record)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut records = Vec::with_capacity(chunk);
        for (key, record) in &self.table.records.pin() {
            if record.changed_at() > self.capture.at {
                continue;
            }
            records.push((*key, *record));
            if records.len() == chunk {
                emit(std::mem::replace(&mut records, Vec::with_capacity(chunk)))?;
            }
        }
        emit(records)?;
        for before in self.end()?.chunks(chunk) {
            emit(before.to_vec())?;
        }
        Ok(())
    }

    /// Stops the writer from keeping pre-images and takes those it kept.
    fn end(&self) -> Result<Vec<(SessionKey, Record)>, SnapshotSuperseded> {
        let mut current = self.table.capture.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &self.capture)) {
            return Err(SnapshotSuperseded);
        }
        *current = None;
        Ok(std::mem::take(&mut self.capture.before.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for TableSnapshot {
    /// A snapshot that was given up must not make the writer keep pre-images for ever.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Keys are already keyed 128-bit hashes that no stranger can steer, so their bits are the hash.
#[derive(Clone, Copy, Debug, Default)]
struct KeyedAlready;

struct TakeBits(u64);

impl BuildHasher for KeyedAlready {
    type Hasher = TakeBits;

    fn build_hasher(&self) -> TakeBits {
        TakeBits(0)
    }
}

impl Hasher for TakeBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, affinity: u64) {
        self.0 ^= affinity;
    }

    fn write_u128(&mut self, key: u128) {
        // Both halves are uniform; one of them is enough, and the fold costs nothing.
        self.0 ^= (key as u64) ^ ((key >> 64) as u64);
    }
}
