//! Snapshots of the state machine: written, verified, sent and received a piece at a time, so that the
//! memory they take does not grow with the state. All of it blocks: call it beside the async runtime.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::LogIdOptionExt;
use openraft::type_config::alias::SnapshotMetaOf;

use super::codec::{self, Kind};
use super::snapshot_folder::{DiskFolder, SnapshotBytes, SnapshotFolder, UnfinishedSnapshot};
use super::snapshot_format::{
    FormatReader, MAXIMUM_SNAPSHOT_BYTES, SnapshotError, chunk_length, header, trailer,
};
use super::{DataDirectory, StoredTypes};

const UNFINISHED: &str = "a snapshot being written";
const RECEIVED: &str = "a snapshot being received";

/// The snapshots of a node, on a real or a simulated disk. Clones share it.
#[derive(Clone)]
pub struct SnapshotDirectory {
    folder: Arc<dyn SnapshotFolder>,
}

impl SnapshotDirectory {
    /// The snapshots in a data directory. Removes what an earlier process left unfinished.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn open(directory: &DataDirectory) -> Result<Self, SnapshotError> {
        let place = directory.snapshots_path().display().to_string();
        let folder = DiskFolder::open(directory).map_err(|source| SnapshotError::Io { place, source })?;
        Ok(Self::in_folder(Arc::new(folder)))
    }

    pub(crate) fn in_folder(folder: Arc<dyn SnapshotFolder>) -> Self {
        Self { folder }
    }

    /// Begins a snapshot with its header.
    ///
    /// # Errors
    /// When the description is over its limit or the disk refuses.
    pub fn create<C: StoredTypes>(&self, meta: &SnapshotMetaOf<C>) -> Result<SnapshotWriter, SnapshotError> {
        let covered = meta.last_log_id.next_index();
        let meta = codec::encode(Kind::SnapshotMeta, meta)?;
        let unfinished = self.folder.begin().map_err(|source| self.io(UNFINISHED, source))?;
        let mut writer = SnapshotWriter {
            directory: self.clone(),
            unfinished,
            covered,
            length: 0,
            synced: 0,
            checksum: crc32fast::Hasher::new(),
        };
        writer.append(&header(covered, &meta))?;
        Ok(writer)
    }

    /// Begins to receive a snapshot of so many bytes from a peer.
    ///
    /// # Errors
    /// When that is more than the limit, or the disk refuses.
    pub fn receive(&self, announced_bytes: u64) -> Result<SnapshotReceiver, SnapshotError> {
        if announced_bytes > MAXIMUM_SNAPSHOT_BYTES {
            return Err(SnapshotError::Size {
                what: "a snapshot from a peer",
                bytes: announced_bytes,
                limit: MAXIMUM_SNAPSHOT_BYTES,
            });
        }
        let unfinished = self.folder.begin().map_err(|source| self.io(RECEIVED, source))?;
        Ok(SnapshotReceiver { directory: self.clone(), unfinished, announced_bytes, received: 0 })
    }

    /// The newest snapshot, verified from its first to its last byte; `None` when there is none.
    ///
    /// # Errors
    /// When it is damaged or of a newer version. An older one is not taken instead: the log that would lead
    /// from it to now is purged.
    pub fn latest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        let names = self.folder.names().map_err(|source| self.io("", source))?;
        let Some(name) = names.into_iter().filter(|name| is_snapshot(name)).max() else {
            return Ok(None);
        };
        let file = self.open_named(&name)?;
        file.verify()?;
        Ok(Some(file))
    }

    fn open_named(&self, name: &str) -> Result<SnapshotFile, SnapshotError> {
        let bytes = self.folder.open(name).map_err(|source| self.io(name, source))?;
        SnapshotFile::new(self.folder.place(name), bytes)
    }

    /// Gives a written snapshot its name and removes those that it replaces.
    fn finish(
        &self,
        unfinished: Box<dyn UnfinishedSnapshot>,
        covered: u64,
    ) -> Result<SnapshotFile, SnapshotError> {
        let name = name_of(covered);
        unfinished.commit(&name).map_err(|source| self.io(&name, source))?;
        let file = self.open_named(&name)?;
        let names = self.folder.names().map_err(|source| self.io("", source))?;
        for replaced in names.into_iter().filter(|other| is_snapshot(other) && *other < name) {
            // The new one is durable: an old one that stays costs room, nothing else.
            if let Err(error) = self.folder.remove(&replaced) {
                tracing::warn!(place = self.folder.place(&replaced), %error, "old snapshot not removed");
            }
        }
        Ok(file)
    }

    fn io(&self, name: &str, source: io::Error) -> SnapshotError {
        SnapshotError::Io { place: self.folder.place(name), source }
    }
}

