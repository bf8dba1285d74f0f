//! Support for tests of whole nodes: clusters that are started, killed and asked within one process.

pub mod cluster;
pub mod documents;
pub mod log;
pub mod browser;
pub mod cuttable;
pub mod nodes;
pub mod shop;
pub mod simulation;
