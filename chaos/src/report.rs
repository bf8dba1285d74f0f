//! What a scenario measured, and whether the cluster did all that it must.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{Allowed, History};
use crate::oracle::verdict::{Promise, Verdict};

/// Faults that are printed; the others are counted.
const PRINTED_FAULTS: usize = 20;

/// The outcome of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    faults: Vec<String>,
}

#[derive(Debug)]
struct Row {
    what: String,
    measured: String,
    bar: Option<(String, bool)>,
}

impl Report {
    /// What the oracle says of a history.
    pub(crate) fn of(history: &History, verdict: &Verdict) -> Self {
        let mut report = Self::default();
        report.figure("sessions", verdict.sessions);
        report.figure("visits", history.visits.len());
        report.figure("answers of bound sessions", verdict.observations);
        report.figure("messages over WebSockets", history.echoes.len());
        report.figure("operators' wishes", history.operations.len());
        report.figure("requests without an answer", verdict.unknown);
        report.figure("sessions moved, for a reason", verdict.moved.len());
        report.figure("answers by an older epoch from isolated nodes", verdict.stale);
        for (fault, felt) in &verdict.felt {
            let stated = history.run.windows.iter().find(|window| window.fault == *fault);
            let allowed =
                stated.is_some_and(|window| (window.known, window.fresh) != (Allowed::Never, Allowed::Never));
            let errors = if allowed {
                format!(
                    "{} times; errors of known sessions {}, of new ones {}, up to {:.1} s after its beginning",
                    felt.times,
                    felt.known,
                    felt.fresh,
                    felt.longest as f64 / 1e6
                )
            } else {
                format!("{} times", felt.times)
            };
            report.figure(format!("fault {fault}"), errors);
        }
        let mut found: BTreeMap<Promise, usize> = BTreeMap::new();
        for violation in &verdict.violations {
            *found.entry(violation.promise).or_default() += 1;
            report.fault(violation);
        }
        for promise in Promise::ALL {
            let count = found.get(&promise).copied().unwrap_or(0);
            report.bar(promise.to_string(), count, "0 violations", count == 0);
        }
        for bar in &history.run.bars {
            report.bar(&bar.what, &bar.measured, &bar.must, bar.held);
        }
        report
    }

    /// A figure that decides nothing.
    pub(crate) fn figure(&mut self, what: impl Into<String>, measured: impl fmt::Display) {
        self.rows.push(Row { what: what.into(), measured: measured.to_string(), bar: None });
    }

    /// A figure that must meet a bar, and whether it does.
    pub(crate) fn bar(
        &mut self,
        what: impl Into<String>,
        measured: impl fmt::Display,
        bar: impl Into<String>,
        held: bool,
    ) {
        self.rows.push(Row {
            what: what.into(),
            measured: measured.to_string(),
            bar: Some((bar.into(), held)),
        });
    }

    /// Something that must not happen has happened.
    pub(crate) fn fault(&mut self, fault: impl fmt::Display) {
        self.faults.push(fault.to_string());
    }

    /// Several things that must not happen have happened.
    pub(crate) fn faults<F: fmt::Display>(&mut self, faults: impl IntoIterator<Item = F>) {
        for fault in faults {
            self.fault(fault);
        }
    }

    /// Whether every bar was met and no fault was found.
    pub(crate) fn held(&self) -> bool {
        self.faults.is_empty() && self.rows.iter().all(|row| row.bar.as_ref().is_none_or(|(_, held)| *held))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |width: fn(&Row) -> usize| self.rows.iter().map(width).max().unwrap_or(0);
        let what = widest(|row| row.what.chars().count());
        let measured = widest(|row| row.measured.chars().count());
        for row in &self.rows {
            write!(f, "  {:what$}  {:>measured$}", row.what, row.measured)?;
            match &row.bar {
                Some((bar, held)) => writeln!(f, "  must be {bar}{}", if *held { "" } else { ": FAILED" })?,
                None => writeln!(f)?,
            }
        }
        for fault in self.faults.iter().take(PRINTED_FAULTS) {
            writeln!(f, "  FAULT: {fault}")?;
        }
        if self.faults.len() > PRINTED_FAULTS {
            writeln!(f, "  and {} more faults", self.faults.len() - PRINTED_FAULTS)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_bar_or_one_fault_is_a_failure() {
        let mut report = Report::default();
        report.figure("sessions", 5);
        report.bar("worst", "3 ms", "5 ms at most", true);
        assert!(report.held());
        report.fault("a session was lost");
        assert!(!report.held());

        let mut report = Report::default();
        report.bar("worst", "7 ms", "5 ms at most", false);
        assert!(!report.held());
        assert!(report.to_string().contains("FAILED"));
    }

    #[test]
    fn a_flood_of_faults_is_counted_and_not_printed() {
        let mut report = Report::default();
        report.faults((0..1000).map(|number| format!("fault {number}.")));
        let text = report.to_string();
        assert!(text.contains("fault 19.") && !text.contains("fault 20."));
        assert!(text.contains("and 980 more"));
    }
}
