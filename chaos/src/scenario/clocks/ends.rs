//! When idle sessions ended, by looks at every node's replica. Pure.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use stickler_rt::Moment;

use crate::rig::NODES;

/// A session that nobody uses any more.
#[derive(Clone, Debug)]
pub(super) struct Idle {
    /// Its key.
    pub key: String,
    /// When its last request was sent.
    pub sent: Moment,
    /// When that was answered.
    pub answered: Moment,
}

/// A look at one node's replica, between two looks at the node's log index.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The place of the node.
    pub node: usize,
    pub began: Moment,
    pub ended: Moment,
    /// What the node had applied before it was asked for its sessions.
    pub before: u64,
    /// And afterwards.
    pub after: u64,
    pub keys: HashSet<String>,
}

/// What one node showed of one session.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The last look in which it was there: the look's beginning, and what was applied by then.
    there: Option<(Moment, u64)>,
    /// The first in which it was gone: the look's end, and what was applied by then.
    gone: Option<(Moment, u64)>,
    came_back: bool,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Ends {
    sessions: Vec<(Idle, [Seen; NODES])>,
}

/// For how long nobody could lead while the sessions were idle: between these two. Cluster time stood still.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leaderless {
    pub least: Duration,
    pub most: Duration,
}

/// When the sessions ended, and what was wrong with that.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Times from a session's last request until it was seen to be gone.
    pub soonest: Option<Duration>,
    pub latest: Option<Duration>,
    pub early: Vec<String>,
    pub late: Vec<String>,
    /// Ends that can't have been at one log index on all nodes.
    pub apart: Vec<String>,
}

impl Ends {
    pub(super) fn of(sessions: Vec<Idle>) -> Self {
        Self { sessions: sessions.into_iter().map(|idle| (idle, <[Seen; NODES]>::default())).collect() }
    }

    pub(super) fn take(&mut self, look: &Look) {
        for (idle, seen) in &mut self.sessions {
            let seen = &mut seen[look.node];
            if !look.keys.contains(&idle.key) {
                seen.gone.get_or_insert((look.ended, look.after));
            } else {
                seen.came_back |= seen.gone.is_some();
                seen.there = Some((look.began, look.before));
            }
        }
    }

    /// How many nodes still have how many sessions, together.
    pub(super) fn left(&self) -> usize {
        self.sessions.iter().flat_map(|(_, seen)| seen).filter(|seen| seen.gone.is_none()).count()
    }

    /// Each must have ended between the time-out and a fifth later, at one log index.
    pub(super) fn judge(&self, idle_timeout: Duration, leaderless: Leaderless) -> Ended {
        let mut ended = Ended::default();
        for (idle, seen) in &self.sessions {
            let Idle { key, sent, answered } = idle;
            if let Some(gone) = seen.iter().filter_map(|seen| seen.gone).map(|(at, _)| at).min() {
                let after = gone.since(*sent);
                ended.soonest = Some(ended.soonest.map_or(after, |soonest| soonest.min(after)));
                let after = after.saturating_sub(leaderless.least);
                if after < idle_timeout {
                    ended.early.push(format!("{key}: ended {after:?} after its last use"));
                }
            }
            if let Some(gone) = seen.iter().filter_map(|seen| seen.gone).map(|(at, _)| at).max() {
                let after = gone.since(*answered);
                ended.latest = Some(ended.latest.map_or(after, |latest| latest.max(after)));
            }
            if let Some(there) = seen.iter().filter_map(|seen| seen.there).map(|(at, _)| at).max() {
                let after = there.since(*answered).saturating_sub(leaderless.most);
                if after > idle_timeout * 6 / 5 {
                    ended.late.push(format!("{key}: still there {after:?} after its last use"));
                }
            }
            // It ended at an index above every one at which it was there, and at or below every one without it.
            let above = seen.iter().filter_map(|seen| seen.there).map(|(_, index)| index).max();
            let below = seen.iter().filter_map(|seen| seen.gone).map(|(_, index)| index).min();
            let apart = matches!((above, below), (Some(above), Some(below)) if above >= below);
            if apart || seen.iter().any(|seen| seen.came_back || seen.gone.is_none()) {
                ended.apart.push(format!("{key}: {seen:?}"));
            }
        }
        ended
    }
}

/// State hashes by log index: two nodes at one index have one.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    seen: BTreeMap<u64, (usize, String)>,
    /// Indexes at which two nodes were compared.
    pub compared: usize,
}

impl Hashes {
    pub(super) fn take(&mut self, node: usize, index: u64, hash: String) -> Result<(), String> {
        let (first, known) = self.seen.entry(index).or_insert_with(|| (node, hash.clone()));
        self.compared += usize::from(*first != node);
        if *known == hash {
            return Ok(());
        }
        Err(format!(
            "at log index {index} node {} has the state {known}, node {} has {hash}",
            *first + 1,
            node + 1
        ))
    }
}

#[cfg(test)]
mod tests {
    use stickler_rt::Clock;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A session whose last use was at the beginning; looks in milliseconds since, by node, with what it showed.
    fn judged(looks: &[(usize, u64, u64, bool)]) -> Ended {
        let start = Clock::start().now();
        let mut ends = Ends::of(vec![Idle { key: "a".to_owned(), sent: start, answered: start }]);
        for (node, at, index, there) in looks.iter().copied() {
            let at = start + Duration::from_millis(at);
            let keys = there.then(|| "a".to_owned()).into_iter().collect();
            ends.take(&Look { node, began: at, ended: at, before: index, after: index, keys });
        }
        ends.judge(TIMEOUT, Leaderless::default())
    }

    fn counts(ended: &Ended) -> (usize, usize, usize) {
        (ended.early.len(), ended.late.len(), ended.apart.len())
    }

    #[test]
    fn an_end_in_time_at_one_index_is_right() {
        let looks = [
            (0, 9_900, 7, true),
            (1, 9_900, 6, true),
            (2, 9_900, 7, true),
            (0, 10_300, 8, false),
            (1, 10_400, 9, false),
            (2, 10_400, 8, false),
        ];
        assert_eq!(counts(&judged(&looks)), (0, 0, 0));
        assert_eq!(judged(&looks).soonest, Some(Duration::from_millis(10_300)));
    }

    #[test]
    fn early_and_late_and_different_indexes_are_found() {
        let all = |at, index, there| [0, 1, 2].map(|node| (node, at, index, there));
        assert_eq!(counts(&judged(&all(9_999, 8, false))), (1, 0, 0));
        let late = [all(12_001, 8, true), all(12_100, 9, false)].concat();
        assert_eq!(counts(&judged(&late)), (0, 1, 0));
        let mut apart = [all(9_000, 8, true), all(11_000, 9, false)].concat();
        apart.insert(3, (1, 10_500, 9, true));
        assert_eq!(counts(&judged(&apart)), (0, 0, 1));
        assert_eq!(counts(&judged(&all(9_000, 8, true))), (0, 0, 1), "it never ended");
        let back = [all(11_000, 9, false), all(11_100, 10, true)].concat();
        assert_eq!(counts(&judged(&back)).2, 1);
    }

    #[test]
    fn one_index_with_two_states_is_found() {
        let mut hashes = Hashes::default();
        assert!(hashes.take(0, 5, "x".to_owned()).is_ok() && hashes.take(1, 5, "x".to_owned()).is_ok());
        assert!(hashes.take(2, 6, "y".to_owned()).is_ok() && hashes.take(1, 6, "z".to_owned()).is_err());
        assert_eq!(hashes.compared, 2);
    }
}
