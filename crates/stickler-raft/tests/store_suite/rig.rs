//! A node's log that can be closed and opened again, on either disk.

use std::path::PathBuf;

use openraft::storage::RaftLogStorage;
use stickler_core::ids::NodeId;
use stickler_raft::store::{DataDirectory, LogOpenError, MemoryDisk, MemoryLog, SledLog, SyncPolicy};
use tempfile::TempDir;

use super::sample::Sample;

/// See the module.
pub trait Rig {
    type Log: RaftLogStorage<Sample>;

    fn log(&mut self) -> &mut Self::Log;
    async fn reopen(&mut self);
}

/// A data directory.
pub struct DiskRig {
    folder: TempDir,
    tail_bytes: usize,
    log: Option<SledLog<Sample>>,
}

impl DiskRig {
    pub fn new(tail_bytes: usize) -> Self {
        let mut rig = Self { folder: tempfile::tempdir().unwrap(), tail_bytes, log: None };
        rig.log = Some(rig.open().unwrap());
        rig
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn directory(&self) -> DataDirectory {
        DataDirectory::open(self.path(), NodeId(1), [5; 16]).unwrap()
    }

    pub async fn close(&mut self) {
        if let Some(log) = self.log.take() {
            let closed = log.closed();
            drop(log);
            closed.wait().await;
        }
    }

    pub fn open(&self) -> Result<SledLog<Sample>, LogOpenError> {
        SledLog::open_with_tail(&self.directory(), self.tail_bytes)
    }
}

impl Rig for DiskRig {
    type Log = SledLog<Sample>;

    fn log(&mut self) -> &mut SledLog<Sample> {
        self.log.as_mut().unwrap()
    }

    async fn reopen(&mut self) {
        self.close().await;
        self.log = Some(self.open().unwrap());
    }
}

/// A simulated disk.
pub struct MemoryRig {
    disk: MemoryDisk,
    log: MemoryLog<Sample>,
}

impl MemoryRig {
    pub fn new() -> Self {
        let disk = MemoryDisk::new(SyncPolicy::Immediate);
        let log = MemoryLog::open(&disk);
        Self { disk, log }
    }
}

impl Rig for MemoryRig {
    type Log = MemoryLog<Sample>;

    fn log(&mut self) -> &mut MemoryLog<Sample> {
        &mut self.log
    }

    async fn reopen(&mut self) {
        self.log = MemoryLog::open(&self.disk);
    }
}
