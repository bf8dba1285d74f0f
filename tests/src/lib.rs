//! Support for tests of whole nodes: clusters that are started, killed and asked within one process.

pub mod browser;
pub mod cluster;
pub mod cuttable;
pub mod documents;
pub mod log;
pub mod name_server;
pub mod nodes;
pub mod shop;
pub mod simulation;
