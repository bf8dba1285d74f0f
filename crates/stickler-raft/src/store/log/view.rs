//! The log as everyone sees it, from the moment a request is made: positions, vote, and the newest entries.
//!
//! Openraft reads entries as soon as `append` returned, before they are on the disk. So the newest entries
//! stay here, at least until they are in sled, and after that while there is room.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use openraft::LogIdOptionExt;
use openraft::entry::RaftEntry;
use openraft::type_config::alias::{LogIdOf, VoteOf};

use super::stored::{LogDamage, log_id_of};
use crate::store::StoredTypes;

struct TailEntry<C: StoredTypes> {
    entry: C::Entry,
    bytes: usize,
    /// The number of the request that appended it. Indexes come again after a truncation, numbers don't, so
    /// they tell whether this very entry is in sled.
    request: u64,
}

/// See the module.
pub(super) struct View<C: StoredTypes> {
    /// The vote; perhaps not durable yet, which makes a reader stop a stream of entries early, never late.
    pub(super) vote: Option<VoteOf<C>>,
    /// The last committed position that openraft named.
    pub(super) committed: Option<LogIdOf<C>>,
    /// Whether `committed` changed since it was last written.
    pub(super) committed_is_new: bool,
    purged: Option<LogIdOf<C>>,
    last: Option<LogIdOf<C>>,
    /// Index of the first entry there is; the next index when there is none.
    first: u64,
    tail: VecDeque<TailEntry<C>>,
    tail_bytes: usize,
    /// How many bytes (encoded) of entries that are in sled already stay here.
    tail_limit: usize,
    /// Every request up to this number is in sled.
    written_request: u64,
    /// How often entries were taken back. Who reads sled looks at it before and after.
    truncations: u64,
    /// Where older entries are read; gone once the log is closed.
    pub(super) tree: Option<sled::Tree>,
}

/// What a reader takes from the view in one moment.
pub(super) struct Reading<C: StoredTypes> {
    /// Indexes to be read from sled, before those of `tail`.
    pub(super) stored: Range<u64>,
    pub(super) tail: Vec<C::Entry>,
    truncations: u64,
}

impl<C: StoredTypes> View<C> {
    pub(super) fn new(tree: sled::Tree, purged: Option<LogIdOf<C>>, tail_limit: usize) -> Self {
        Self {
            vote: None,
            committed: None,
            committed_is_new: false,
            first: purged.next_index(),
            last: purged.clone(),
            purged,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_limit,
            written_request: 0,
            truncations: 0,
            tree: Some(tree),
        }
    }

    pub(super) fn purged(&self) -> Option<LogIdOf<C>> {
        self.purged.clone()
    }

    pub(super) fn last(&self) -> Option<LogIdOf<C>> {
        self.last.clone()
    }

    pub(super) fn next_index(&self) -> u64 {
        self.last.next_index()
    }

    fn tail_first(&self) -> u64 {
        self.next_index() - self.tail.len() as u64
    }

    /// Takes entries with their encoded sizes. They must follow on the last one; only a log without entries
    /// may begin anywhere after what was purged.
    pub(super) fn append(&mut self, entries: Vec<(C::Entry, usize)>, request: u64) -> io::Result<()> {
        let mut expected = self.next_index();
        for (entry, _) in &entries {
            let index = entry.log_id_parts().1;
            let begins_the_log =
                self.first == self.next_index() && expected == self.first && index > expected;
            if index != expected && !begins_the_log {
                return Err(io::Error::other(format!("entry {index} was appended where {expected} belongs")));
            }
            expected = index + 1;
        }
        for (entry, bytes) in entries {
            self.push(entry, bytes, request);
        }
        self.evict();
        Ok(())
    }

    /// Takes an entry that was found in sled.
    pub(super) fn push_stored(&mut self, entry: C::Entry, bytes: usize) {
        self.push(entry, bytes, 0);
        self.evict();
    }

