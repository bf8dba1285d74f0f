//! A whole simulated disk of a node: identity, log and snapshots in memory, with a line between what was
//! synced and what only was written, so that a simulated crash loses the rest. No threads, no clock of its
//! own, no order that comes from a hash: the same calls give the same disk.

mod contents;
mod disk;
mod log;
mod snapshots;

pub use disk::{MemoryDirectory, MemoryDisk, MemoryOpenError, SyncPolicy};
pub use log::{MemoryLog, MemoryLogReader};
