//! What a node keeps: its identity, the replicated log with vote and positions, and snapshots.
//!
//! Each of them exists twice: on a real disk ([`DataDirectory`], [`SledLog`]) and on a simulated one
//! ([`MemoryDisk`], [`MemoryLog`]) that a simulation can crash so that whatever was not synced is lost. This
//! is the one place that names sled; the payload encoding is named in [`codec`] alone.

pub mod codec;
mod directory;
mod durable;
mod failure;
mod identity;
mod log;
mod memory;
mod snapshot_file;
mod snapshot_folder;
mod snapshot_format;

pub use directory::{DataDirectory, OpenError};
pub use failure::{StoreFailure, StoreHealth};
pub use identity::{ClusterError, Identity, IdentityStore};
pub use log::{LogClosed, LogOpenError, SledLog, SledLogReader};
pub use memory::{MemoryDirectory, MemoryDisk, MemoryLog, MemoryLogReader, MemoryOpenError, SyncPolicy};
pub use snapshot_file::{SnapshotChunks, SnapshotDirectory, SnapshotFile, SnapshotReceiver, SnapshotWriter};
pub use snapshot_format::SnapshotError;

use openraft::RaftTypeConfig;

/// The Raft types that can be stored: numbered nodes and terms, and entries that can be kept in the tail of
/// the log in memory while they are on their way to the disk.
pub trait StoredTypes: RaftTypeConfig<NodeId = u64, Term = u64, Entry: Clone> {}

impl<C> StoredTypes for C where C: RaftTypeConfig<NodeId = u64, Term = u64, Entry: Clone> {}
