//! `stickler dev`: a whole demo cluster on this machine, from one command, and the check of what Stickler
//! promises on it.

mod admin;
mod check;
mod home;
mod http;
mod introduction;
mod plan;
mod ports;
mod process;
mod rig;
mod signals;
mod terminal;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use stickler_rt::Outside;

use check::CheckError;
use home::{Home, HomeError};
use rig::{Rig, RigError, Size};
use signals::Signals;
use terminal::say;

/// The exit code for arguments that make no sense.
const USAGE: u8 = 2;
/// With fewer nodes, the death of one leaves no majority.
const LEAST_NODES_TO_CHECK: u8 = 3;
/// With fewer backends, the sessions of one that dies can't go anywhere.
const LEAST_BACKENDS_TO_CHECK: u8 = 2;
/// How often it is looked whether a process has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How to run a demo cluster.
#[derive(Debug, clap::Args)]
pub struct DevOptions {
    /// Let virtual shoppers in, kill the leader and a backend, print what they saw, and end with 0 or 1
    #[arg(long)]
    check: bool,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// How many demo shops behind them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    backends: u8,
    /// A new or empty directory for all files, kept afterwards [default: a temporary one]
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Keep the temporary directory
    #[arg(long)]
    keep: bool,
}

/// Why there is no demo, or the check failed.
#[derive(Debug, thiserror::Error)]
enum DevError {
    /// Change the arguments.
    #[error(
        "--check kills a node and a backend: it needs at least {LEAST_NODES_TO_CHECK} nodes and \
         {LEAST_BACKENDS_TO_CHECK} backends"
    )]
    TooFewToCheck,
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Rig(#[from] RigError),
    #[error(transparent)]
    Check(#[from] CheckError),
    /// What clients saw was not what Stickler promises: the lines above say what.
    #[error("the check failed")]
    CheckFailed,
    /// Somebody stopped a check before it came to a verdict.
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    System(#[from] io::Error),
    #[error(transparent)]
    Seed(#[from] stickler_rt::SeedError),
}

/// Runs a demo cluster until SIGINT or SIGTERM, or checks one. No process that was started here outlives it.
pub fn run(options: DevOptions) -> ExitCode {
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // standard error may be closed, and then there is nobody to tell
            let _ = writeln!(io::stderr(), "stickler dev: {error}");
            match error {
                DevError::TooFewToCheck | DevError::Home(HomeError::NotEmpty(_)) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn start(options: &DevOptions) -> Result<(), DevError> {
    let too_few = options.nodes < LEAST_NODES_TO_CHECK || options.backends < LEAST_BACKENDS_TO_CHECK;
    if options.check && too_few {
        return Err(DevError::TooFewToCheck);
    }
    let mut home = Home::open(options.directory.as_deref())?;
    if options.keep {
        home.keep();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(run_to_the_end(options, &home));
    if result.is_err() && !matches!(result, Err(DevError::Interrupted)) {
        // The logs are what remains to learn from.
        home.keep();
    }
    if home.is_kept() {
        say(format_args!("Data and logs are in {}", home.path().display()));
    }
    result
}

/// Everything between the directory's making and its removal.
async fn run_to_the_end(options: &DevOptions, home: &Home) -> Result<(), DevError> {
    let signals = Signals::listen()?;
    let outside = Outside::of_process()?;
    let size = Size { nodes: options.nodes.into(), backends: options.backends.into() };
    let mut rig = Rig::new(home, size, outside.clone())?;
    let result = tokio::select! {
        result = serve(options, home, &outside, &mut rig) => result,
        () = signals.first.wait() => if options.check { Err(DevError::Interrupted) } else { Ok(()) },
    };
    say("Stopping.");
    let killed = rig.stop(&signals.second).await;
    if !killed.is_empty() {
        say(format_args!("These had to be killed: {}", killed.join(", ")));
    }
    result
}

/// Brings the cluster up; then checks it, or looks after it for ever.
async fn serve(options: &DevOptions, home: &Home, outside: &Outside, rig: &mut Rig) -> Result<(), DevError> {
    say(format_args!("Starting {} nodes and {} demo shops.", options.nodes, options.backends));
    rig.start(home).await?;
    if options.check {
        return if check::run(rig, outside).await? { Ok(()) } else { Err(DevError::CheckFailed) };
    }
    say(introduction::text(rig.plan()));
    loop {
        outside.clock.sleep(LOOK_INTERVAL).await;
        for (name, status) in rig.newly_ended() {
            say(introduction::farewell(rig.plan(), &name, status));
        }
    }
}
