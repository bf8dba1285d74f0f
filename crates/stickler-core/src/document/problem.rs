//! What is wrong with a document, as people read it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most problems of one document that are kept; a document of garbage would otherwise make more of
/// them than anybody reads.
const MAX_PROBLEMS: usize = 1_000;

/// One problem of a document, at its place. Displayed as `file:line:column: message`, with the suggestion
/// on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  help: {suggestion}")?;
        }
        Ok(())
    }
}

/// All problems of one document, in the order of their places; never empty. The operator edits the file
/// where each one says; nothing was started or applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    kept: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// Sorts `found`, drops repetitions, and keeps the first thousand. `None` when there is no problem.
    pub(super) fn new(mut found: Vec<Problem>) -> Option<Self> {
        found.sort();
        found.dedup();
        let left_out = found.len().saturating_sub(MAX_PROBLEMS);
        found.truncate(MAX_PROBLEMS);
        if found.is_empty() { None } else { Some(Self { kept: found, left_out }) }
    }

    /// The problems, in the order of their places; at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.kept
    }

    /// How many problems there were beyond those of [`as_slice`](Self::as_slice).
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.kept.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
