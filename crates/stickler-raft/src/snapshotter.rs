//! Decides when the log is worth a snapshot: by how much work it would be to apply it again, not by how
//! many entries it has, since an entry may hold one command or thousands.

use std::sync::Arc;

use stickler_rt::Shutdown;

use crate::published::{Applied, Published};
use crate::raft::Raft;

/// Commands since the last snapshot that make a new one worth while: a second or so of applying.
const COMMANDS: u64 = 400_000;

/// Entries since the last snapshot that do so, too, whatever they hold.
const ENTRIES: u64 = 50_000;

/// Triggers snapshots until `shutdown`.
pub(crate) async fn run(raft: Raft, published: Arc<Published>, shutdown: Shutdown) {
    let mut applied = published.applied();
    let mut last = Applied::default();
    loop {
        let now = *applied.borrow_and_update();
        let due = now.commands.saturating_sub(last.commands) >= COMMANDS
            || now.index.0.saturating_sub(last.index.0) >= ENTRIES;
        if due {
            last = now;
            if let Err(error) = raft.trigger().snapshot().await {
                return tracing::debug!(%error, "no more snapshots: consensus has stopped");
            }
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}
