//! `stickler check`: every problem of documents, without any node.

use std::path::PathBuf;

use serde::Serialize;
use stickler_core::document::problem::Problem;

use crate::document_file::{self, Kind};
use crate::failure::Failure;
use crate::printer::{self, Format};

/// Which files to check.
#[derive(Debug, clap::Args)]
pub struct CheckOptions {
    /// Cluster documents and node files, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Checked {
    file: String,
    kind: &'static str,
    problems: Vec<Problem>,
    problems_left_out: usize,
}

/// Checks all files, and says what is wrong with any of them.
///
/// # Errors
/// [`Failure::Usage`] when a file can't be read or has a problem.
pub fn run(options: &CheckOptions) -> Result<(), Failure> {
    let mut checked = Vec::new();
    let mut messages = Vec::new();
    for path in &options.files {
        let text = match document_file::read(path) {
            Ok(text) => text,
            Err(failure) => {
                messages.push(failure.to_string());
                continue;
            }
        };
        let kind = Kind::of(path, &text);
        let problems = kind.problems(path, &text);
        match &problems {
            Some(problems) => messages.push(problems.to_string()),
            None if options.output == Format::Table => {
                printer::line(&format!("{}: a {} without problems", path.display(), kind.name()))?;
            }
            None => {}
        }
        checked.push(Checked {
            file: path.display().to_string(),
            kind: match kind {
                Kind::Cluster => "cluster",
                Kind::Node => "node",
            },
            problems_left_out: problems.as_ref().map_or(0, |problems| problems.left_out()),
            problems: problems.map_or_else(Vec::new, |problems| problems.as_slice().to_vec()),
        });
    }
    if options.output == Format::Json {
        printer::json(&serde_json::json!({ "files": checked }))?;
    }
    if messages.is_empty() { Ok(()) } else { Err(Failure::Usage(messages.join("\n"))) }
}
