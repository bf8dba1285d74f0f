//! What readers see: the state as of one applied index, published after each entry.

use std::sync::Arc;

use super::catalog::Catalog;
use super::counts::Counts;
use super::deadlines::Deadlines;
use super::jobs::Jobs;
use super::outcome::BindRefusal;
use super::record::{Binding, Record, SessionKey};
use super::room::lacks_room;
use super::table::BindingTable;
use crate::ids::{AffinityId, Epoch, LogIndex};
use crate::time::ClusterTime;

/// How many aliases are followed from a key to its binding. An application that changes a session's
/// identifier more often than this within the alias grace loses the oldest names early.
const LONGEST_ALIAS_CHAIN: usize = 8;

/// The state as readers see it. Catalog and index are those of one entry; the table behind it is always
/// at its newest, so a record may be newer than `applied`, never older.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last applied entry.
    pub applied: LogIndex,
    /// Cluster time at that entry.
    pub time: ClusterTime,
    /// The last epoch drawn.
    pub epoch: Epoch,
    /// The highest stable index that an applied entry carried; a lease may know a higher one.
    pub stable: LogIndex,
    /// Document, ids and backends.
    pub catalog: Arc<Catalog>,
    /// Jobs, and the sessions that are about to move.
    pub jobs: Arc<Jobs>,
    /// The bindings.
    pub table: Arc<BindingTable>,
    /// Bound sessions by backend and affinity.
    pub counts: Arc<Counts>,
    /// When records come due; not replicated.
    pub deadlines: Arc<Deadlines>,
}

/// A live binding as found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The name under which the binding stands: another than asked for when that was an alias.
    pub session: SessionKey,
    /// The binding.
    pub binding: Binding,
    /// The stable index must have reached this before the binding is used for the key asked for.
    pub usable_from: LogIndex,
}

impl View {
    /// The live binding of a key, through its aliases.
    #[must_use]
    pub fn locate(&self, session: SessionKey) -> Option<Located> {
        locate(&self.table, session)
    }

    /// Why there is no room for another session of an affinity; `None` when there is.
    #[must_use]
    pub fn lacks_room(&self, affinity: AffinityId) -> Option<BindRefusal> {
        lacks_room(&self.catalog, &self.counts, self.table.len() as u64, affinity)
    }
}

/// The live binding of a key, through its aliases.
pub(super) fn locate(table: &BindingTable, asked: SessionKey) -> Option<Located> {
    follow(table, asked).ok()
}

/// Follows a key through its aliases to its live binding. When there is none: the entry that ended the
/// key, at its own record or at one that its aliases led to, and 0 when nothing is known of it. Until the
/// stable index has reached that entry, a node that holds a lease may still route the key.
pub(super) fn follow(table: &BindingTable, asked: SessionKey) -> Result<Located, LogIndex> {
    let mut session = asked;
    let mut usable_from = LogIndex(0);
    let mut ended_at = LogIndex(0);
    for _ in 0..=LONGEST_ALIAS_CHAIN {
        let Some(record) = table.get(&session) else { break };
        ended_at = ended_at.max(record.changed_at());
        match record {
            Record::Binding(binding) => {
                return Ok(Located { session, binding, usable_from: usable_from.max(binding.usable_from) });
            }
            Record::Alias(alias) => {
                usable_from = usable_from.max(alias.usable_from);
                session.key = alias.to;
            }
            Record::Ended(_) => break,
        }
    }
    Err(ended_at)
}
