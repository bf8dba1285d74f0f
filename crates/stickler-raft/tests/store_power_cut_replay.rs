//! I4 on one node, at every moment: whatever of its file operations a power cut leaves, the store opens by
//! itself and holds what was acknowledged.
//!
//! A preloaded library records each file operation of a store in its order, and each acknowledgement at its
//! place between them. The recording is replayed on a disk in memory. After each operation the power is cut:
//! everything written is there, or only what was synced, or that and a torn part of the rest. A store is opened
//! on each of these.

#[cfg(test)]
#[path = "power_cut/found.rs"]
mod found;
#[cfg(test)]
#[path = "power_cut/ledger.rs"]
mod ledger;
#[cfg(test)]
mod power_cut_replay;
#[cfg(test)]
#[path = "power_cut/preloaded.rs"]
mod preloaded;
#[cfg(test)]
#[path = "store_suite/sample.rs"]
mod sample;
#[cfg(test)]
#[path = "power_cut/workload.rs"]
mod workload;
