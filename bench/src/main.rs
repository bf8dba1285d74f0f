//! Stickler side by side with etcd and HAProxy. `README.md` says what is measured, how, and what came out.

mod api;
mod binds;
mod callers;
mod child;
mod clients;
mod document;
mod etcd;
mod failure;
mod figures;
mod node;
mod print;
mod process_figures;
mod proxy;
mod scratch;
mod snapshot;
mod stickler;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Measures Stickler beside etcd and HAProxy, on this machine's loopback and disk
#[derive(Debug, Parser)]
#[command(
    name = "stickler-bench",
    max_term_width = 100,
    after_help = "Exit codes:\n  0  measured, and everything that must hold did\n  \
                  1  measured, and something that must hold did not: the output says what\n  \
                  2  not measured: the message says why"
)]
struct CommandLine {
    /// What to measure
    #[command(subcommand)]
    command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum Command {
    /// Acknowledged durable binds a second of three nodes, beside etcd (apt-get install etcd-server)
    Binds(binds::BindsOptions),
    /// Whether the leader stays the same under a minute of binds
    Steady(binds::SteadyOptions),
    /// CPU of a proxied request of a known session, beside HAProxy (apt-get install haproxy)
    Proxy(proxy::ProxyOptions),
    /// Worst bind and memory while a snapshot of a million sessions is taken, and sent
    Snapshot(snapshot::SnapshotOptions),
    /// A node of `binds`
    #[command(hide = true)]
    Node(node::NodeOptions),
    /// The backends of `proxy`
    #[command(hide = true)]
    Backend(proxy::BackendOptions),
    /// Prints how many bytes a table of so many sessions takes
    #[command(hide = true)]
    Table(snapshot::TableOptions),
}

fn main() -> ExitCode {
    let ended = match CommandLine::parse().command {
        Command::Binds(options) => measure(binds::binds(&options)),
        Command::Steady(options) => measure(binds::steady(&options)),
        Command::Proxy(options) => proxy::stay_on_own_core().and_then(|()| measure(proxy::proxy(&options))),
        Command::Snapshot(options) => measure(snapshot::snapshot(&options)),
        Command::Node(options) => log_to_standard_error().and_then(|()| node::run(options)).map(|()| true),
        Command::Backend(options) => proxy::serve_backends(&options).map(|()| true),
        Command::Table(options) => snapshot::print_table_size(&options).map(|()| true),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            print::note(&failure);
            ExitCode::from(2)
        }
    }
}

/// Runs a benchmark until it is done or somebody wants it to end. Either way its processes end with it.
fn measure(benchmark: impl Future<Output = Result<bool, Failure>>) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("starting the runtime"))?;
    runtime.block_on(async {
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(Failure::system("listening to signals"))?;
        let mut terminate =
            signal(SignalKind::terminate()).map_err(Failure::system("listening to signals"))?;
        tokio::select! {
            ended = Box::pin(benchmark) => ended,
            _ = interrupt.recv() => Err(Failure::Void("interrupted".to_owned())),
            _ = terminate.recv() => Err(Failure::Void("told to stop".to_owned())),
        }
    })
}

fn log_to_standard_error() -> Result<(), Failure> {
    let filter = EnvFilter::new("info,openraft=warn,sled=warn");
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    lines.with_ansi(false).try_init().map_err(Failure::call("starting the log"))
}
