//! Snapshots on a simulated disk. A finished one is durable; an unfinished one is gone with its process.

use std::io;
use std::sync::Arc;

use super::MemoryDisk;
use crate::store::snapshot_folder::{SnapshotBytes, SnapshotFolder, UnfinishedSnapshot};

pub(super) struct MemoryFolder {
    disk: MemoryDisk,
}

impl MemoryFolder {
    pub(super) fn new(disk: MemoryDisk) -> Self {
        Self { disk }
    }
}

impl SnapshotFolder for MemoryFolder {
    fn place(&self, name: &str) -> String {
        format!("simulated disk: {name}")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.locked().snapshots.keys().cloned().collect())
    }

    fn begin(&self) -> io::Result<Box<dyn UnfinishedSnapshot>> {
        Ok(Box::new(UnfinishedBytes { disk: self.disk.clone(), written: Vec::new() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SnapshotBytes>> {
        let bytes = self.disk.locked().snapshots.get(name).cloned();
        bytes.map(|bytes| Arc::new(bytes) as Arc<dyn SnapshotBytes>).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.disk.locked().snapshots.remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
}

struct UnfinishedBytes {
    disk: MemoryDisk,
    written: Vec<u8>,
}

impl UnfinishedSnapshot for UnfinishedBytes {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written.extend_from_slice(bytes);
        Ok(())
    }

    fn sync_gently(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&mut self) -> io::Result<Arc<dyn SnapshotBytes>> {
        Ok(Arc::new(Arc::<[u8]>::from(self.written.as_slice())))
    }

    fn commit(self: Box<Self>, name: &str) -> io::Result<()> {
        self.disk.locked().snapshots.insert(name.to_owned(), self.written.into());
        Ok(())
    }
}

impl SnapshotBytes for Arc<[u8]> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }
}
