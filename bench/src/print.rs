//! What people read of a run: Markdown tables on standard output, progress on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

/// A table of text; the first column is to the left, the others are to the right.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub fn new<S: Into<String>>(headings: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![headings.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0).max(3)
            })
            .collect();
        let line = |row: &[String]| {
            let cells = widths.iter().enumerate().map(|(column, width)| match column {
                0 => format!(" {:<width$} |", cell(row, column)),
                _ => format!(" {:>width$} |", cell(row, column)),
            });
            format!("|{}", cells.collect::<String>())
        };
        let rule = widths.iter().enumerate().map(|(column, width)| match column {
            0 => format!("{}|", "-".repeat(width + 2)),
            _ => format!("{}:|", "-".repeat(width + 1)),
        });
        let rule = format!("|{}", rule.collect::<String>());
        let mut lines: Vec<String> = self.rows.iter().map(|row| line(row)).collect();
        lines.insert(1.min(lines.len()), rule);
        lines
    }

    /// Prints it, with an empty line before and after.
    pub fn print(&self) {
        out("");
        self.lines().into_iter().for_each(out);
        out("");
    }
}

/// Prints a line of the result.
pub fn out(line: impl Display) {
    // Nobody can be told that nobody reads.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line about what goes on.
pub fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints what was measured on: cores, processor, kernel, and where the data lies.
pub fn machine(directory: Option<&Path>) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    // of the machine, even when this process keeps to some of them
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let processor = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let kernel = read("/proc/sys/kernel/osrelease");
    out(format_args!(
        "machine: {cores} cores, {}, Linux {}",
        processor.trim_start_matches([' ', '\t', ':']),
        kernel.trim()
    ));
    if let Some(directory) = directory {
        out(format_args!("data: below {}", directory.display()));
    }
}

/// A number with groups of three digits.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_with_aligned_columns() {
        let mut table = Table::new(["callers", "binds"]);
        table.add(vec!["1".to_owned(), grouped(1_234_567.4)]);
        assert_eq!(
            table.lines(),
            ["| callers |     binds |", "|---------|----------:|", "| 1       | 1,234,567 |",]
        );
    }

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!(grouped(0.4), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1_000.0), "1,000");
        assert_eq!(grouped(45_678.9), "45,679");
    }
}
