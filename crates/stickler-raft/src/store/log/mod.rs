//! The replicated log on disk.
//!
//! [`SledLog`] takes requests and answers reads at once from its [`view`]; one thread, the [`writer`], owns
//! every write. How entries lie in sled is in [`stored`], what is checked at a start in [`open`], and what is done
//! before sled may open its files in [`table`].

mod open;
mod reader;
mod stored;
mod table;
mod view;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::{LogIdOptionExt, LogState, OptionalSend};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use open::LogOpenError;
pub use reader::SledLogReader;
pub(in crate::store) use reader::half_open;
use view::View;
use writer::{Done, Request};

use super::codec::{self, Kind};
use super::{StoreHealth, StoredTypes};

/// How many KiB of entries may wait for the disk; whoever appends more waits with them.
const QUEUE_KIB: u32 = 64 << 10;
/// How many requests may wait for the disk.
const QUEUE_REQUESTS: usize = 4096;

/// The replicated log, the vote and the committed position of a node, in sled.
///
/// An append is readable when it returns and durable when its callback is called. Dropping it lets the
/// writing thread finish what was asked and close sled; [`Self::closed`] tells when that is done.
pub struct SledLog<C: StoredTypes> {
    shared: Arc<Shared<C>>,
    requests: mpsc::Sender<Request<C>>,
    room: Arc<Semaphore>,
    /// Appends asked for so far.
    appends: u64,
    closed: watch::Receiver<bool>,
}

/// What the log, its readers and its writer share.
struct Shared<C: StoredTypes> {
    view: Mutex<View<C>>,
    health: StoreHealth,
    /// sled's directory, for messages.
    path: PathBuf,
}

impl<C: StoredTypes> Shared<C> {
    fn view(&self) -> MutexGuard<'_, View<C>> {
        // No method of the view panics half way on what a disk or a peer sent.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells when a dropped log has closed its files, so that the data directory can be opened again.
#[derive(Clone, Debug)]
pub struct LogClosed(watch::Receiver<bool>);

impl LogClosed {
    /// Waits until the log's thread is done.
    pub async fn wait(mut self) {
        // An error means that the thread is gone, which closes the files as well.
        let _ = self.0.wait_for(|closed| *closed).await;
    }
}

impl<C: StoredTypes> SledLog<C> {
    /// Whether the log still works.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.shared.health.clone()
    }

    /// Take it before the log is given away, to learn when the dropped log has closed its files.
    #[must_use]
    pub fn closed(&self) -> LogClosed {
        LogClosed(self.closed.clone())
    }

    async fn request(&self, request: Request<C>) -> io::Result<()> {
        self.requests.send(request).await.map_err(|_| self.gone())
    }

    async fn request_durably(&self, request: impl FnOnce(Done) -> Request<C>) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.request(request(done)).await?;
        answer.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> io::Error {
        io::Error::other(self.shared.health.fail("the thread that writes the log is gone"))
    }
}

impl<C: StoredTypes> RaftLogStorage<C> for SledLog<C> {
    type LogReader = SledLogReader<C>;

    async fn get_log_state(&mut self) -> io::Result<LogState<C>> {
        self.shared.health.check()?;
        let view = self.shared.view();
        Ok(LogState { last_purged_log_id: view.purged(), last_log_id: view.last() })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        SledLogReader { shared: Arc::clone(&self.shared) }
    }

    async fn save_vote(&mut self, vote: &VoteOf<C>) -> io::Result<()> {
        self.shared.health.check()?;
        let envelope = codec::encode(Kind::Vote, vote).map_err(io::Error::other)?;
        self.shared.view().vote = Some(vote.clone());
        self.request_durably(|done| Request::Vote { envelope, done }).await
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> io::Result<()> {
        self.shared.health.check()?;
        let mut view = self.shared.view();
        view.committed_is_new |= view.committed != committed;
        view.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<C>>> {
        self.shared.health.check()?;
        Ok(self.shared.view().committed.clone())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> io::Result<()>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.shared.health.check()?;
        let mut readable = Vec::new();
        let mut written = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let envelope = codec::encode(Kind::LogEntry, &entry)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            bytes += envelope.len();
            written.push((entry.log_id_parts().1, envelope));
            readable.push((entry, written.last().map_or(0, |(_, envelope)| envelope.len())));
        }
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(QUEUE_KIB).min(QUEUE_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(io::Error::other)?;
        self.appends += 1;
        self.shared.view().append(readable, self.appends)?;
        let number = self.appends;
        self.request(Request::Append { entries: written, number, flushed: callback, room }).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> io::Result<()> {
        self.shared.health.check()?;
        let first_removed = last_log_id.next_index();
        if !self.shared.view().truncate_after(last_log_id) {
            return Ok(());
        }
        self.request_durably(|done| Request::Truncate { first_removed, done }).await
    }

    async fn purge(&mut self, log_id: LogIdOf<C>) -> io::Result<()> {
        self.shared.health.check()?;
        let envelope = codec::encode(Kind::LogPosition, &log_id).map_err(io::Error::other)?;
        let keep_from = log_id.index + 1;
        if !self.shared.view().purge(log_id) {
            return Ok(());
        }
        self.request(Request::Purge { envelope, keep_from }).await
    }
}
