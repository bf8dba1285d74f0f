//! Drives the release binary of Stickler as a black box: starts a cluster of real processes on loopback,
//! does harm to it, and judges it by what its clients and backends were told.

mod chance;
mod compare;
mod fault;
mod history;
mod identifier;
mod load;
mod oracle;
mod page;
mod report;
mod rig;
mod scenario;
mod statistics;
mod workload;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use stickler_rt::{Outside, Seed, SeedError};
use tokio::signal::unix::{SignalKind, signal};

use history::{History, HistoryError};
use oracle::verdict::judge;
use report::Report;
use rig::backend_process;
use rig::home::{Home, HomeError};
use rig::network::NetworkKind;
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
    /// Judge a history that a run has kept, again
    Check {
        /// The run's directory
        directory: PathBuf,
    },
    /// Run the same workload and checker with Stickler and with another balancer, and print one table
    Compare(CompareOptions),
    /// Be a backend that can be killed: for scenarios only
    #[command(name = backend_process::COMMAND, hide = true)]
    Backend { name: String, address: SocketAddr },
    /// Make one HTML page of a history that a run has kept: report.html in its directory
    Report {
        /// The run's directory
        directory: PathBuf,
        /// Where the page goes instead
        #[arg(long)]
        output: Option<PathBuf>,
    },
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
    /// How long faults are done, where a scenario goes by time: 90s, 30m, 2h
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// How the nodes are connected, where a scenario breaks the network
    #[arg(long, value_enum, default_value_t)]
    network: NetworkKind,
    /// Only these of the faults that `list` prints, with commas in between
    #[arg(long, value_delimiter = ',', value_parser = fault_named)]
    faults: Vec<String>,
}

#[derive(Debug, Args)]
struct CompareOptions {
    /// With what: its nodes replicate their tables as its manual says
    #[arg(value_parser = ["haproxy"])]
    with: String,
    /// Decides everything that is chosen
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The binary of Stickler; without this, the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where histories, data and logs go and stay: a new or an empty directory
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let seconds = match &text[unit..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number and s, m or h, such as 90s or 30m".to_owned()),
    };
    let number: u64 = text[..unit].parse().map_err(|error| format!("{error}"))?;
    match number.checked_mul(seconds) {
        Some(seconds @ 1..=604_800) => Ok(Duration::from_secs(seconds)),
        _ => Err("from one second to a week".to_owned()),
    }
}

fn fault_named(name: &str) -> Result<String, String> {
    let names: Vec<&str> = fault::ALL.iter().map(|fault| fault.name).collect();
    let known = names.contains(&name).then(|| name.to_owned());
    known.ok_or_else(|| format!("there is none of this name; there are: {}", names.join(", ")))
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
    /// What was kept is no history.
    #[error(transparent)]
    History(#[from] HistoryError),
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
        Command::Check { directory } => check(&directory),
        Command::Compare(options) => compare_with(&options),
        Command::Backend { name, address } => be_backend(name, address).map(|()| true),
        Command::Report { directory, output } => {
            let output = output.unwrap_or_else(|| directory.join("report.html"));
            report_on(&directory, &output).map(|()| true)
        }
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
    writeln!(output, "\nfaults of mixed:")?;
    for fault in fault::ALL {
        writeln!(output, "  {:15} {}", fault.name, fault.does)?;
    }
    Ok(())
}

/// Whether the cluster did all that it must, by its history.
fn check(directory: &Path) -> Result<bool, RunError> {
    let history = History::read(directory)?;
    let report = Report::of(&history, &judge(&history));
    let mut output = io::stdout().lock();
    let run = &history.run;
    writeln!(
        output,
        "\n{} of {}, seed {}, {} s, {}",
        run.scenario, run.version, run.seed, run.duration, run.network
    )?;
    write!(output, "{report}")?;
    writeln!(output, "{}", if report.held() { "held" } else { "FAILED" })?;
    Ok(report.held())
}

fn be_backend(name: String, address: SocketAddr) -> Result<(), RunError> {
    let outside = Outside::of_process()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(backend_process::serve(&outside, name, address))?)
}

