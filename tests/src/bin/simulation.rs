//! The simulation as a command: many seeds, one seed, or the proof that it finds bugs.
#![expect(clippy::print_stdout, reason = "the terminal is what this command talks to")]

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use stickler_core::deliberate::Fault;
use stickler_rt::Clock;
use stickler_tests::log;
use stickler_tests::simulation::mistakes::prove;
use stickler_tests::simulation::runner::{BROKEN, COUNT, Ran, Repeat, Runner, TRACE};
use stickler_tests::simulation::shrink::shrink;
use stickler_tests::simulation::{Setting, run};

/// Whole nodes in a deterministic simulation, from a seed.
#[derive(Parser)]
#[command(name = "simulation")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds; what fails is shrunk, and printed with the command that repeats it.
    Run(Many),
    /// Runs one seed.
    Seed {
        /// The seed.
        seed: u64,
        /// Numbers of the plan's events that happen, with commas, or "none"; else all.
        #[arg(long)]
        only: Option<String>,
        /// Print the plan, and what happened, line by line.
        #[arg(long)]
        trace: bool,
        /// A deliberate fault to switch on (needs `--features deliberate-faults`).
        #[arg(long, value_parser = named)]
        fault: Option<Fault>,
        /// How many nodes, 3 or 5; else the seed says.
        #[arg(long)]
        nodes: Option<u64>,
    },
    /// Switches deliberate faults on, one after the other, and counts the seeds until each is found.
    Faults {
        /// This fault alone.
        #[arg(long, value_parser = named)]
        fault: Option<Fault>,
        #[command(flatten)]
        many: Many,
    },
}

#[derive(Args)]
struct Many {
    /// How many seeds, at most.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many nodes, 3 or 5; else each seed says.
    #[arg(long)]
    nodes: Option<u64>,
    /// Runs at once; else as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
}

fn named(name: &str) -> Result<Fault, String> {
    Fault::named(name).ok_or_else(|| {
        let names: Vec<&str> = Fault::all().map(Fault::name).collect();
        format!("there is no such fault; there are {}", names.join(", "))
    })
}

fn main() -> io::Result<ExitCode> {
    log::start();
    let good = match Line::parse().command {
        Command::Run(many) => seeds(&many)?,
        Command::Seed { seed, only, trace, fault, nodes } => {
            let numbers = |only: String| only.split(',').filter_map(|number| number.parse().ok()).collect();
            one(&Setting { seed, nodes, only: only.map(numbers), fault, traced: trace })
        }
        Command::Faults { fault, many } => faults(fault, &many)?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Many {
    fn runner(&self) -> io::Result<Runner> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Runner { program: std::env::current_exe()?, jobs: self.jobs.unwrap_or(cores) })
    }
}

/// Whether a fault was asked for that is not in this program.
fn is_without_faults() -> bool {
    if cfg!(feature = "deliberate-faults") {
        return false;
    }
    println!("the deliberate faults are not in this build: add --features deliberate-faults");
    true
}

fn one(setting: &Setting) -> bool {
    if setting.fault.is_some() && is_without_faults() {
        return false;
    }
    if setting.traced {
        print!("{}", setting.plan());
    }
    let run = run(setting);
    for line in &run.trace {
        println!("{TRACE}{line}");
    }
    for (what, count) in &run.counts {
        println!("{COUNT}{what} {count}");
    }
    for broken in &run.violations {
        println!("{BROKEN}{broken}");
    }
    run.violations.is_empty()
}

/// Seeds between two lines that say how far it is.
const LINE: u64 = 500;

/// Below this many seeds, something that never happened is chance.
const ENOUGH: u64 = 200;

/// Most failures that are shrunk.
const SHRUNK: usize = 5;

/// What must have happened in many seeds together, or they show little.
const WANTED: [&str; 21] = [
    "answers without a lease",
    "carts checked",
    "crowds: answered by a shop",
    "errors of shops",
    "expiries judged",
    "log-ins",
    "log-outs",
    "looks at shops that were ejected",
    "moves judged",
    "power cuts of all nodes",
    "receipts",
    "requests by lease",
    "requests refused",
    "requests sent again",
    "requests that filled a shop",
    "requests without a lease",
    "sessions",
    "sessions moved",
    "sessions moved by hand",
    "starts",
    "verdicts judged",
];

fn seeds(many: &Many) -> io::Result<bool> {
    let runner = many.runner()?;
    let clock = Clock::start();
    let mut counts = BTreeMap::<String, u64>::new();
    let mut failed: Vec<Ran> = Vec::new();
    let mut ended = 0;
    let settings = (many.first..many.first + many.seeds).map(|seed| Setting {
        seed,
        nodes: many.nodes,
        ..Setting::default()
    });
    runner.run_all(settings, |ran| {
        ended += 1;
        for (what, count) in &ran.counts {
            *counts.entry(what.clone()).or_default() += count;
        }
        if !ran.broken.is_empty() {
            println!("seed {}: {}", ran.setting.seed, ran.broken.join("\n  "));
            failed.push(ran.clone());
        }
        if u64::is_multiple_of(ended, LINE) {
            println!("{ended} seeds, {} failed, {:.0} s", failed.len(), seconds(&clock));
        }
        true
    })?;
    for (what, count) in &counts {
        println!("{count:10} {what}");
    }
    let idle: Vec<&str> = WANTED.into_iter().filter(|what| !counts.contains_key(*what)).collect();
    let idle = if many.seeds >= ENOUGH { idle } else { Vec::new() };
    if !idle.is_empty() {
        println!("nothing of this ever happened: {idle:?}");
    }
    for ran in failed.iter().take(SHRUNK) {
        explain(&shrink(&runner, ran)?);
    }
    println!("{} of {ended} seeds failed, in {:.1} s", failed.len(), seconds(&clock));
    Ok(failed.is_empty() && idle.is_empty())
}

fn explain(ran: &Ran) {
    println!("\nseed {} needs no more than this to fail:\n{}", ran.setting.seed, ran.setting.plan());
    println!("{}\n{}", ran.broken.join("\n"), Repeat(&ran.setting));
}

fn faults(fault: Option<Fault>, many: &Many) -> io::Result<bool> {
    if is_without_faults() {
        return Ok(false);
    }
    let (runner, clock) = (many.runner()?, Clock::start());
    let mut missed = Vec::new();
    println!("| fault | what is wrong | seeds | found as |\n|---|---|---|---|");
    for fault in Fault::all().filter(|one| fault.is_none_or(|only| only == *one)) {
        let proof = prove(&runner, fault, many.first, many.seeds, many.nodes)?;
        println!("{}", proof.row());
        if proof.found.is_none() {
            missed.push(fault.name());
        }
    }
    println!("{} missed {missed:?}, in {:.1} s", missed.len(), seconds(&clock));
    Ok(missed.is_empty())
}

/// For people who wait.
fn seconds(clock: &Clock) -> f64 {
    clock.now().0.as_secs_f64()
}
