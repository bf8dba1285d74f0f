//! Three whole nodes in a deterministic simulation: kills, power cuts, pauses and cuts from one seed, with
//! the promises of the design checked at every tick.
//!
//! Each run has a process of its own, since tokio orders some things by numbers that it counts up in the
//! whole process. It is the process that one starts by hand to see what a seed did.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stickler_tests::log;
use stickler_tests::simulation::run;

/// Seeds of every test run: 1 to this.
const SEEDS: u64 = 20;

/// Runs at once.
const THREADS: usize = 2;

/// Says which seed the run is.
const SEED: &str = "STICKLER_SEED";

/// Begin the lines in which a run says what it has come to.
const COUNT: &str = "counted: ";
const BROKEN: &str = "broken: ";

/// What must have happened in the seeds together, or they show little.
const WANTED: [&str; 10] = [
    "answers without a lease",
    "carts checked",
    "faults",
    "moves judged",
    "requests by lease",
    "requests refused",
    "requests without a lease",
    "sessions",
    "sessions moved",
    "starts",
];

/// What a run's process has printed.
struct Ran {
    seed: u64,
    trace: Vec<String>,
    counts: BTreeMap<String, u64>,
    /// What was found broken, or how the process ended.
    broken: Vec<String>,
}

fn spawn(seed: u64) -> Ran {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["one_seed", "--exact", "--ignored", "--nocapture"])
        .env(SEED, seed.to_string())
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let mut ran = Ran { seed, trace: Vec::new(), counts: BTreeMap::new(), broken: Vec::new() };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((what, count)) = line.strip_prefix(COUNT).and_then(|counted| counted.rsplit_once(' ')) {
            ran.counts.insert(what.to_owned(), count.parse().unwrap());
        } else if let Some(broken) = line.strip_prefix(BROKEN) {
            ran.broken.push(broken.to_owned());
        } else if line.starts_with(' ') {
            ran.trace.push(line.to_owned());
        }
    }
    if !output.status.success() && ran.broken.is_empty() {
        ran.broken.push(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    ran
}

fn report(ran: &Ran) -> String {
    let last = ran.trace[ran.trace.len().saturating_sub(40)..].join("\n");
    let seed = ran.seed;
    let command = format!(
        "{SEED}={seed} cargo test -p stickler-tests --test simulation one_seed -- --exact --ignored --nocapture"
    );
    format!("seed {seed}\n{last}\n{}\n{command}\n", ran.broken.join("\n"))
}

#[test]
fn promises_hold_through_turmoil_in_every_seed() {
    let next = AtomicU64::new(1);
    let runs = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > SEEDS {
                        return;
                    }
                    let ran = spawn(seed);
                    runs.lock().unwrap().push(ran);
                }
            });
        }
    });
    let runs = runs.into_inner().unwrap();
    let failed: Vec<String> = runs.iter().filter(|ran| !ran.broken.is_empty()).map(report).collect();
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed\n{}", failed.len(), failed.join("\n"));
    let mut counts = BTreeMap::<&str, u64>::new();
    for (what, count) in runs.iter().flat_map(|ran| &ran.counts) {
        *counts.entry(what).or_default() += count;
    }
    let idle: Vec<&str> = WANTED.into_iter().filter(|what| !counts.contains_key(what)).collect();
    assert!(idle.is_empty(), "nothing of this ever happened: {idle:?}; {counts:?}");
    println!("{counts:#?}");
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 11] {
        let (first, second) = (spawn(seed), spawn(seed));
        for (line, (first, second)) in first.trace.iter().zip(&second.trace).enumerate() {
            assert_eq!(first, second, "two runs of seed {seed} part at line {line} of their traces");
        }
        assert_eq!(first.trace.len(), second.trace.len());
        assert!(first.trace.len() > 1000, "a run of {} lines shows nothing", first.trace.len());
    }
}

/// Runs the seed in `STICKLER_SEED` and prints what happened.
#[test]
#[ignore = "is the one run of the other tests, and shows what a seed did"]
fn one_seed() {
    log::start();
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let run = run(seed);
    for line in &run.trace {
        println!("{line}");
    }
    for (what, count) in &run.counts {
        println!("{COUNT}{what} {count}");
    }
    for broken in &run.violations {
        println!("{BROKEN}{broken}");
    }
    assert!(run.violations.is_empty(), "seed {seed} broke a promise");
}
