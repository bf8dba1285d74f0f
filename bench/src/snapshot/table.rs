//! What the table of so many sessions takes by itself: measured in a process that holds nothing else.

use std::collections::BTreeSet;

use stickler_core::ids::{LogIndex, NodeId, Revision};
use stickler_core::state::{ApplyDocument, Batch, Command, Stamp, State};
use tokio::process;

use crate::callers::key;
use crate::document::{Places, checked, reports, text};
use crate::failure::Failure;
use crate::print::out;
use crate::process_figures::memory;

/// Binds in one entry.
const BATCH: u64 = 1_000;

/// How large the table is.
#[derive(Clone, Debug, clap::Args)]
pub struct TableOptions {
    /// How many sessions are bound
    #[arg(long)]
    sessions: u64,
}

/// Fills a table in this process and prints by how many bytes its memory grew.
///
/// # Errors
/// [`Failure`].
pub fn print_table_size(options: &TableOptions) -> Result<(), Failure> {
    let mut entries = Entries { state: State::new(), index: 0 };
    entries.state.set_voters(BTreeSet::from([NodeId(1)]));
    let document = checked(&text())?;
    entries.apply(vec![Command::ApplyDocument(Box::new(ApplyDocument {
        document,
        expected: Revision(0),
        removal: stickler_core::state::Removal::Now,
    }))]);
    let catalog = entries.state.view().catalog;
    entries.apply(reports(&catalog, &[NodeId(1)]));
    let places =
        Places::of(&catalog).ok_or_else(|| Failure::Void("the document has no backends".to_owned()))?;
    let before = memory(std::process::id())?.now;
    let mut bound = 0;
    while bound < options.sessions {
        let numbers = bound..options.sessions.min(bound + BATCH);
        bound = numbers.end;
        let view = entries.state.view();
        let binds = numbers.map(|number| Command::Bind(places.bind(key(number), view.applied, view.time)));
        entries.apply(binds.collect());
    }
    let held = entries.state.view().table.len() as u64;
    if held != options.sessions {
        return Err(Failure::Void(format!(
            "the table holds {held} sessions instead of {}",
            options.sessions
        )));
    }
    out(memory(std::process::id())?.now - before);
    Ok(())
}

struct Entries {
    state: State,
    index: u64,
}

impl Entries {
    fn apply(&mut self, commands: Vec<Command>) {
        self.index += 1;
        self.state.apply(LogIndex(self.index), &Batch { stamp: Stamp::default(), commands });
    }
}

/// The bytes that a table of so many sessions takes, by a process of its own.
///
/// # Errors
/// [`Failure`].
pub async fn table_size(sessions: u64) -> Result<u64, Failure> {
    let program = std::env::current_exe().map_err(Failure::system("this program's own path"))?;
    let answer = process::Command::new(program)
        .args(["table", &format!("--sessions={sessions}")])
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Failure::system("measuring a table"))?;
    let size = String::from_utf8_lossy(&answer.stdout).trim().parse();
    size.map_err(|_| Failure::Void(String::from_utf8_lossy(&answer.stderr).trim().to_owned()))
}