/// Longest time for a comparison.
const COMPARISON: Duration = Duration::from_secs(600);

/// Whether Stickler kept every session.
fn compare_with(options: &CompareOptions) -> Result<bool, RunError> {
    let mut home = Home::open(options.keep.as_deref())?;
    let stage = Stage {
        outside: Outside::of_process()?,
        binary: find_binary(options.binary.as_deref())?,
        directory: home.path().to_owned(),
        seed: Seed::from_number(options.seed).child("compare"),
        seed_number: options.seed,
        rounds: 1,
        duration: Duration::ZERO,
        network: NetworkKind::Links,
        faults: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        let compared = tokio::time::timeout(COMPARISON, compare::compare(&stage)).await;
        compared.map_err(|_| RunError::TooLong(COMPARISON))
    });
    runtime.shutdown_background();
    let compared = ended.and_then(|compared| Ok(compared?));
    if !compared.as_ref().is_ok_and(|(_, held)| *held) {
        home.keep();
        writeln!(io::stderr(), "histories, data and logs: {}", home.path().display())?;
    }
    let (table, held) = compared?;
    write!(io::stdout(), "{table}")?;
    Ok(held)
}

/// Makes the page about a history.
fn report_on(directory: &Path, output: &Path) -> Result<(), RunError> {
    std::fs::write(output, page::page(&History::read(directory)?))?;
    writeln!(io::stdout(), "{}", output.display())?;
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
        seed_number: options.seed,
        rounds: options.rounds.unwrap_or(scenario.rounds),
        duration: options.duration.or(scenario.lasts).unwrap_or_default(),
        network: options.network,
        faults: options.faults.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(play(scenario, &stage));
    runtime.shutdown_background();
    let held = ended.as_ref().is_ok_and(Report::held);
    if !held {
        home.keep();
    }
    let again = again(&stage, scenario);
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

/// The command that does it again.
fn again(stage: &Stage, scenario: &Scenario) -> String {
    let mut command = format!("stickler-chaos run {} --seed {}", scenario.name, stage.seed_number);
    match scenario.lasts {
        None => command.push_str(&format!(" --rounds {}", stage.rounds)),
        Some(_) => {
            command.push_str(&format!(
                " --duration {}s --network {}",
                stage.duration.as_secs(),
                stage.network.name()
            ));
        }
    }
    if !stage.faults.is_empty() {
        command.push_str(&format!(" --faults {}", stage.faults.join(",")));
    }
    command
}

/// The scenario, unless it is interrupted or takes too long. Its processes end with it.
async fn play(scenario: &Scenario, stage: &Stage) -> Result<Report, RunError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let limit = scenario.limit * stage.rounds.max(scenario.rounds) / scenario.rounds + stage.duration;
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        for wrong in ["", "s", "30", "0s", "-1m", "1.5h", "9999999h", "30 m"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_run_says_how_it_is_done_again() {
        let arguments =
            ["chaos", "run", "mixed", "--seed", "7", "--duration", "2m", "--faults", "kill,blind"];
        let Command::Run(options) = Arguments::parse_from(arguments).command else { panic!("not a run") };
        let stage = Stage {
            outside: Outside::of_process().unwrap(),
            binary: PathBuf::new(),
            directory: PathBuf::new(),
            seed: Seed::from_number(options.seed),
            seed_number: options.seed,
            rounds: 1,
            duration: options.duration.unwrap(),
            network: options.network,
            faults: options.faults.clone(),
        };
        let said = again(&stage, options.scenario);
        assert_eq!(
            said,
            "stickler-chaos run mixed --seed 7 --duration 120s --network links --faults kill,blind"
        );
    }
}
