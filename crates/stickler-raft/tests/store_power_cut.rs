//! I4 on one node: what was acknowledged survives a power cut, and a disk that fails is never lied about.
//!
//! A child process appends, votes, truncates, purges and writes snapshots, and prints what was acknowledged. A preloaded
//! library records what of its files was synced. The parent kills the child at some moment, throws its files
//! away, and opens what the record holds.

#[cfg(test)]
#[path = "power_cut/found.rs"]
mod found;
#[cfg(test)]
#[path = "power_cut/ledger.rs"]
mod ledger;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
#[path = "power_cut/preloaded.rs"]
mod preloaded;
#[cfg(test)]
#[path = "store_suite/sample.rs"]
mod sample;
#[cfg(test)]
#[path = "power_cut/workload.rs"]
mod workload;
