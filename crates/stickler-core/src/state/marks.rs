//! Marks: what an operator has ended by a rule is not brought back by a token that has no record yet and was
//! issued before. A recorded session needs none, since its record ends.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::State;
use super::catalog::Catalog;
use super::command::NotBefore;
use super::outcome::MarkOutcome;
use crate::ids::{AffinityId, BackendId};
use crate::time::ClusterTime;

/// How long a token without a record can bring its session back. A mark is of no use for longer than that.
pub const RETURN_WINDOW: Duration = Duration::from_secs(600);

/// Marks that are kept at once. Each has a scope of its own, and lasts ten minutes.
const MOST: usize = 1000;

/// Tokens without a record, of this scope and issued before this time, bring no session back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Of this affinity; `None` for all.
    pub affinity: Option<AffinityId>,
    /// For this backend; `None` for all.
    pub backend: Option<BackendId>,
    /// Cluster time.
    pub before: ClusterTime,
}

impl Mark {
    fn covers(&self, affinity: AffinityId, backend: BackendId) -> bool {
        self.affinity.is_none_or(|marked| marked == affinity)
            && self.backend.is_none_or(|marked| marked == backend)
    }
}

impl Catalog {
    /// The time before which a token that has no record must not have been issued to bring a session of this
    /// affinity back to this backend: such a session was ended by an operator. Zero when none was.
    #[must_use]
    pub fn not_before(&self, affinity: AffinityId, backend: BackendId) -> ClusterTime {
        let marks = self.marks.iter().filter(|mark| mark.covers(affinity, backend));
        marks.map(|mark| mark.before).max().unwrap_or_default()
    }
}

impl State {
    pub(super) fn not_before(&mut self, wanted: &NotBefore) -> MarkOutcome {
        let before = self.time - Duration::from_millis(wanted.age);
        let marks = &mut Arc::make_mut(&mut self.catalog).marks;
        let same = |mark: &&mut Mark| (mark.affinity, mark.backend) == (wanted.affinity, wanted.backend);
        if let Some(known) = marks.iter_mut().find(same) {
            known.before = known.before.max(before);
        } else if marks.len() < MOST {
            marks.push(Mark { affinity: wanted.affinity, backend: wanted.backend, before });
        } else {
            return MarkOutcome::Full;
        }
        MarkOutcome::Marked(before)
    }

    /// Forgets marks that are older than any token that could bring a session back.
    pub(super) fn forget_marks(&mut self) {
        let now = self.time;
        let over = |mark: &Mark| mark.before + RETURN_WINDOW < now;
        if self.catalog.marks.iter().any(over) {
            Arc::make_mut(&mut self.catalog).marks.retain(|mark| !over(mark));
        }
    }
}
