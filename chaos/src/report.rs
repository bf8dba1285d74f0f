//! What a scenario measured, and whether the cluster did all that it must.

use std::fmt;

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