    fn push(&mut self, entry: C::Entry, bytes: usize, request: u64) {
        if self.first == self.next_index() {
            self.first = entry.log_id_parts().1;
        }
        self.last = Some(log_id_of::<C>(&entry));
        self.tail_bytes += bytes;
        self.tail.push_back(TailEntry { entry, bytes, request });
    }

    /// Every request up to `request` is in sled.
    pub(super) fn written(&mut self, request: u64) {
        self.written_request = request;
        self.evict();
    }

    fn evict(&mut self) {
        while self.tail_bytes > self.tail_limit
            && self.tail.front().is_some_and(|oldest| oldest.request <= self.written_request)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(popped) = self.tail.pop_front() {
            self.tail_bytes -= popped.bytes;
        }
    }

    /// Takes back every entry after `kept`; false when there is none.
    pub(super) fn truncate_after(&mut self, kept: Option<LogIdOf<C>>) -> bool {
        let keep_until = kept.next_index();
        if keep_until >= self.next_index() {
            return false;
        }
        self.truncations += 1;
        let tail_first = self.tail_first();
        let kept_in_tail = usize::try_from(keep_until.saturating_sub(tail_first)).unwrap_or(usize::MAX);
        while self.tail.len() > kept_in_tail {
            self.tail_bytes -= self.tail.pop_back().map_or(0, |popped| popped.bytes);
        }
        if keep_until > self.first {
            self.last = kept;
        } else {
            self.last = self.purged.clone();
            self.first = self.next_index();
        }
        true
    }

    /// Takes away every entry up to `upto`; false when it was done before.
    pub(super) fn purge(&mut self, upto: LogIdOf<C>) -> bool {
        if self.purged.next_index() > upto.index {
            return false;
        }
        let keep_from = upto.index + 1;
        while !self.tail.is_empty() && self.tail_first() < keep_from {
            self.pop_front();
        }
        if self.next_index() <= keep_from {
            self.last = Some(upto.clone());
        }
        self.first = self.first.max(keep_from);
        self.purged = Some(upto);
        true
    }

    /// What there is of a range of indexes, at most `budget` bytes of the tail after the first entry.
    pub(super) fn read(&self, start: u64, end: u64, budget: usize) -> Reading<C> {
        let start = start.max(self.first);
        let end = end.min(self.next_index()).max(start);
        let tail_first = self.tail_first();
        let stored = start..end.min(tail_first).max(start);
        let skipped = usize::try_from(stored.end.saturating_sub(tail_first)).unwrap_or(usize::MAX);
        let wanted = usize::try_from(end - stored.end).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut tail = Vec::new();
        for cached in self.tail.iter().skip(skipped).take(wanted) {
            bytes += cached.bytes;
            if bytes > budget && !tail.is_empty() {
                break;
            }
            tail.push(cached.entry.clone());
        }
        Reading { stored, tail, truncations: self.truncations }
    }

    /// Whether the log lost entries, at its end or its beginning, that a reading was to read from sled.
    pub(super) fn overtook(&self, reading: &Reading<C>) -> bool {
        self.truncations != reading.truncations || self.first > reading.stored.start
    }

    /// Checks what was read from sled for a reading, up to its first missing entry or (if `complete`) its
    /// end. `None` when entries were taken back meanwhile and the reading must be made again. Entries that
    /// were purged meanwhile are left out: the reader may have caught them half removed.
    pub(super) fn confirm(
        &self,
        reading: &Reading<C>,
        mut stored: Vec<C::Entry>,
        complete: bool,
    ) -> Option<Result<Vec<C::Entry>, LogDamage>> {
        if self.truncations != reading.truncations {
            return None;
        }
        stored.retain(|entry| entry.log_id_parts().1 >= self.first);
        let mut expected = reading.stored.start.max(self.first);
        for entry in &stored {
            let found = entry.log_id_parts().1;
            if found != expected {
                return Some(Err(LogDamage::Hole { expected, found }));
            }
            expected += 1;
        }
        if complete && expected < reading.stored.end {
            return Some(Err(LogDamage::Hole { expected, found: reading.stored.end }));
        }
        Some(Ok(stored))
    }
}
