//! Conflicts: what a node that was cut off served by an epoch that had ended meanwhile. The node reports what it
//! served when it is back; whether that was a conflict is decided here, at one log index for all.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::State;
use super::command::{Served, ServedIsolated};
use super::outcome::Outcome;
use super::record::{Record, SessionKey};
use super::view::follow;
use crate::ids::{BackendId, Epoch, NodeId};
use crate::time::ClusterTime;

/// Conflicts that are kept to be listed. The oldest go first; the count goes on.
const KEPT: usize = 256;

/// What cut-off nodes served by epochs that had ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conflicts {
    /// How many sessions there were since the cluster's birth.
    pub total: u64,
    /// The newest of them, the oldest first.
    pub newest: VecDeque<Conflict>,
}

/// One session that a cut-off node served by an epoch that had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conflict {
    /// The session.
    pub session: SessionKey,
    /// The node that was cut off.
    pub node: NodeId,
    /// The epoch by which it routed.
    pub epoch: Epoch,
    /// The backend that got the requests.
    pub backend: BackendId,
    /// How many there were.
    pub requests: u64,
    /// Epoch and backend that the session had by then, if it still was one. This is the one that counts.
    pub instead: Option<(Epoch, BackendId)>,
    /// When the node reported it.
    pub reported_at: ClusterTime,
}

impl Conflicts {
    fn note(&mut self, conflict: Conflict) {
        let of = |one: &Conflict| (one.session, one.node, one.epoch, one.backend);
        match self.newest.iter_mut().find(|known| of(known) == of(&conflict)) {
            // The node could not learn what had become of its report, and reports again.
            Some(known) => *known = conflict,
            None => {
                self.total += 1;
                self.newest.push_back(conflict);
            }
        }
    }
}

impl State {
    /// Notes which of the sessions that a node served while it was cut off had another epoch.
    pub(super) fn served_isolated(&mut self, report: &ServedIsolated) -> Outcome {
        let conflicts: Vec<Conflict> =
            report.served.iter().filter_map(|served| self.conflict(report.node, served)).collect();
        if !conflicts.is_empty() {
            let kept = &mut Arc::make_mut(&mut self.catalog).conflicts;
            for conflict in conflicts {
                kept.note(conflict);
            }
            let excess = kept.newest.len().saturating_sub(KEPT);
            kept.newest.drain(..excess);
        }
        Outcome::Noted
    }

    fn conflict(&self, node: NodeId, served: &Served) -> Option<Conflict> {
        let Served { session, epoch, backend, requests } = *served;
        let instead = match follow(&self.table, session) {
            // Under its newer name the session may have an epoch of its own, on the same backend.
            Ok(found) if found.binding.epoch <= epoch || found.binding.backend == backend => return None,
            Ok(found) => Some((found.binding.epoch, found.binding.backend)),
            Err(_) => match self.table.get(&session) {
                Some(Record::Ended(ended)) if ended.epoch >= epoch => None,
                // It ended so long ago that nobody remembers. Without an epoch it had yet to begin.
                None if epoch > Epoch(0) => None,
                Some(_) | None => return None,
            },
        };
        Some(Conflict { session, node, epoch, backend, requests, instead, reported_at: self.time })
    }
}
