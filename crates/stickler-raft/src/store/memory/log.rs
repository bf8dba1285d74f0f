//! The replicated log on a simulated disk.

use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::{LogIdOptionExt, LogState, OptionalSend, RaftLogReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stickler_core::deliberate::{self, Fault};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::contents::{Change, Contents, Envelope};
use super::disk::{MemoryDisk, SyncPolicy};
use crate::store::codec::{self, Kind};
use crate::store::log::half_open;
use crate::store::{StoreHealth, StoredTypes};

/// The log, vote and committed position on a [`MemoryDisk`]: readable when written, acknowledged when the
/// disk has synced them.
pub struct MemoryLog<C: StoredTypes> {
    reader: MemoryLogReader<C>,
    health: StoreHealth,
    /// Syncs a while after each write, where the disk's policy says so.
    syncing: Option<AbortHandle>,
}

/// Reads a [`MemoryLog`].
#[derive(Clone)]
pub struct MemoryLogReader<C: StoredTypes> {
    disk: MemoryDisk,
    generation: u64,
    types: PhantomData<C>,
}

impl<C: StoredTypes> MemoryLog<C> {
    /// Opens the log of a disk, as a process that starts does. A log that was open on it before can't be
    /// used any more. With [`SyncPolicy::After`] it must be called in a tokio runtime.
    #[must_use]
    pub fn open(disk: &MemoryDisk) -> Self {
        let (generation, health) = disk.open_log();
        let syncing = match disk.policy() {
            SyncPolicy::After(delay) => {
                let disk = disk.clone();
                let task = tokio::spawn(async move {
                    loop {
                        disk.written.notified().await;
                        tokio::time::sleep(delay).await;
                        if disk.sync_generation(generation).is_err() {
                            return;
                        }
                    }
                });
                Some(task.abort_handle())
            }
            SyncPolicy::Immediate | SyncPolicy::Manual => None,
        };
        Self {
            reader: MemoryLogReader { disk: disk.clone(), generation, types: PhantomData },
            health,
            syncing,
        }
    }

    /// Whether the log still works.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.health.clone()
    }

    fn contents<T>(&self, read: impl FnOnce(&mut Contents) -> io::Result<T>) -> io::Result<T> {
        self.reader.contents(read)
    }

    async fn write_durably(&self, change: Change) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        self.reader.disk.write(self.reader.generation, change, done)?;
        answer
            .await
            .map_err(|_| io::Error::other("the simulated machine crashed before the write was synced"))?
    }
}

/// A process that is gone syncs nothing more.
impl<C: StoredTypes> Drop for MemoryLog<C> {
    fn drop(&mut self) {
        if let Some(task) = &self.syncing {
            task.abort();
        }
    }
}

impl<C: StoredTypes> MemoryLogReader<C> {
    fn contents<T>(&self, read: impl FnOnce(&mut Contents) -> io::Result<T>) -> io::Result<T> {
        read(&mut self.disk.of_generation(self.generation)?.current)
    }
}

fn encode<T: Serialize>(kind: Kind, value: &T) -> io::Result<Envelope> {
    let envelope =
        codec::encode(kind, value).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(envelope.into())
}

fn decode<T: DeserializeOwned>(kind: Kind, envelope: &Envelope) -> io::Result<T> {
    codec::decode(kind, envelope).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The purged and the last position.
fn state<C: StoredTypes>(contents: &Contents) -> io::Result<LogState<C>> {
    let purged = contents.purged.as_ref().map(|position| decode(Kind::LogPosition, position)).transpose()?;
    let last = match contents.entries.last_key_value() {
        None => purged.clone(),
        Some((_, envelope)) => {
            let entry: C::Entry = decode(Kind::LogEntry, envelope)?;
            let (leader, index) = entry.log_id_parts();
            Some(LogIdOf::<C>::new(leader.clone(), index))
        }
    };
    Ok(LogState { last_purged_log_id: purged, last_log_id: last })
}

impl<C: StoredTypes> RaftLogStorage<C> for MemoryLog<C> {
    type LogReader = MemoryLogReader<C>;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        self.contents(|contents| state(contents))
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> io::Result<()> {
        self.write_durably(Change::Vote(encode(Kind::Vote, vote)?)).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> io::Result<()> {
        let committed = committed.map(|position| encode(Kind::LogPosition, &position)).transpose()?;
        self.contents(|contents| {
            contents.committed = committed;
            Ok(())
        })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<C>>> {
        self.contents(|contents| {
            contents.committed.as_ref().map(|position| decode(Kind::LogPosition, position)).transpose()
        })
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut expected = self.contents(|contents| Ok(state::<C>(contents)?.last_log_id.next_index()))?;
        let mut may_begin = self.contents(|contents| Ok(contents.entries.is_empty()))?;
        let mut written = Vec::new();
        for entry in entries {
            let index = entry.log_id_parts().1;
            if index != expected && !(may_begin && index > expected) {
                return Err(io::Error::other(format!("entry {index} was appended where {expected} belongs")));
            }
            (expected, may_begin) = (index + 1, false);
            written.push((index, encode(Kind::LogEntry, &entry)?));
        }
        if deliberate::active(Fault::SkipSync) {
            self.reader.disk.write(self.reader.generation, Change::Append(written), Box::new(drop))?;
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let done = Box::new(move |result| callback.io_completed(result));
        self.reader.disk.write(self.reader.generation, Change::Append(written), done)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> io::Result<()> {
        let first_removed = last_log_id.next_index();
        let shortens =
            self.contents(|contents| Ok(contents.entries.range(first_removed..).next().is_some()))?;
        if !shortens {
            return Ok(());
        }
        self.write_durably(Change::Truncate { first_removed }).await
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> io::Result<()> {
        let purged = self.contents(|contents| Ok(state::<C>(contents)?.last_purged_log_id))?;
        if purged.next_index() > log_id.index {
            return Ok(());
        }
        let change =
            Change::Purge { position: encode(Kind::LogPosition, &log_id)?, keep_from: log_id.index + 1 };
        self.reader.disk.write(self.reader.generation, change, Box::new(drop))
    }
}

impl<C: StoredTypes> RaftLogReader<C> for MemoryLogReader<C> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<C::Entry>> {
        let (start, end) = half_open(&range);
        self.contents(|contents| {
            let found = contents.entries.range(start..end.max(start));
            found.map(|(_, envelope)| decode(Kind::LogEntry, envelope)).collect()
        })
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<C>>> {
        self.contents(|contents| contents.vote.as_ref().map(|vote| decode(Kind::Vote, vote)).transpose())
    }
}
