//! How the log lies in sled: one tree, an entry over one or several keys, four fixed keys beside it.
//!
//! An entry's keys are `e`, index, part (both big endian, so that the tree's order is the log's). A value is
//! the entry's number of parts (two bytes, little endian), then a piece of its envelope.

use std::marker::PhantomData;

use openraft::entry::RaftEntry;
use openraft::type_config::alias::LogIdOf;
use serde::de::DeserializeOwned;
use sled::{Batch, IVec, Tree};

use crate::store::StoredTypes;
use crate::store::codec::{self, DecodeError, Kind};

/// sled writes a page anew at any moment, and when it is over a quarter of a segment (131,052 bytes) it goes to a
/// blob file, which sled never syncs. A page has up to 20 keys: 17 until it is split, and 3 of a neighbour that
/// was merged into it. So many of the largest values, each with its key and lengths, must be under that.
pub(super) const MAXIMUM_VALUE_BYTES: usize = 6 << 10;
const _: () = assert!(20 * (MAXIMUM_VALUE_BYTES + ENTRY_KEY_BYTES + 8) + 256 < 131_052);
const PARTS_BYTES: usize = 2;
const MAXIMUM_PIECE_BYTES: usize = MAXIMUM_VALUE_BYTES - PARTS_BYTES;

const ENTRY_PREFIX: u8 = b'e';
const ENTRY_KEY_BYTES: usize = 1 + 8 + 2;

/// The vote of this node.
pub(super) const VOTE: &[u8] = b"m-vote";
/// The position up to which the log is purged.
pub(super) const PURGED: &[u8] = b"m-purged";
/// A position up to which the log is committed, perhaps not the last.
pub(super) const COMMITTED: &[u8] = b"m-committed";
/// How many batches were written.
pub(super) const SEQUENCE: &[u8] = b"m-sequence";

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogDamage {
    #[error("entry {expected} is missing, the next one is {found}")]
    Hole { expected: u64, found: u64 },
    #[error("entry {index} lacks part {part}")]
    MissingPart { index: u64, part: u16 },
    #[error("entry {index} is not what was written: {reason}")]
    Entry { index: u64, reason: DecodeError },
    #[error("entry {index} says that it is entry {found}")]
    WrongIndex { index: u64, found: u64 },
    #[error("entry {index} is of an older term than the one before it")]
    TermsGoBack { index: u64 },
    #[error("{what} is not what was written: {reason}")]
    Position { what: &'static str, reason: DecodeError },
    #[error("the count of batches is not what was written")]
    Sequence,
    #[error("it ends at batch {found}, but batch {noted} was on the disk; what came after is lost")]
    Behind { found: u64, noted: u64 },
    #[error("a key of {0} bytes belongs to no entry")]
    ForeignKey(usize),
    #[error(transparent)]
    Sled(#[from] sled::Error),
}

impl LogDamage {
    /// The reason, when a later release wrote what could not be read.
    pub(super) fn newer_version(&self) -> Option<&DecodeError> {
        match self {
            Self::Entry { reason, .. } | Self::Position { reason, .. }
                if matches!(reason, DecodeError::NewerVersion { .. }) =>
            {
                Some(reason)
            }
            _ => None,
        }
    }
}

/// The log id of an entry.
pub(super) fn log_id_of<C: StoredTypes>(entry: &C::Entry) -> LogIdOf<C> {
    let (leader, index) = entry.log_id_parts();
    LogIdOf::<C>::new(leader.clone(), index)
}

/// The key of one part of an entry; with part 0, the lower bound of all that follows.
pub(super) fn entry_key(index: u64, part: u16) -> [u8; ENTRY_KEY_BYTES] {
    let mut key = [ENTRY_PREFIX; ENTRY_KEY_BYTES];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> Result<(u64, u16), LogDamage> {
    match key {
        [ENTRY_PREFIX, a, b, c, d, e, f, g, h, high, low] => {
            let index = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            Ok((index, u16::from_be_bytes([*high, *low])))
        }
        _ => Err(LogDamage::ForeignKey(key.len())),
    }
}

/// Every key of the log from an index on.
pub(super) fn keys_from(index: u64) -> std::ops::RangeInclusive<[u8; ENTRY_KEY_BYTES]> {
    entry_key(index, 0)..=entry_key(u64::MAX, u16::MAX)
}

/// Puts an entry's envelope into a batch, and says how many keys it takes.
pub(super) fn insert_entry(batch: &mut Batch, index: u64, envelope: &[u8]) -> usize {
    let pieces = envelope.chunks(MAXIMUM_PIECE_BYTES);
    let parts = u16::try_from(pieces.len()).expect("an envelope's limit is 683 pieces");
    for (part, piece) in (0_u16..).zip(pieces) {
        let mut value = Vec::with_capacity(PARTS_BYTES + piece.len());
        value.extend_from_slice(&parts.to_le_bytes());
        value.extend_from_slice(piece);
        batch.insert(&entry_key(index, part), value);
    }
    usize::from(parts)
}

/// Reads one of the fixed keys.
pub(super) fn read_position<T: DeserializeOwned>(
    tree: &Tree,
    key: &'static [u8],
    kind: Kind,
    what: &'static str,
) -> Result<Option<T>, LogDamage> {
    let Some(bytes) = tree.get(key)? else { return Ok(None) };
    codec::decode(kind, &bytes).map(Some).map_err(|reason| LogDamage::Position { what, reason })
}

/// Entries in the order of the log, put together from their parts. Each comes with its encoded size.
pub(super) struct StoredEntries<C> {
    parts: sled::Iter,
    types: PhantomData<C>,
}

impl<C: StoredTypes> StoredEntries<C> {
    pub(super) fn from(tree: &Tree, start: u64) -> Self {
        Self { parts: tree.range(keys_from(start)), types: PhantomData }
    }

    fn next_part(&mut self) -> Option<Result<(u64, u16, IVec), LogDamage>> {
        let part = self.parts.next()?;
        Some(part.map_err(LogDamage::from).and_then(|(key, value)| {
            let (index, part) = parse_key(&key)?;
            Ok((index, part, value))
        }))
    }

    fn assemble(&mut self, first: (u64, u16, IVec)) -> Result<(C::Entry, usize), LogDamage> {
        let (index, part, value) = first;
        let (parts, piece) = split_value(index, part, &value)?;
        if part != 0 {
            return Err(LogDamage::MissingPart { index, part: 0 });
        }
        let mut envelope = piece.to_vec();
        for part in 1..parts {
            match self.next_part().transpose()? {
                Some((found_index, found_part, value)) if (found_index, found_part) == (index, part) => {
                    envelope.extend_from_slice(split_value(index, part, &value)?.1);
                }
                _ => return Err(LogDamage::MissingPart { index, part }),
            }
        }
        let entry: C::Entry =
            codec::decode(Kind::LogEntry, &envelope).map_err(|reason| LogDamage::Entry { index, reason })?;
        let found = entry.log_id_parts().1;
        if found != index {
            return Err(LogDamage::WrongIndex { index, found });
        }
        Ok((entry, envelope.len()))
    }
}

fn split_value(index: u64, part: u16, value: &[u8]) -> Result<(u16, &[u8]), LogDamage> {
    let (parts, piece) = value.split_first_chunk().ok_or(LogDamage::MissingPart { index, part })?;
    Ok((u16::from_le_bytes(*parts), piece))
}

impl<C: StoredTypes> Iterator for StoredEntries<C> {
    type Item = Result<(C::Entry, usize), LogDamage>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next_part()?;
        Some(first.and_then(|first| self.assemble(first)))
    }
}