/// After how many bytes a snapshot that is being written is synced. All at its end would keep the disk busy
/// for a tenth of a second, and the log's own sync waiting for it.
const SYNC_EVERY: u64 = 256 << 10;

const NAME_PREFIX: &str = "snapshot-";

/// Names sort as the snapshots follow on each other.
fn name_of(covered: u64) -> String {
    format!("{NAME_PREFIX}{covered:020}")
}

fn is_snapshot(name: &str) -> bool {
    name.starts_with(NAME_PREFIX)
}

/// A snapshot that is being written. Dropped before [`Self::finish`], it leaves nothing.
pub struct SnapshotWriter {
    directory: SnapshotDirectory,
    unfinished: Box<dyn UnfinishedSnapshot>,
    covered: u64,
    length: u64,
    /// How much of it was synced on the way.
    synced: u64,
    checksum: crc32fast::Hasher,
}

impl SnapshotWriter {
    /// Writes one chunk, from 1 byte to 8 MiB.
    ///
    /// # Errors
    /// When it is empty or over the limit, or the disk refuses.
    pub fn write_chunk(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        self.append(&chunk_length(chunk)?)?;
        self.append(chunk)?;
        if self.length - self.synced >= SYNC_EVERY {
            self.synced = self.length;
            self.unfinished.sync_gently().map_err(|source| self.directory.io(UNFINISHED, source))?;
        }
        Ok(())
    }

    /// Ends the snapshot; durable when it returns. Older ones are removed.
    ///
    /// # Errors
    /// When the disk refuses; the snapshot is then not there.
    pub fn finish(mut self) -> Result<SnapshotFile, SnapshotError> {
        let trailer = trailer(self.length, self.checksum.clone());
        self.append(&trailer)?;
        self.directory.finish(self.unfinished, self.covered)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.checksum.update(bytes);
        self.length += bytes.len() as u64;
        self.unfinished.append(bytes).map_err(|source| self.directory.io(UNFINISHED, source))
    }
}

/// A snapshot that is being received from a peer. Dropped before [`Self::finish`], it leaves nothing.
pub struct SnapshotReceiver {
    directory: SnapshotDirectory,
    unfinished: Box<dyn UnfinishedSnapshot>,
    announced_bytes: u64,
    received: u64,
}

impl SnapshotReceiver {
    /// How many bytes came so far: the offset of the next ones.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the bytes at an offset.
    ///
    /// # Errors
    /// When they don't follow on what came before, are more than was announced, or the disk refuses.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        if offset != self.received {
            return Err(SnapshotError::OutOfOrder { expected: self.received, found: offset });
        }
        let received = self.received.saturating_add(bytes.len() as u64);
        if received > self.announced_bytes {
            return Err(SnapshotError::Size {
                what: "a snapshot from a peer",
                bytes: received,
                limit: self.announced_bytes,
            });
        }
        self.unfinished.append(bytes).map_err(|source| self.directory.io(RECEIVED, source))?;
        self.received = received;
        Ok(())
    }

    /// Verifies everything that came. It can be read, and is lost unless it is [kept](SnapshotFile::keep).
    ///
    /// # Errors
    /// When it is damaged, incomplete or of a newer version, or the disk refuses.
    pub fn finish(mut self) -> Result<SnapshotFile, SnapshotError> {
        let bytes = self.unfinished.bytes().map_err(|source| self.directory.io(RECEIVED, source))?;
        let mut received = SnapshotFile::new(self.directory.folder.place(RECEIVED), bytes)?;
        received.verify()?;
        let unfinished = Mutex::new(Some(self.unfinished));
        received.unkept = Some(Arc::new(Unkept { directory: self.directory, unfinished }));
        Ok(received)
    }
}

