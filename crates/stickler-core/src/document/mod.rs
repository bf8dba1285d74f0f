//! The two documents, each in exactly two shapes: as written (`written`, with the place of every value)
//! and checked (`cluster`, `node`). The way from one to the other is `check`, which finds every problem at
//! once; what a key means that was left out is in `defaults`, and nowhere else.

pub mod cluster;
pub mod defaults;
pub mod edit;
pub mod node;
pub mod pool;
pub mod problem;

mod check;
mod reader;
mod report;
mod values;
mod written;

pub use check::{check_cluster, check_node};
pub(crate) use written::cluster::MAX_BACKENDS;
