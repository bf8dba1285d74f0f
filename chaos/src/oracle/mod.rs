//! Judges a cluster by what its clients and backends were told, and by nothing else.
//!
//! `verdict` judges a recorded history; `ledger` and `witness` judge short scenarios while they run.

mod agreement;
mod circumstances;
mod continuity;
pub(crate) mod errors;
pub(crate) mod ledger;
mod observation;
pub(crate) mod placement;
mod replicas;
pub(crate) mod revealed;
mod sockets;
mod span;
pub(crate) mod verdict;
pub(crate) mod witness;
