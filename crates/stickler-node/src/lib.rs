//! One node, assembled: what consensus, data plane, health checks and the operators' side are to each other.

pub mod admin;
pub mod by_rule;
mod claims;
mod clients;
mod discovery;
mod health_checks;
mod jobs;
mod leading;
mod leaving;
pub mod metrics;
mod node;
pub mod readiness;
pub mod secrets;
pub mod status_server;

pub use node::{Node, NodeError};
