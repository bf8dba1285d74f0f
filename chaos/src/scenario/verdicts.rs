//! What every node says of a backend or of a pool, all the while: when that changed, and at which log index.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_proto::admin::Backend;
use stickler_rt::{Clock, Moment, Shutdown};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::ScenarioError;
use crate::rig::admin::{Admin, AdminError};
use crate::rig::{NODES, Rig, RigError};

/// Pause between two looks at a node.
const LOOK: Duration = Duration::from_millis(5);

/// Longest wait for all nodes to say the same of a backend.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is looked at, and how.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// The name of what is looked at.
    pub(super) of: String,
    /// What a node says of it that lists these backends.
    pub(super) says: fn(&str, &[Backend]) -> String,
    /// Pause between two looks at a node.
    pub(super) pause: Duration,
    /// Longest wait for all nodes to say the same.
    pub(super) patience: Duration,
    /// Nodes may be away, and are looked at again.
    pub(super) nodes_die: bool,
}

impl Sight {
    pub(super) fn health_of(backend: &str) -> Self {
        let says = |name: &str, backends: &[Backend]| {
            let found = backends.iter().find(|backend| backend.name == name);
            found.map_or_else(|| "removed".to_owned(), |backend| backend.health.clone())
        };
        Self { of: backend.to_owned(), says, pause: LOOK, patience: PATIENCE, nodes_die: false }
    }
}

/// A look at one node.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The node's place among the nodes.
    pub(super) node: usize,
    /// When its answer was there.
    pub(super) ended: Moment,
    /// What the node had applied before it was asked.
    pub(super) before: u64,
    /// And afterwards.
    pub(super) after: u64,
    /// The hash of its state by then.
    pub(super) hash: String,
    /// What it says: of a backend its verdict.
    pub(super) says: String,
}

/// Looks at all nodes until it is stopped. Dropping this ends it.
pub(super) struct Watch {
    sight: Sight,
    stop: Shutdown,
    looking: JoinSet<Result<(), AdminError>>,
    coming: mpsc::UnboundedReceiver<Look>,
    looks: Vec<Look>,
}

impl Watch {
    /// Watches the verdict on a backend.
    pub(super) fn start(rig: &mut Rig, clock: &Clock, backend: &str) -> Self {
        Self::start_at(rig, clock, Sight::health_of(backend))
    }

    /// Watches something else.
    pub(super) fn start_at(rig: &mut Rig, clock: &Clock, sight: Sight) -> Self {
        let stop = Shutdown::new();
        let (looks, coming) = mpsc::unbounded_channel();
        let of_node = |node| Watcher {
            node,
            admin: rig.admin(node).clone(),
            clock: clock.clone(),
            sight: sight.clone(),
            stop: stop.clone(),
            looks: looks.clone(),
        };
        let looking = (0..NODES).map(of_node).map(Watcher::look_on).collect();
        Self { sight, stop, looking, coming, looks: Vec::new() }
    }

    /// Waits until every node says this: the moment at which the last one was seen to.
    pub(super) async fn until_all(&mut self, says: &str) -> Result<Moment, ScenarioError> {
        let mut since: BTreeMap<usize, Moment> = BTreeMap::new();
        let all = async {
            while let Some(look) = self.coming.recv().await {
                if look.says == says {
                    since.entry(look.node).or_insert(look.ended);
                } else {
                    since.remove(&look.node);
                }
                self.looks.push(look);
                if let (NODES, Some(last)) = (since.len(), since.values().max()) {
                    return Some(*last);
                }
            }
            None
        };
        let all = tokio::time::timeout(self.sight.patience, all).await;
        all.ok().flatten().ok_or_else(|| self.never(says))
    }

    fn never(&self, says: &str) -> ScenarioError {
        let Sight { of, patience, .. } = &self.sight;
        let last = self.looks.iter().rev().take(NODES);
        let last: Vec<_> = last.map(|look| format!("node {}: {}", look.node + 1, look.says)).collect();
        let last = last.join("; ");
        ScenarioError::Scene(format!("{of} was not {says} on all nodes within {patience:?}; last: {last}"))
    }

    /// All that was seen, in the order of each node.
    pub(super) async fn stop(mut self) -> Result<Vec<Look>, ScenarioError> {
        self.stop.trigger();
        while let Some(ended) = self.looking.join_next().await {
            ended?.map_err(RigError::from)?;
        }
        while let Ok(look) = self.coming.try_recv() {
            self.looks.push(look);
        }
        Ok(self.looks)
    }
}

