//! All that operators' commands say to a terminal: results on standard output, as a table or as JSON, and
//! what is only for people on standard error.

use std::io::{self, Write};

use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs: the field names of the admin API, one document
    Json,
}

/// One line of a result.
///
/// # Errors
/// When standard output is closed or full.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// A remark for people, beside the result. There is nobody to tell when standard error is closed.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A result as one JSON document.
///
/// # Errors
/// When standard output is closed or full.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// A JSON array that is printed element by element, so that a long one needs no memory.
#[derive(Debug)]
pub struct JsonArray {
    output: io::BufWriter<io::Stdout>,
    empty: bool,
}

impl JsonArray {
    /// Begins the array.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn begin() -> io::Result<Self> {
        let mut output = io::BufWriter::new(io::stdout());
        write!(output, "[")?;
        Ok(Self { output, empty: true })
    }

    /// Prints the next element, on a line of its own.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn push(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.output.write_all(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        serde_json::to_writer(&mut self.output, value)?;
        Ok(())
    }

    /// Ends the array.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn end(mut self) -> io::Result<()> {
        self.output.write_all(if self.empty { b"]\n" } else { b"\n]\n" })?;
        self.output.flush()
    }
}

/// Rows under headings, in columns. Printed in parts, the columns keep their width as far as they can.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    begun: bool,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        let widths = headings.iter().map(|heading| heading.chars().count()).collect();
        Self { headings: headings.to_vec(), widths, rows: Vec::new(), begun: false }
    }

    /// Adds a row, with one cell for each heading.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell)).collect();
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// Prints the rows added so far, below the headings the first time.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn print(&mut self) -> io::Result<()> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            text += &self.aligned(self.headings.iter().copied());
        }
        for row in &self.rows {
            text += &self.aligned(row.iter().map(String::as_str));
        }
        self.rows.clear();
        io::stdout().write_all(text.as_bytes())
    }

    fn aligned<'c>(&self, cells: impl Iterator<Item = &'c str>) -> String {
        let mut text = String::new();
        for (cell, width) in cells.zip(&self.widths) {
            text += &format!("{cell:<width$}  ");
        }
        format!("{}\n", text.trim_end())
    }
}

/// What a node says can't move the cursor or change the terminal's colours.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long something took or lasts, as people read it.
#[must_use]
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONGER"]);
        table.row(["wide cell".to_owned(), "x".to_owned()]);
        assert_eq!(table.aligned(["A", "LONGER"].into_iter()), "A          LONGER\n");
        assert_eq!(table.aligned(["wide cell", "x"].into_iter()), "wide cell  x\n");
    }

    #[test]
    fn a_name_can_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }

    #[test]
    fn durations_have_their_two_largest_units() {
        let shown = [999, 59_999, 61_000, 3_660_000, 90_000_000].map(duration);
        assert_eq!(shown, ["999ms", "59s", "1m01s", "1h01m", "1d01h"]);
    }
}
