//! What `dev` says to the terminal.

use std::fmt::Display;

use crate::printer;

/// Prints a line. A terminal that is gone is no reason to leave processes behind, so errors are passed over.
pub(super) fn say(line: impl Display) {
    let _ = printer::line(&line.to_string());
}
