//! Health is one verdict for the cluster: down and up need reports from a majority of all voters, and a
//! missing report leaves the verdict as it is. So one balancer's bad cable moves nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deliberate::{self, Fault};
use crate::ids::{Incarnation, NodeId};
use crate::time::ClusterTime;

/// A suspicion is acted on once in this time: probing takes about as long, and a flood of refused
/// requests must not become a flood of log entries.
const SUSPICION_PAUSE: Duration = Duration::from_millis(200);

/// What the voters found about one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The cluster's verdict.
    pub verdict: Verdict,
    /// Since when.
    pub since: ClusterTime,
    /// The last report of each voter.
    pub reports: BTreeMap<NodeId, ReportedHealth>,
    /// How often the backend was suspected; every voter checks it at once when this changes.
    pub suspicions: u64,
    /// When it was last suspected.
    pub suspected_at: Option<ClusterTime>,
}

/// The cluster's verdict on a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// New, and no majority has reported yet: takes no sessions.
    Unknown,
    /// A majority of all voters last reported it up.
    Up,
    /// A majority of all voters last reported it down.
    Down,
}

/// The last report of one voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedHealth {
    /// The voter's process.
    pub incarnation: Incarnation,
    /// Number of the report within that process.
    pub sequence: u64,
    /// Whether the backend passed.
    pub up: bool,
}

impl Health {
    /// Of a backend that nobody has checked.
    pub(super) const fn unknown(now: ClusterTime) -> Self {
        Self {
            verdict: Verdict::Unknown,
            since: now,
            reports: BTreeMap::new(),
            suspicions: 0,
            suspected_at: None,
        }
    }

    /// Whether a majority has it up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.verdict == Verdict::Up
    }

    /// Whether a majority has it down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.verdict == Verdict::Down
    }

    /// Takes a voter's report in. An older report than the one that is there changes nothing.
    pub(super) fn report(
        &mut self,
        node: NodeId,
        report: ReportedHealth,
        voters: &BTreeSet<NodeId>,
        now: ClusterTime,
    ) {
        let newer = self
            .reports
            .get(&node)
            .is_none_or(|last| (last.incarnation, last.sequence) < (report.incarnation, report.sequence));
        if !voters.contains(&node) || !newer {
            return;
        }
        self.reports.insert(node, report);
        self.judge(voters, now);
    }

    /// Forgets the reports of nodes that no longer vote, and judges anew.
    pub(super) fn keep_voters(&mut self, voters: &BTreeSet<NodeId>, now: ClusterTime) {
        self.reports.retain(|node, _| voters.contains(node));
        self.judge(voters, now);
    }

    /// Notes that a node could not reach the backend. Returns whether the voters are asked to check.
    pub(super) fn suspect(&mut self, now: ClusterTime) -> bool {
        let recent = self.suspected_at.is_some_and(|at| now.since(at) < SUSPICION_PAUSE);
        if self.is_down() || recent {
            return false;
        }
        self.suspicions += 1;
        self.suspected_at = Some(now);
        true
    }

    fn judge(&mut self, voters: &BTreeSet<NodeId>, now: ClusterTime) {
        let majority = voters.len() / 2 + 1;
        let one = deliberate::active(Fault::OneNodesWord) && self.reports.values().any(|report| !report.up);
        let up = self.reports.values().filter(|report| report.up).count();
        let down = self.reports.len() - up;
        let verdict = if down >= majority || one {
            Verdict::Down
        } else if up >= majority {
            Verdict::Up
        } else {
            self.verdict
        };
        if verdict != self.verdict {
            self.verdict = verdict;
            self.since = now;
        }
    }
}
