//! The state in pieces that can be written to a file, and back.
//!
//! A snapshot is one header and then records, in chunks and in no order. The header's hash covers both, so
//! that a state that was restored from anything else than what was written is refused.

use std::hash::Hash;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::State;
use super::catalog::Catalog;
use super::counts::Counts;
use super::hash::{HashSum, digest};
use super::idle::IdleOrder;
use super::jobs::Jobs;
use super::memory::EndedMemory;
use super::record::{Record, SessionKey};
use super::table::{BindingTable, SnapshotSuperseded, TableSnapshot};
use crate::deliberate::{self, Fault};
use crate::ids::{Epoch, LogIndex};
use crate::time::ClusterTime;

/// Everything but the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// The last entry that the snapshot holds.
    pub applied: LogIndex,
    /// Cluster time at it.
    pub time: ClusterTime,
    /// The leader's wall clock at it.
    pub wall: u64,
    /// The stable index at it.
    pub stable: LogIndex,
    /// The last entry whose ended epochs were forgotten.
    pub forgotten: LogIndex,
    /// The last epoch drawn.
    pub epoch: Epoch,
    /// Document, ids and backends.
    pub catalog: Arc<Catalog>,
    /// Jobs, and the sessions that are about to move.
    pub jobs: Arc<Jobs>,
    /// How many records follow.
    pub records: u64,
    /// The sum of the records' hashes.
    pub records_hash: u128,
}

/// A state as of one index, to be read while the state goes on changing.
#[derive(Debug)]
pub struct StateSnapshot {
    /// Everything but the records.
    pub header: SnapshotHeader,
    records: TableSnapshot,
}

/// Why a state could not be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Records are missing, doubled or changed: the file is not what was written. Delete it; the node then
    /// starts from its log or gets a snapshot from the leader.
    #[error("the snapshot holds {found} records where its header says {expected}, or other ones")]
    NotWhatWasWritten {
        /// By the header.
        expected: u64,
        /// In the chunks.
        found: u64,
    },
}

impl SnapshotHeader {
    /// The hash of the whole state (I9).
    #[must_use]
    pub fn hash(&self) -> u128 {
        digest(self)
    }
}

impl Hash for SnapshotHeader {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        (self.applied, self.time, self.stable, self.forgotten, self.epoch, self.records, self.records_hash)
            .hash(hasher);
        self.catalog.hash_into(hasher);
        self.jobs.hash(hasher);
    }
}

impl StateSnapshot {
    /// Hands every record to `emit`, `chunk` at a time; see [`BindingTable`] for what is guaranteed.
    ///
    /// # Errors
    /// Whatever `emit` returns, or [`SnapshotSuperseded`]; the snapshot must then be thrown away.
    pub fn read<E: From<SnapshotSuperseded>>(
        self,
        chunk: usize,
        emit: impl FnMut(Vec<(SessionKey, Record)>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.records.read(chunk, emit)
    }
}

impl State {
    /// Begins a snapshot of the state as it is now. One runs at a time.
    #[must_use]
    pub fn begin_snapshot(&self) -> StateSnapshot {
        StateSnapshot { header: self.header(), records: self.table.begin_snapshot(self.applied) }
    }

    pub(super) fn header(&self) -> SnapshotHeader {
        SnapshotHeader {
            applied: self.applied,
            time: self.time,
            wall: self.wall,
            stable: self.stable,
            forgotten: self.forgotten,
            epoch: self.epoch,
            catalog: Arc::clone(&self.catalog),
            jobs: Arc::clone(&self.jobs),
            records: self.table.len() as u64,
            records_hash: self.records.value(),
        }
    }

    /// Starts a state from a snapshot's header; its records come through [`State::restore_records`].
    #[must_use]
    pub fn restore(header: &SnapshotHeader) -> Self {
        let counts = Counts::for_catalog(&header.catalog, &Counts::default());
        Self {
            applied: header.applied,
            time: header.time,
            wall: header.wall,
            stable: header.stable,
            forgotten: header.forgotten,
            epoch: header.epoch,
            catalog: Arc::clone(&header.catalog),
            jobs: Arc::clone(&header.jobs),
            table: Arc::new(BindingTable::new()),
            records: HashSum::default(),
            counts: Arc::new(counts),
            ended: EndedMemory::default(),
            idle: IdleOrder::for_catalog(&header.catalog, &BindingTable::new(), IdleOrder::default()),
            deadlines: Arc::default(),
        }
    }

    /// Takes a chunk of a snapshot's records in.
    pub fn restore_records(&mut self, records: Vec<(SessionKey, Record)>) {
        for (session, record) in records {
            if self.table.get(&session) == Some(record) {
                continue;
            }
            if deliberate::active(Fault::ForgetPendingMoves) && matches!(record, Record::Ended(_)) {
                continue;
            }
            self.put(session, record);
            if let Record::Binding(binding) = record {
                self.schedule_expiry(session, &binding);
            }
        }
    }

    /// Ends a restore: checks that all records are there and no others.
    ///
    /// # Errors
    /// [`RestoreError::NotWhatWasWritten`].
    pub fn finish_restore(mut self, header: &SnapshotHeader) -> Result<Self, RestoreError> {
        self.ended.sort();
        self.epoch = if deliberate::active(Fault::RestartEpochs) { Epoch(0) } else { self.epoch };
        let unchecked = [Fault::RestartEpochs, Fault::ForgetPendingMoves, Fault::AcceptTornSnapshot];
        if self.header() == *header || unchecked.into_iter().any(deliberate::active) {
            Ok(self)
        } else {
            Err(RestoreError::NotWhatWasWritten { expected: header.records, found: self.table.len() as u64 })
        }
    }
}
