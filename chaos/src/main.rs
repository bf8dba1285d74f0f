//! Drives the release binary of Stickler as a black box: starts a cluster of real processes on loopback,
//! does harm to it, and judges it by what its clients and backends were told.

mod identifier;
mod load;
mod oracle;
mod report;
mod rig;
mod scenario;
mod statistics;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use stickler_rt::{Outside, Seed, SeedError};
use tokio::signal::unix::{SignalKind, signal};

use report::Report;
use rig::home::{Home, HomeError};
use scenario::{ALL, Scenario, ScenarioError, Stage};

/// Kills nodes of a real cluster and judges what its clients were told
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the scenarios and what each of them proves
    List,
    /// Run one scenario; ends with 0 when the cluster did all that it must
    Run(RunOptions),
}

#[derive(Debug, Args)]
struct RunOptions {
    /// The scenario's name, as `list` prints it
    #[arg(value_parser = scenario_named)]
    scenario: &'static Scenario,
    /// Decides everything that the scenario chooses
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary of Stickler; without this, the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where data and logs go and stay: a new or an empty directory. Without this they are kept on failure only
    #[arg(long)]
    keep: Option<PathBuf>,
    /// How many times the scenario's fault happens
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
}

/// Why nothing was run, or the run came to no verdict.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// Build it: the message names the command.
    #[error(
        "there is no binary at {0}: build it with `cargo build --release -p stickler`, or name it with --binary"
    )]
    NoBinary(PathBuf),
    /// Name another directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The operating system refused something basic: see its message.
    #[error(transparent)]
    System(#[from] io::Error),
    /// There is no randomness for choosing ports.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The scenario could not go on: see the logs of the nodes.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The scenario takes longer than it ever should: see the logs of the nodes.
    #[error("no verdict within {0:?}")]
    TooLong(std::time::Duration),
    /// Somebody ended this run.
    #[error("interrupted")]
    Interrupted,
}

fn scenario_named(name: &str) -> Result<&'static Scenario, String> {
    ALL.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        format!("there is none of this name; there are: {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::List => list().map(|()| true).map_err(RunError::from),
        Command::Run(options) => run(&options),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // standard error may be closed, and then there is nobody to tell
            let _ = writeln!(io::stderr(), "stickler-chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for scenario in ALL {
        writeln!(output, "{:15} {}", scenario.name, scenario.proves)?;
    }
    Ok(())
}

/// Whether the cluster did all that it must.
fn run(options: &RunOptions) -> Result<bool, RunError> {
    let binary = find_binary(options.binary.as_deref())?;
    let mut home = Home::open(options.keep.as_deref())?;
    let scenario = options.scenario;
    let stage = Stage {
        outside: Outside::of_process()?,
        binary,
        directory: home.path().to_owned(),
        seed: Seed::from_number(options.seed).child(scenario.name),
        rounds: options.rounds.unwrap_or(scenario.rounds),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(play(scenario, &stage));
    runtime.shutdown_background();
    let held = ended.as_ref().is_ok_and(Report::held);
    if !held {
        home.keep();
    }
    let again =
        format!("stickler-chaos run {} --seed {} --rounds {}", scenario.name, options.seed, stage.rounds);
    let report = match ended {
        Ok(report) => report,
        Err(error) => {
            writeln!(io::stderr(), "data and logs: {}\nagain: {again}", home.path().display())?;
            return Err(error);
        }
    };
    let mut output = io::stdout().lock();
    write!(output, "\n{}\n{report}", scenario.name)?;
    if home.is_kept() {
        writeln!(output, "data and logs: {}", home.path().display())?;
    }
    if !held {
        writeln!(output, "again: {again}")?;
    }
    writeln!(output, "{}", if held { "held" } else { "FAILED" })?;
    Ok(held)
}

/// The scenario, unless it is interrupted or takes too long. Its processes end with it.
async fn play(scenario: &Scenario, stage: &Stage) -> Result<Report, RunError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let limit = scenario.limit * stage.rounds.max(scenario.rounds) / scenario.rounds;
    tokio::select! {
        ended = (scenario.run)(stage) => Ok(ended?),
        () = tokio::time::sleep(limit) => Err(RunError::TooLong(limit)),
        _ = interrupt.recv() => Err(RunError::Interrupted),
        _ = terminate.recv() => Err(RunError::Interrupted),
    }
}

fn find_binary(named: Option<&Path>) -> Result<PathBuf, RunError> {
    let binary = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("stickler"),
    };
    if binary.is_file() { Ok(binary.canonicalize()?) } else { Err(RunError::NoBinary(binary)) }
}
