//! Proves that the simulation finds bugs: switches each deliberate fault of the product on, and counts the
//! seeds until something is found broken.

use std::io;

use stickler_core::deliberate::Fault;

use super::runner::{Ran, Runner};
use super::world::Setting;

/// What came of one fault.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The fault.
    pub fault: Fault,
    /// Seeds that were run, the one that found it included.
    pub seeds: u64,
    /// The run that found it.
    pub found: Option<Ran>,
}

/// Runs seeds from `first` on, `most` of them, with the fault switched on.
///
/// # Errors
/// When a run can't be started.
pub fn prove(runner: &Runner, fault: Fault, first: u64, most: u64, nodes: Option<u64>) -> io::Result<Proof> {
    let mut proof = Proof { fault, seeds: 0, found: None };
    let settings =
        (first..first + most).map(|seed| Setting { seed, nodes, fault: Some(fault), ..Setting::default() });
    runner.run_all(settings, |ran| {
        proof.seeds += 1;
        proof.found = (!ran.broken.is_empty()).then(|| ran.clone());
        proof.found.is_none()
    })?;
    Ok(proof)
}

impl Proof {
    /// A row of the table, in Markdown.
    #[must_use]
    pub fn row(&self) -> String {
        let by = self.found.as_ref().and_then(|ran| ran.broken.first());
        let by = by.map_or("not found", |broken| broken.split(':').next().unwrap_or(broken));
        format!("| {} | {} | {} | {by} |", self.fault.name(), self.fault.mistake(), self.seeds)
    }
}
