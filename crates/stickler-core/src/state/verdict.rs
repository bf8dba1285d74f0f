//! Health is one verdict for the cluster: down and up need reports from a majority of all voters, and a
//! missing report leaves the verdict as it is. So one balancer's bad cable moves nobody.
//!
//! The same majority says whether a backend drains itself, and which life of it answers: a backend that was started
//! again in place has forgotten the sessions of its life before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deliberate::{self, Fault};
use crate::ids::{Epoch, Incarnation, NodeId};
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
    /// The backend itself says that it wants no new sessions.
    pub drains: bool,
    /// The life of the backend that a majority last saw; `None` where it does not tell.
    pub instance: Option<String>,
    /// Sessions by epochs up to this one were held by an earlier life: their state is gone.
    pub forgotten: Epoch,
    /// How often another life has taken its place, and how many sessions that cost.
    pub restarts: u64,
    /// See `restarts`.
    pub lost: u64,
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReportedHealth {
    /// The voter's process.
    pub incarnation: Incarnation,
    /// Number of the report within that process.
    pub sequence: u64,
    /// What it found.
    pub finding: Finding,
}

/// What a node's checks found of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// Whether it passed.
    pub up: bool,
    /// Whether it said that it wants no new sessions.
    pub drains: bool,
    /// Which life of it answered, where it tells: [`MAX_INSTANCE`] characters at most.
    pub instance: Option<String>,
}

/// The longest name of a backend's life, in bytes. Of a longer one its beginning counts.
pub const MAX_INSTANCE: usize = 64;

impl Finding {
    /// Of a backend that passed and says nothing of itself.
    pub const UP: Self = Self { up: true, drains: false, instance: None };
    /// Of one that did not pass.
    pub const DOWN: Self = Self { up: false, drains: false, instance: None };

    /// Of a backend that says nothing of itself.
    #[must_use]
    pub const fn plain(up: bool) -> Self {
        Self { up, drains: false, instance: None }
    }
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
            drains: false,
            instance: None,
            forgotten: Epoch(0),
            restarts: 0,
            lost: 0,
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
    ) -> Life {
        let newer = self
            .reports
            .get(&node)
            .is_none_or(|last| (last.incarnation, last.sequence) < (report.incarnation, report.sequence));
        if !voters.contains(&node) || !newer {
            return Life::Same;
        }
        self.reports.insert(node, report);
        self.judge(voters, now)
    }

    /// Forgets the reports of nodes that no longer vote, and judges anew.
    pub(super) fn keep_voters(&mut self, voters: &BTreeSet<NodeId>, now: ClusterTime) -> Life {
        self.reports.retain(|node, _| voters.contains(node));
        self.judge(voters, now)
    }

    /// Notes that sessions up to this epoch, so many of which are bound, were held by a life that is over.
    pub(super) fn forgets(&mut self, epoch: Epoch, bound: u64) {
        if deliberate::active(Fault::OverlookRestart) {
            return;
        }
        self.forgotten = epoch;
        self.restarts += 1;
        self.lost += bound;
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

    fn judge(&mut self, voters: &BTreeSet<NodeId>, now: ClusterTime) -> Life {
        let majority = voters.len() / 2 + 1;
        let one =
            deliberate::active(Fault::OneNodesWord) && self.reports.values().any(|report| !report.finding.up);
        let up = self.reports.values().filter(|report| report.finding.up).count();
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
        self.judge_answers(majority)
    }

    /// What a majority says that has it up.
    fn judge_answers(&mut self, majority: usize) -> Life {
        let answers = || self.reports.values().map(|report| &report.finding).filter(|finding| finding.up);
        let drains = answers().filter(|finding| finding.drains).count();
        let takes = answers().count() - drains;
        if drains >= majority || takes >= majority {
            self.drains = drains >= majority;
        }
        let seen =
            |instance: &&String| answers().filter(|other| other.instance.as_ref() == Some(*instance)).count();
        let needed = if deliberate::active(Fault::RestartOnOneWord) { 1 } else { majority };
        let other =
            |instance: &&String| self.instance.as_ref() != Some(*instance) && seen(instance) >= needed;
        let Some(instance) = answers().filter_map(|finding| finding.instance.as_ref()).find(other).cloned()
        else {
            return Life::Same;
        };
        match self.instance.replace(instance) {
            Some(_) => Life::Another,
            None => Life::Same,
        }
    }
}

/// Whether the backend still is in the life in which it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// As far as anybody knows.
    Same,
    /// It was started again.
    Another,
}
