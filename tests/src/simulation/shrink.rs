//! Leaves out of a failing run's plan what the failure does not need.

use std::io;

use super::runner::{Ran, Runner};
use super::world::Setting;

/// Most runs for one failure.
const RUNS: usize = 80;

/// The failing run with the fewest events that was found: first halves are left out, then quarters, down to
/// single events, as long as something of the same kind stays broken.
///
/// # Errors
/// When a run can't be started.
pub fn shrink(runner: &Runner, failed: &Ran) -> io::Result<Ran> {
    let kind = kind_of(failed).to_owned();
    let plan = failed.setting.plan();
    let mut smallest = failed.clone();
    let mut kept: Vec<usize> = plan.events.iter().map(|event| event.number).collect();
    let mut runs = 0;
    let mut piece = kept.len();
    while piece > 0 && !kept.is_empty() {
        let mut from = 0;
        while from < kept.len() && runs < RUNS {
            let mut fewer = kept.clone();
            fewer.drain(from..(from + piece).min(kept.len()));
            runs += 1;
            let ran = runner.run(&Setting { only: Some(fewer.clone()), ..failed.setting.clone() })?;
            if kind_of(&ran) == kind {
                (kept, smallest) = (fewer, ran);
            } else {
                from += piece;
            }
        }
        piece /= 2;
    }
    Ok(smallest)
}

/// The promise that was broken first.
fn kind_of(ran: &Ran) -> &str {
    let broken = ran.broken.first().map(String::as_str).unwrap_or_default();
    broken.split_whitespace().next().unwrap_or_default()
}
