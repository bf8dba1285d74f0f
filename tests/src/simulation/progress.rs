//! How far the cluster's log was when, and who led: what a node that comes back must have applied before it has a lease.

use std::time::Duration;

use stickler_core::ids::LogIndex;
use stickler_core::lease::LEASE;

/// See the module.
#[derive(Default)]
pub struct Progress {
    /// When some node was the first to apply an entry.
    furthest: Vec<(Duration, LogIndex)>,
    /// When nodes were seen to take office.
    offices: Vec<Duration>,
}

/// How long before it is seen an office may have begun to commit.
const ELECTION: Duration = Duration::from_millis(500);

impl Progress {
    /// When nodes were seen to take office.
    #[must_use]
    pub fn offices(&self) -> &[Duration] {
        &self.offices
    }

    /// Takes in that some node has applied this entry.
    pub fn has_applied(&mut self, at: Duration, entry: LogIndex) {
        if self.furthest.last().is_none_or(|(_, last)| *last < entry) {
            self.furthest.push((at, entry));
        }
    }

    /// Takes in that a node has taken office.
    pub fn takes_office(&mut self, at: Duration) {
        self.offices.push(at);
    }

    /// What a node that came back at `at` must have applied before it has a lease: everything, but for what came
    /// after a change of leaders that the old one may not have noticed. That one gives leases by what it knows,
    /// as long as its last quorum round carries, and the new one announces no stable index meanwhile.
    #[must_use]
    pub fn due_when_back(&self, at: Duration) -> LogIndex {
        let mut until = at;
        for office in self.offices.iter().rev().filter(|office| **office <= at + ELECTION) {
            if until.saturating_sub(*office) > LEASE * 11 / 10 {
                break;
            }
            until = until.min(office.saturating_sub(ELECTION));
        }
        let known = self.furthest.iter().rev().find(|(at, _)| *at <= until);
        known.map_or(LogIndex(0), |(_, entry)| *entry)
    }
}
