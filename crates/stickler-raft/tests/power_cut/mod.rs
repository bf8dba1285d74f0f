//! The tests, the process that is cut off, and the machine around it.

mod machine;
mod workload;

use machine::{Faults, Machine};

const CUTS: u64 = 20;

#[test]
fn twenty_power_cuts_lose_nothing_that_was_acknowledged() {
    let mut machine = Machine::new();
    for cut in 0..CUTS {
        machine.run_until_cut(cut, Faults::default());
        if let Err(loss) = machine.start_after_cut() {
            panic!("cut {cut}: {loss}");
        }
    }
    assert!(machine.acknowledged() > CUTS, "the cuts came before there was anything to lose");
}

/// Without this, the test above could pass because its cuts lose nothing.
#[test]
fn without_the_fdatasync_a_power_cut_loses_what_was_acknowledged() {
    let mut machine = Machine::new();
    let lost = (0..CUTS).any(|cut| {
        machine.run_until_cut(cut, Faults { without_fdatasync: true, ..Faults::default() });
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
    if let Some(directory) = std::env::var_os(machine::DIRECTORY) {
        workload::run(directory.as_ref());
    }
}