struct Watcher {
    node: usize,
    admin: Admin,
    clock: Clock,
    sight: Sight,
    stop: Shutdown,
    looks: mpsc::UnboundedSender<Look>,
}

impl Watcher {
    async fn look_on(mut self) -> Result<(), AdminError> {
        let mut before = None;
        while !self.stop.is_triggered() {
            match self.look(before).await {
                Ok(look) => {
                    before = Some(look.after);
                    // Nobody looks any more when the run is over.
                    let _ended = self.looks.send(look);
                }
                Err(_away) if self.sight.nodes_die => before = None,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(self.sight.pause).await;
        }
        Ok(())
    }

    async fn look(&mut self, before: Option<u64>) -> Result<Look, AdminError> {
        let before = match before {
            Some(before) => before,
            None => self.admin.status().await?.applied_index,
        };
        let backends = self.admin.backends().await?;
        let ended = self.clock.now();
        let status = self.admin.status().await?;
        let says = (self.sight.says)(&self.sight.of, &backends);
        let (node, after, hash) = (self.node, status.applied_index, status.state_hash);
        Ok(Look { node, ended, before, after, hash, says })
    }
}

/// Between which log indexes all nodes came to say this: above the first and up to the second, if that can have
/// been one index on all of them; otherwise what each node says.
pub(super) fn one_index(looks: &[Look], says: &str) -> Result<(u64, u64), String> {
    let mut between = Vec::new();
    for node in 0..NODES {
        let of_node = looks.iter().filter(|look| look.node == node);
        let (mut above, mut up_to) = (None, None);
        for look in of_node {
            if look.says == says {
                up_to = Some(look.after);
                break;
            }
            above = Some(look.before);
        }
        let (Some(above), Some(up_to)) = (above, up_to) else {
            return Err(format!("node {} was not seen to change", node + 1));
        };
        between.push((above, up_to));
    }
    let above = between.iter().map(|(above, _)| *above).max().unwrap_or(0);
    let up_to = between.iter().map(|(_, up_to)| *up_to).min().unwrap_or(0);
    if above < up_to { Ok((above, up_to)) } else { Err(format!("{between:?}")) }
}

/// I9: how many log indexes were seen on several nodes, and at how many of these their states differed.
pub(super) fn states(looks: &[Look]) -> (usize, usize) {
    let mut at: BTreeMap<u64, BTreeMap<usize, &str>> = BTreeMap::new();
    for look in looks {
        at.entry(look.after).or_default().insert(look.node, &look.hash);
    }
    at.retain(|_, hashes| hashes.len() > 1);
    let differ = |hashes: &&BTreeMap<usize, &str>| {
        let mut hashes = hashes.values();
        let first = hashes.next();
        hashes.any(|hash| Some(hash) != first)
    };
    (at.len(), at.values().filter(differ).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(node: usize, before: u64, after: u64, says: &str) -> Look {
        let hash = format!("state {after}");
        Look { node, ended: Moment(Duration::ZERO), before, after, hash, says: says.to_owned() }
    }

    fn changes(places: [(u64, u64); NODES]) -> Vec<Look> {
        let of_node = |(node, (last_up, first_down)): (usize, &(u64, u64))| {
            [
                look(node, 0, 1, "up"),
                look(node, *last_up, last_up + 1, "up"),
                look(node, first_down - 1, *first_down, "down"),
            ]
        };
        places.iter().enumerate().flat_map(of_node).collect()
    }

    #[test]
    fn nodes_that_changed_at_one_index_are_told_from_those_that_did_not() {
        assert_eq!(one_index(&changes([(7, 9), (6, 8), (7, 12)]), "down"), Ok((7, 8)));
        // The second node still had it up when it had applied 9, and the first had it down by then.
        assert!(one_index(&changes([(7, 9), (9, 11), (7, 12)]), "down").is_err());
        assert!(one_index(&changes([(7, 9), (6, 8), (7, 12)])[..6], "down").is_err());
    }

    #[test]
    fn two_states_at_one_index_are_found() {
        let mut looks = changes([(7, 9), (6, 8), (7, 8)]);
        let (compared, differ) = states(&looks);
        assert!(compared > 0 && differ == 0);
        looks[8].hash = "another".to_owned();
        assert_eq!(states(&looks), (compared, 1));
    }
}
