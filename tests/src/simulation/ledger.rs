//! What one run has shown so far, of all nodes, shops and clients: the trace, what was counted, and what
//! was found broken. The evidence itself is in [`Evidence`].

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::evidence::Evidence;

/// Shared by everything in a run. Clones are the same ledger.
#[derive(Clone)]
pub struct Ledger {
    contents: Arc<Mutex<Contents>>,
    /// Whether the trace is kept: writing it takes a tenth of a run's time.
    traced: bool,
}

/// See [`Ledger`].
#[derive(Default)]
pub struct Contents {
    /// What happened, line by line, in the order in which it was simulated.
    pub trace: Vec<String>,
    /// What was found broken.
    pub violations: Vec<String>,
    /// What happened how often, to see that a run was no idle one.
    pub counts: BTreeMap<&'static str, u64>,
    /// What promises are judged by.
    pub evidence: Evidence,
}

/// Virtual time on the host that asks.
///
/// # Panics
/// Outside of a simulation.
#[must_use]
pub fn now() -> Duration {
    turmoil::sim_elapsed().expect("called on a simulated host")
}

impl Ledger {
    /// An empty ledger, which keeps a trace or not.
    #[must_use]
    pub fn new(traced: bool) -> Self {
        Self { contents: Arc::default(), traced }
    }

    /// The contents, for a moment.
    pub fn open(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub fn note(&self, who: impl Display, what: impl Display) {
        if self.traced {
            self.note_at(now(), who, what);
        }
    }

    /// Adds a line to the trace, from outside of a host.
    pub fn note_at(&self, at: Duration, who: impl Display, what: impl Display) {
        if self.traced {
            self.open().trace.push(format!("{:10.3} {who}: {what}", at.as_secs_f64()));
        }
    }

    /// Says that a promise was broken, now.
    pub fn violated(&self, what: impl Display) {
        self.violated_at(now(), what);
    }

    /// Says that a promise was broken, from outside of a host.
    pub fn violated_at(&self, at: Duration, what: impl Display) {
        self.note_at(at, "VIOLATION", &what);
        self.open().violations.push(format!("{what} (at {:.3} s)", at.as_secs_f64()));
    }

    /// Counts.
    pub fn count(&self, what: &'static str) {
        *self.open().counts.entry(what).or_default() += 1;
    }

    /// How often it was counted.
    #[must_use]
    pub fn counted(&self, what: &str) -> u64 {
        self.open().counts.get(what).copied().unwrap_or_default()
    }
}
