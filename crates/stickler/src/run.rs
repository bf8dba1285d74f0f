//! `stickler run`: one node, until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::document::check_node;
use stickler_core::document::node::NodeFile;
use stickler_node::Node;
use stickler_rt::{DnsResolver, Outside, Shutdown};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::demo_shop::stdin_closed;
use crate::document_file;
use crate::failure::Failure;

/// Longest wait for requests that are under way when the node is told to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which node to run.
#[derive(Debug, clap::Args)]
pub struct RunOptions {
    /// The node file: who this node is
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop, too, when standard input is closed: so that the node ends with the process that started it
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

/// Runs the node until SIGTERM or SIGINT. The file is checked before anything is started.
///
/// # Errors
/// [`Failure::Usage`] with every problem of the file; [`Failure::Refused`] when the node can't start or
/// can't go on, with what the operator can do.
pub fn run(options: &RunOptions) -> Result<(), Failure> {
    let text = document_file::read(&options.config)?;
    let file = check_node(&options.config.display().to_string(), &text)
        .map_err(|problems| Failure::Usage(problems.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("stickler")
        .build()
        .map_err(refused)?;
    let ended = runtime.block_on(serve(file, options.until_stdin_closes));
    // A thread that the disk holds up must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(file: NodeFile, until_stdin_closes: bool) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let mut outside = Outside::of_process().map_err(refused)?;
    outside.resolver = Arc::new(DnsResolver::asking(file.dns_servers.clone()));
    let disk = Node::open_directory(&file, &outside).map_err(refused)?;
    let node = Node::start(file, outside, disk, Shutdown::new()).await.map_err(refused)?;
    let ended = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
        () = stdin_closed(), if until_stdin_closes => {
            tracing::info!("stopping: standard input was closed");
            Ok(())
        }
        error = node.failed() => Err(refused(error)),
    };
    tokio::select! {
        () = node.stop() => tracing::info!("stopped"),
        () = tokio::time::sleep(PATIENCE) => tracing::warn!("requests were cut off: they took too long to end"),
        name = signals.next() => tracing::warn!(signal = name, "requests were cut off: told to stop again"),
    }
    ended
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::Refused(error.to_string())
}

/// The signals that tell a process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
