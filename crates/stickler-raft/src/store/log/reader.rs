//! Reading the log: the newest entries from memory, older ones from sled beside the async runtime.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::entry::RaftEntry;
use openraft::type_config::alias::VoteOf;
use openraft::{OptionalSend, RaftLogReader};

use super::Shared;
use super::stored::{LogDamage, StoredEntries};
use crate::store::StoredTypes;

/// How many bytes of entries one message to a follower carries at most, if it has more than one.
const MESSAGE_BYTES: usize = 1 << 20;

/// Reads the log of one [`SledLog`](super::SledLog), also while it is written to.
#[derive(Clone)]
pub struct SledLogReader<C: StoredTypes> {
    pub(super) shared: Arc<Shared<C>>,
}

impl<C: StoredTypes> SledLogReader<C> {
    async fn read(&self, start: u64, end: u64, budget: usize) -> io::Result<Vec<C::Entry>> {
        self.shared.health.check()?;
        loop {
            let (mut reading, tree) = {
                let view = self.shared.view();
                (view.read(start, end, budget), view.tree.clone())
            };
            if reading.stored.is_empty() {
                return Ok(reading.tail);
            }
            let tree = tree.ok_or_else(|| io::Error::other("the log is closed"))?;
            let range = reading.stored.clone();
            let stored = tokio::task::spawn_blocking(move || read_stored::<C>(&tree, range, budget))
                .await
                .map_err(io::Error::other)?;
            let (stored, complete) = match stored {
                // A removal is seen key by key: half of it looks like damage.
                Err(_) if self.shared.view().overtook(&reading) => continue,
                read => read.map_err(|damage| self.damaged(&damage))?,
            };
            let confirmed = self.shared.view().confirm(&reading, stored, complete);
            let Some(entries) = confirmed else { continue };
            let mut entries = entries.map_err(|damage| self.damaged(&damage))?;
            if complete {
                entries.append(&mut reading.tail);
            }
            return Ok(entries);
        }
    }

    fn damaged(&self, damage: &LogDamage) -> io::Error {
        let path = self.shared.path.display();
        io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {damage}"))
    }
}

/// Reads a range from sled, up to a budget; true when all of it was read.
fn read_stored<C: StoredTypes>(
    tree: &sled::Tree,
    range: std::ops::Range<u64>,
    budget: usize,
) -> Result<(Vec<C::Entry>, bool), LogDamage> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    for stored in StoredEntries::<C>::from(tree, range.start) {
        let (entry, entry_bytes) = stored?;
        if entry.log_id_parts().1 >= range.end {
            break;
        }
        bytes += entry_bytes;
        if bytes > budget && !entries.is_empty() {
            return Ok((entries, false));
        }
        entries.push(entry);
    }
    Ok((entries, true))
}

impl<C: StoredTypes> RaftLogReader<C> for SledLogReader<C> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<C::Entry>> {
        let (start, end) = half_open(&range);
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<C::Entry>> {
        self.read(start, end, MESSAGE_BYTES).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<C>>> {
        self.shared.health.check()?;
        Ok(self.shared.view().vote.clone())
    }
}

/// Any range of indexes as start and exclusive end.
pub(in crate::store) fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}
