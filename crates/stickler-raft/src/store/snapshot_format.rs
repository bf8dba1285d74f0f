//! What a snapshot's bytes look like.
//!
//! ```text
//! header   magic (8) · format version (2) · covered (8) · length of meta (4) · meta · checksum (4)
//! chunk    length (4), not 0 · bytes          as many as there are
//! trailer  0 (4) · length of everything (8) · checksum (4)
//! ```
//!
//! Numbers are little endian. The first checksum is over the header, the second over everything before it.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use super::codec::{DecodeError, EncodeError, Kind};
use super::snapshot_folder::SnapshotBytes;

const MAGIC: &[u8; 8] = b"STKLSNAP";
const FORMAT_VERSION: u16 = 1;
const TRAILER_BYTES: u64 = 4 + 8 + 4;
const READ_AHEAD_BYTES: usize = 256 << 10;

/// The largest chunk in bytes.
pub(super) const MAXIMUM_CHUNK_BYTES: usize = Kind::SnapshotRecords.maximum_bytes();
/// The largest snapshot that is received, in bytes: a hundred times what ten million bindings need.
pub(super) const MAXIMUM_SNAPSHOT_BYTES: u64 = 256 << 30;

/// Why a snapshot was not written, read or received.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The snapshot is not what was written. In a node's own folder, an operator restores the whole data
    /// directory from one backup, or lets the node join again; a received one is asked for again.
    #[error(
        "{place}: the snapshot is damaged ({reason}); restore the whole data directory from one backup, or \
         remove this node from the cluster and let it join again with an empty directory"
    )]
    Damaged {
        /// Which snapshot.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A later release wrote the snapshot.
    #[error(
        "{place}: snapshot format version {found} is newer than version {FORMAT_VERSION} of this binary; run \
         the release that wrote it"
    )]
    NewerVersion {
        /// Which snapshot.
        place: String,
        /// Its version.
        found: u16,
    },
    /// The snapshot's description can't be read.
    #[error("{place}: {reason}")]
    Meta {
        /// Which snapshot.
        place: String,
        /// What is wrong with it.
        reason: DecodeError,
    },
    /// The snapshot's description can't be written: a limit or a fault of this program.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A chunk, or a snapshot that a peer wants to send, is over its limit or empty.
    #[error("{what} of {bytes} bytes; the limit is {limit}")]
    Size {
        /// What it is.
        what: &'static str,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        limit: u64,
    },
    /// A peer sent bytes that don't follow on the ones before; it must begin anew.
    #[error("bytes at {found} were received where those at {expected} belong")]
    OutOfOrder {
        /// The offset that belonged there.
        expected: u64,
        /// The offset that came.
        found: u64,
    },
    /// The operating system refused.
    #[error("{place}: {source}")]
    Io {
        /// What was being read or written.
        place: String,
        /// What it said.
        source: io::Error,
    },
}

/// The header's bytes. `covered` is the index after the last entry that the snapshot covers.
pub(super) fn header(covered: u64, meta: &[u8]) -> Vec<u8> {
    let meta_length = u32::try_from(meta.len()).expect("the codec limits it to 1 MiB");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&covered.to_le_bytes());
    bytes.extend_from_slice(&meta_length.to_le_bytes());
    bytes.extend_from_slice(meta);
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What stands before a chunk's bytes.
pub(super) fn chunk_length(chunk: &[u8]) -> Result<[u8; 4], SnapshotError> {
    match u32::try_from(chunk.len()) {
        Ok(length @ 1..) if chunk.len() <= MAXIMUM_CHUNK_BYTES => Ok(length.to_le_bytes()),
        _ => Err(SnapshotError::Size {
            what: "a snapshot chunk",
            bytes: chunk.len() as u64,
            limit: MAXIMUM_CHUNK_BYTES as u64,
        }),
    }
}

/// The trailer after `length` bytes with the checksum so far.
pub(super) fn trailer(length: u64, mut checksum: crc32fast::Hasher) -> Vec<u8> {
    let mut bytes = 0_u32.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(length + TRAILER_BYTES).to_le_bytes());
    checksum.update(&bytes);
    bytes.extend_from_slice(&checksum.finalize().to_le_bytes());
    bytes
}

/// Reads a snapshot from its beginning, a chunk at a time, and checks everything on the way.
pub(super) struct FormatReader {
    place: String,
    length: u64,
    input: BufReader<FromStart>,
    checksum: crc32fast::Hasher,
    read: u64,
    ended: bool,
}

struct FromStart {
    bytes: Arc<dyn SnapshotBytes>,
    offset: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl FormatReader {
    /// Reads the header: the reader after it, how far the snapshot covers the log, and its meta.
    pub(super) fn open(
        place: &str,
        bytes: Arc<dyn SnapshotBytes>,
    ) -> Result<(Self, u64, Vec<u8>), SnapshotError> {
        let length = bytes.length();
        let input = BufReader::with_capacity(READ_AHEAD_BYTES, FromStart { bytes, offset: 0 });
        let checksum = crc32fast::Hasher::new();
        let mut reader = Self { place: place.to_owned(), length, input, checksum, read: 0, ended: false };
        if reader.take::<8>()? != *MAGIC {
            return Err(reader.damaged("it does not begin like one"));
        }
        // The version decides how the rest is read, so it comes before any checksum.
        let found = u16::from_le_bytes(reader.take()?);
        if found > FORMAT_VERSION {
            return Err(SnapshotError::NewerVersion { place: place.to_owned(), found });
        }
        if found < FORMAT_VERSION {
            return Err(reader.damaged("its format version never was"));
        }
        let covered = u64::from_le_bytes(reader.take()?);
        let meta_length = u32::from_le_bytes(reader.take()?) as usize;
        if meta_length > Kind::SnapshotMeta.maximum_bytes() {
            return Err(reader.damaged("its description is over the limit"));
        }
        let meta = reader.take_vec(meta_length)?;
        let expected = reader.checksum.clone().finalize();
        if u32::from_le_bytes(reader.take()?) != expected {
            return Err(reader.damaged("its header's checksum does not fit"));
        }
        Ok((reader, covered, meta))
    }

    /// The next chunk; `None` after the last, when length and checksum of everything were right.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let length = u32::from_le_bytes(self.take()?) as usize;
        if length > MAXIMUM_CHUNK_BYTES {
            return Err(self.damaged("a chunk is over the limit"));
        }
        if length > 0 {
            return self.take_vec(length).map(Some);
        }
        let total = u64::from_le_bytes(self.take()?);
        let expected = self.checksum.clone().finalize();
        if u32::from_le_bytes(self.take()?) != expected {
            return Err(self.damaged("its checksum does not fit"));
        }
        if total != self.read || total != self.length {
            return Err(self.damaged("its length is not what was written"));
        }
        self.ended = true;
        Ok(None)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn take_vec(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        // Before there is room for it: a length that a peer made up must not cost more than the peer has sent.
        if length as u64 > self.length.saturating_sub(self.read) {
            return Err(self.damaged("it ends too early"));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), SnapshotError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("it ends too early"));
            }
            Err(source) => return Err(SnapshotError::Io { place: self.place.clone(), source }),
        }
        self.checksum.update(buffer);
        self.read += buffer.len() as u64;
        Ok(())
    }

    fn damaged(&self, reason: &str) -> SnapshotError {
        SnapshotError::Damaged { place: self.place.clone(), reason: reason.to_owned() }
    }
}
