//! What is done to a cluster, and what it must do then: one file each, all of them in one table.

mod absence;
mod away;
mod away_snapshot;
mod backend_cut;
mod backend_dies;
mod backend_flaps;
mod bounded;
mod brownout;
mod checks;
mod clocks;
mod crawlers;
mod deploy;
mod dns;
mod drain;
mod elections;
mod evacuate;
mod fencing;
mod front;
mod jobs;
mod kill_all;
mod limits;
mod mixed;
mod overload;
mod places;
mod policies;
mod pool;
mod race;
mod race_methods;
mod rebalance;
mod rotate_keys;
mod routing;
mod steady;
mod undo;
mod users;
mod verdicts;
mod visits;
mod zone;

use std::path::PathBuf;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use stickler_rt::{Outside, Seed};

use crate::report::Report;
use crate::rig::RigError;
use crate::rig::network::NetworkKind;

/// Every scenario, in the order of `list`.
pub(crate) const ALL: &[Scenario] = &[
    race::SCENARIO,
    race_methods::SCENARIO,
    rotate_keys::SCENARIO,
    kill_all::SCENARIO,
    elections::SCENARIO,
    away::SCENARIO,
    away_snapshot::SCENARIO,
    steady::SCENARIO,
    clocks::SCENARIO,
    crawlers::SCENARIO,
    limits::SCENARIO,
    drain::SCENARIO,
    evacuate::SCENARIO,
    undo::SCENARIO,
    rebalance::SCENARIO,
    deploy::SCENARIO,
    zone::SCENARIO,
    backend_dies::SCENARIO,
    backend_cut::SCENARIO,
    backend_flaps::SCENARIO,
    checks::SCENARIO,
    bounded::SCENARIO,
    policies::SCENARIO,
    brownout::SCENARIO,
    overload::SCENARIO,
    fencing::SCENARIO,
    dns::SCENARIO,
    mixed::SCENARIO,
];

/// A scenario. What it finds wrong with the cluster is in its report; an error means that it came to no verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What the cluster has shown when it is over, in one line.
    pub proves: &'static str,
    /// How many times its fault happens unless the user says otherwise.
    pub rounds: u32,
    /// How long it goes on unless the user says otherwise; `None` where rounds decide.
    pub lasts: Option<Duration>,
    /// The longest that so many rounds may take, or that may come on top of its duration.
    pub limit: Duration,
    /// Does it.
    pub run: for<'a> fn(&'a Stage) -> LocalBoxFuture<'a, Result<Report, ScenarioError>>,
}

/// What a scenario is given.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Connections and time.
    pub outside: Outside,
    /// The binary under test.
    pub binary: PathBuf,
    /// Where data and logs go.
    pub directory: PathBuf,
    /// Everything that the scenario chooses follows from this.
    pub seed: Seed,
    /// The number that the user gave as the seed.
    pub seed_number: u64,
    /// How many times the fault happens.
    pub rounds: u32,
    /// How long faults are done.
    pub duration: Duration,
    /// How the nodes are connected.
    pub network: NetworkKind,
    /// The faults that are wanted; none means all.
    pub faults: Vec<String>,
}

impl Stage {
    /// The same, for a part of the scenario that has a cluster of its own, and draws of its own.
    pub(crate) fn apart(&self, part: &str) -> Self {
        let (directory, seed) = (self.directory.join(part.replace([' ', ','], "-")), self.seed.child(part));
        Self { directory, seed, ..self.clone() }
    }
}

/// Why a scenario could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// The cluster failed as a whole: see the logs of its nodes.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// A part of the scenario itself panicked: this is no verdict on the cluster.
    #[error("a part of the scenario failed: {0}")]
    Part(#[from] tokio::task::JoinError),
    /// What the scenario needs to begin with did not come about.
    #[error("can't set the scene: {0}")]
    Scene(String),
}