/// A finished snapshot. It stays readable after newer ones have replaced it. Clones share it.
#[derive(Clone)]
pub struct SnapshotFile {
    place: String,
    bytes: Arc<dyn SnapshotBytes>,
    covered: u64,
    meta: Arc<[u8]>,
    /// What it takes to keep a received one.
    unkept: Option<Arc<Unkept>>,
}

/// A received snapshot that the node has not made its own.
struct Unkept {
    directory: SnapshotDirectory,
    /// `None` once it has a name.
    unfinished: Mutex<Option<Box<dyn UnfinishedSnapshot>>>,
}

impl SnapshotFile {
    fn new(place: String, bytes: Arc<dyn SnapshotBytes>) -> Result<Self, SnapshotError> {
        let (_, covered, meta) = FormatReader::open(&place, Arc::clone(&bytes))?;
        Ok(Self { place, bytes, covered, meta: meta.into(), unkept: None })
    }

    /// What the snapshot covers.
    ///
    /// # Errors
    /// When its description is not one of these Raft types.
    pub fn meta<C: StoredTypes>(&self) -> Result<SnapshotMetaOf<C>, SnapshotError> {
        codec::decode(Kind::SnapshotMeta, &self.meta)
            .map_err(|reason| SnapshotError::Meta { place: self.place.clone(), reason })
    }

    /// Its size in bytes, as it is sent to a peer.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.bytes.length()
    }

    /// Reads its bytes at an offset, as they are sent to a peer; 0 at the end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, SnapshotError> {
        self.bytes
            .read_at(buffer, offset)
            .map_err(|source| SnapshotError::Io { place: self.place.clone(), source })
    }

    /// Its chunks, in the order in which they were written.
    ///
    /// # Errors
    /// When the header is damaged.
    pub fn chunks(&self) -> Result<SnapshotChunks, SnapshotError> {
        let (reader, _, _) = FormatReader::open(&self.place, Arc::clone(&self.bytes))?;
        Ok(SnapshotChunks { reader, ended: false })
    }

    /// Makes a received snapshot the node's own: durable when it returns, and older ones are removed. Only
    /// once the entries that contradict it are durably gone from the log: a node that starts with both is
    /// refused. Changes nothing for one that the node has already.
    ///
    /// # Errors
    /// When the disk refuses; the snapshot is then not there.
    pub fn keep(&self) -> Result<(), SnapshotError> {
        let Some(unkept) = &self.unkept else { return Ok(()) };
        let unfinished = unkept.unfinished.lock().unwrap_or_else(PoisonError::into_inner).take();
        match unfinished {
            Some(unfinished) => unkept.directory.finish(unfinished, self.covered).map(drop),
            None => Ok(()),
        }
    }

    fn verify(&self) -> Result<(), SnapshotError> {
        self.chunks()?.try_for_each(|chunk| chunk.map(drop))
    }
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotFile").field("place", &self.place).field("covered", &self.covered).finish()
    }
}

/// A snapshot's chunks. The last item is an error when the checksum over all of them doesn't fit, so
/// whoever restores from them must not use the state before the end.
pub struct SnapshotChunks {
    reader: FormatReader,
    ended: bool,
}

impl Iterator for SnapshotChunks {
    type Item = Result<Vec<u8>, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = self.reader.next_chunk().transpose();
        self.ended = !matches!(chunk, Some(Ok(_)));
        chunk
    }
}
