//! Judges a cluster by what its clients and backends were told, and by nothing else.

pub(crate) mod ledger;
pub(crate) mod witness;
