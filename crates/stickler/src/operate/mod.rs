//! The commands by which operators look at a cluster and change it, through any of its nodes.

pub mod affinities;
pub mod apply;
pub mod backends;
mod by_rule;
mod conflicts;
mod drains;
pub mod explain;
pub mod jobs;
pub mod keys;
pub mod members;
pub mod pools;
mod receipts;
mod session_changes;
pub mod sessions;
pub mod status;

use crate::admin_client::{NodeAddress, Nodes};
use crate::failure::Failure;
use crate::printer::Format;

/// Whom to ask, and how to print the answer.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// Admin address of a node: "unix:" and a path, or a host and a port. With several (repeat the option,
    /// or separate them by commas), the next one is asked when one is unreachable
    #[arg(
        long = "node",
        env = "STICKLER_NODE",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "unix:/run/stickler/admin.sock"
    )]
    nodes: Vec<NodeAddress>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

impl Target {
    fn nodes(&self) -> Nodes {
        Nodes(self.nodes.clone())
    }
}

/// Runs one command on a runtime of its own.
///
/// # Errors
/// As the command fails.
pub fn run(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
