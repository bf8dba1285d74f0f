//! A few seeds of the simulation (whole nodes, kills, power cuts, pauses and cuts, with the promises of the
//! design checked at every tick), and that a seed is one run. `cargo run --release -p stickler-tests --bin
//! simulation -- run` runs as many as one likes.

use std::path::PathBuf;

use stickler_tests::simulation::Setting;
use stickler_tests::simulation::runner::{Ran, Repeat, Runner};

/// Seeds of every test run: 1 to this. Unoptimized each takes ten seconds; the command runs hundreds in that time.
const SEEDS: u64 = 4;

fn runner() -> Runner {
    Runner { program: PathBuf::from(env!("CARGO_BIN_EXE_simulation")), jobs: 2 }
}

fn traced(seed: u64) -> Setting {
    Setting { seed, traced: true, ..Setting::default() }
}

#[test]
fn promises_hold_through_turmoil_in_every_seed() {
    let mut failed = Vec::new();
    let settings = (1..=SEEDS).map(|seed| Setting { seed, ..Setting::default() });
    runner()
        .run_all(settings, |ran| {
            if !ran.broken.is_empty() {
                failed.push(format!("{}\n{}", ran.broken.join("\n"), Repeat(&ran.setting)));
            }
            true
        })
        .unwrap();
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn one_seed_is_one_run() {
    let mut runs: Vec<Ran> = Vec::new();
    let settings = [3, 3, 11, 11].into_iter().map(traced);
    runner()
        .run_all(settings, |ran| {
            runs.push(ran.clone());
            true
        })
        .unwrap();
    for pair in runs.chunks(2) {
        let [first, second] = pair else { panic!("runs come in pairs") };
        let seed = first.setting.seed;
        for (line, (first, second)) in first.trace.iter().zip(&second.trace).enumerate() {
            assert_eq!(first, second, "two runs of seed {seed} part at line {line} of their traces");
        }
        assert_eq!((&first.trace.len(), &first.counts), (&second.trace.len(), &second.counts));
        assert!(first.trace.len() > 1000, "a run of {} lines shows nothing", first.trace.len());
    }
}

#[test]
fn a_plan_without_an_event_is_the_same_plan_otherwise() {
    let whole = traced(7).plan();
    let numbers: Vec<usize> =
        whole.events.iter().map(|event| event.number).filter(|number| *number != 2).collect();
    let without = Setting { only: Some(numbers), ..traced(7) }.plan();
    assert_eq!(whole.events.len(), without.events.len() + 1);
    for event in &without.events {
        assert_eq!(format!("{event:?}"), format!("{:?}", whole.events[event.number]));
    }
}
