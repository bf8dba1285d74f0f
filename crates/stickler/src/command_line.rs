//! What can stand on the command line.

use clap::{Parser, Subcommand};

use crate::check::CheckOptions;
use crate::demo_shop::ShopOptions;
use crate::dev::DevOptions;
use crate::logging::LogFormat;
use crate::operate::Target;
use crate::operate::affinities::AffinityCommand;
use crate::operate::apply::ApplyOptions;
use crate::operate::backends::BackendCommand;
use crate::operate::explain::ExplainOptions;
use crate::operate::jobs::JobCommand;
use crate::operate::keys::KeyCommand;
use crate::operate::members::HandOverOptions;
use crate::operate::pools::PoolCommand;
use crate::operate::sessions::SessionCommand;
use crate::run::RunOptions;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: the message says what to do
  2  usage: the command line or a file is wrong, every problem is listed
  3  unreachable: no node, or no leader, could be asked; nothing has happened
  4  unknown: the change may have happened, or may still; look before trying again
  5  not everywhere: the change has happened, but nodes that were to be waited for have not said so in time

Environment:
  STICKLER_NODE  addresses of nodes, where --node is not given
  STICKLER_LOG   what is logged, such as \"debug\" or \"info,stickler_raft=debug\"";

/// A clustered HTTP load balancer that keeps sessions on one backend by agreement
#[derive(Debug, Parser)]
#[command(name = "stickler", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct CommandLine {
    /// How log lines are written to standard error
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    #[command(after_help = "Example: stickler run --config /etc/stickler/node.toml")]
    Run(RunOptions),
    /// Try it out: a cluster of three nodes and three demo shops on this machine
    #[command(after_help = "Examples:\n  stickler dev           a cluster to play with, until Ctrl-C\n  \
                      stickler dev --check   shoppers, killed nodes, and a verdict")]
    Dev(DevOptions),
    /// Check cluster documents and node files: every problem with its place
    #[command(after_help = "Example: stickler check node.toml cluster.toml")]
    Check(CheckOptions),
    /// Give a cluster document to the cluster; all nodes follow it at once
    #[command(
        after_help = "Examples:\n  stickler apply cluster.toml --dry-run    show what would change\n  \
                      stickler apply cluster.toml --expect 3   only if nobody was faster\n\n\
                      Backends that the document names no more keep their sessions for the drain_timeout of their pool."
    )]
    Apply(ApplyOptions),
    /// Show what each node says of itself: leader, term, applied index, lease, state hash, readiness
    #[command(after_help = "Example: stickler status --node 127.0.0.1:7601 --node 127.0.0.1:7611\n\
                      Every node that is named is asked; the exit code is 3 when none answers.")]
    Status(Target),
    /// Look at the cluster's members
    #[command(arg_required_else_help = true)]
    Cluster {
        /// What to do.
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Look at backends, add and remove them, and set them ready, to drain, or in maint
    #[command(arg_required_else_help = true)]
    Backend {
        /// What to do.
        #[command(subcommand)]
        command: BackendCommand,
    },
    /// Look at jobs that move sessions, pause them, end them, and undo them
    #[command(arg_required_else_help = true)]
    Job {
        /// What to do.
        #[command(subcommand)]
        command: JobCommand,
    },
    /// Look at pools, and even out their sessions
    #[command(arg_required_else_help = true)]
    Pool {
        /// What to do.
        #[command(subcommand)]
        command: PoolCommand,
    },
    /// Look at affinities: how many sessions each has, and its heaviest keys
    #[command(arg_required_else_help = true)]
    Affinity {
        /// What to do.
        #[command(subcommand)]
        command: AffinityCommand,
    },
    /// Look at sessions, end them, and move them to other backends
    #[command(arg_required_else_help = true)]
    Session {
        /// What to do.
        #[command(subcommand)]
        command: SessionCommand,
    },
    /// Look at the keys that seal Stickler's cookie, rotate them, and make a key that wraps secrets
    #[command(arg_required_else_help = true)]
    Key {
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Show why a request goes where it goes: route, session, decision, and the part of every backend
    #[command(
        after_help = "Example: stickler explain http://shop.example.com/cart --cookie JSESSIONID=abc --source 192.0.2.7\n\
                      Nothing is sent to a backend, nothing changes, and no node logs what you write here."
    )]
    Explain(ExplainOptions),
    /// Run one of the demo shops of `dev`
    #[command(hide = true)]
    DemoShop(ShopOptions),
}

/// What to do with the members.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the members: address, role, and data directory of each node
    Members(Target),
    /// Make another member the leader, as before work on the present leader's machine
    #[command(after_help = "Example: stickler cluster hand-over --to 2")]
    HandOver(HandOverOptions),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        CommandLine::command().debug_assert();
    }
}
