//! A node's disk, real or simulated, as consensus opens it.

use std::sync::Arc;

use crate::blocking::Blocking;
use crate::machine::StateMachine;
use crate::peers::PeerNetwork;
use crate::raft::{Raft, Types};
use crate::settings;
use crate::store::{
    DataDirectory, IdentityStore, LogOpenError, MemoryDirectory, MemoryDisk, MemoryLog, SledLog,
    SnapshotDirectory, SnapshotError, StoreHealth,
};

/// Where a node keeps its log, snapshots and identity.
pub enum Disk {
    /// A directory.
    Directory(DataDirectory),
    /// A simulated disk, and the identity with which this process was started on it.
    Simulated(MemoryDisk, MemoryDirectory),
}

/// Why a disk does not open; each error names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogOpenError),
    /// The snapshots.
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
}

/// An opened disk.
pub(crate) struct Opened {
    pub(crate) identity: Arc<dyn IdentityStore>,
    pub(crate) snapshots: SnapshotDirectory,
    pub(crate) log: Log,
    pub(crate) health: StoreHealth,
    pub(crate) blocking: Blocking,
}

/// The log of either kind.
pub(crate) enum Log {
    Sled(SledLog<Types>),
    Memory(MemoryLog<Types>),
}

impl Disk {
    /// Opens everything on it. Blocks while it checks the log.
    pub(crate) fn open(self) -> Result<Opened, DiskError> {
        Ok(match self {
            Self::Directory(directory) => {
                let log = SledLog::open(&directory)?;
                Opened {
                    snapshots: SnapshotDirectory::open(&directory)?,
                    health: log.health(),
                    log: Log::Sled(log),
                    identity: Arc::new(directory),
                    blocking: Blocking::Beside,
                }
            }
            Self::Simulated(disk, directory) => {
                let log = MemoryLog::open(&disk);
                Opened {
                    snapshots: disk.snapshots(),
                    health: log.health(),
                    log: Log::Memory(log),
                    identity: Arc::new(directory),
                    blocking: Blocking::InPlace,
                }
            }
        })
    }
}

impl Log {
    /// Starts openraft on this log.
    pub(crate) async fn start(
        self,
        node: u64,
        network: PeerNetwork,
        machine: StateMachine,
    ) -> Result<Raft, openraft::errors::Fatal<Types>> {
        let settings = Arc::new(settings::openraft());
        match self {
            Self::Sled(log) => Raft::new(node, settings, network, log, machine).await,
            Self::Memory(log) => Raft::new(node, settings, network, log, machine).await,
        }
    }
}
