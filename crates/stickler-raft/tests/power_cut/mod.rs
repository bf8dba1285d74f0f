//! The tests, the process that is cut off, and the machine around it.

mod after_failure;
mod machine;

use machine::{Faults, Machine};

use crate::workload;

const CUTS: u64 = 20;

/// After how many events a cut comes: another number each time, and the first one late enough that there is
/// something to lose in files that were made since the start.
fn last_event(cut: u64) -> u64 {
    (20 + cut * 37) % 150 + 1
}

#[test]
fn twenty_power_cuts_lose_nothing_that_was_acknowledged() {
    let mut machine = Machine::new();
    for cut in 0..CUTS {
        machine.run_until_cut(last_event(cut), Faults::default());
        if let Err(loss) = machine.start_after_cut() {
            panic!("cut {cut}: {loss}");
        }
    }
    assert!(machine.acknowledged() > CUTS, "the cuts came before there was anything to lose");
}

/// The first thing that the process says is that its data directory is there, before there is a log.
#[test]
fn a_power_cut_during_the_first_start_is_no_obstacle_to_the_next() {
    for cut in 0..5 {
        let mut machine = Machine::new();
        machine.run_until_cut(1 + cut / 2, Faults::default());
        machine.start_after_cut().unwrap();
    }
}

/// Without this, the first test could pass because its cuts lose nothing.
#[test]
fn without_the_fdatasync_a_power_cut_loses_what_was_acknowledged() {
    let mut machine = Machine::new();
    let lost = (0..CUTS).any(|cut| {
        machine.run_until_cut(last_event(cut), Faults { without_fdatasync: true, ..Faults::default() });
        machine.start_after_cut().is_err()
    });
    assert!(lost, "{CUTS} power cuts without fdatasync lost nothing: the cuts cut nothing");
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let mut machine = Machine::new();
    let faults = Faults { fdatasyncs_before_failure: Some(30), ..Faults::default() };
    let after_failure = machine.run_until_failure(faults);
    assert_eq!(after_failure, ["append refused", "vote refused", "read refused"]);
    machine.start_after_cut().unwrap();
}

/// The process that is cut off. Started by the other tests alone; by itself it has nothing to do.
#[test]
fn process_that_is_cut_off() {
    let Some(directory) = std::env::var_os(machine::DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        if let Some(failed) = workload::run(directory.as_ref(), &say, u64::MAX).await {
            say("failed");
            after_failure::say_what_is_answered(failed).await;
        }
    });
}

fn say(event: &str) {
    println!("{}{event}", machine::EVENT);
}
