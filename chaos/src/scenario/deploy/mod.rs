//! A rolling deploy: every backend is replaced by one at another address, while its clients go on and the leader dies.

mod connections;
mod draining;
mod evacuating;
mod shoppers;
mod tally;

use std::time::Duration;

use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::document::{Document, Door};
use crate::rig::{Rig, RigError};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "deploy",
    proves: "6 backends with 2,000 sessions are replaced one after the other, through a SIGKILL of the leader: by draining \
             nobody moves, by evacuation with a hook each moves once, and no cart is lost",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Backends of the pool.
const BACKENDS: usize = 6;
/// Sessions in use at any time.
const SESSIONS: usize = 2_000;
/// Pause of each shopper between two requests, in milliseconds: some 500 requests a second.
const PAUSE: std::ops::Range<u64> = 3_000..5_000;
/// The leader dies while this one is being replaced.
const LEADER_DIES_AT: usize = BACKENDS / 2;
/// How long it is away.
const AWAY: Duration = Duration::from_secs(3);
/// How long a removed backend's sessions may stay. Far longer than they last: nobody is to meet it.
const DEADLINE: Duration = Duration::from_secs(120);
/// Longest wait for a removed backend to be gone on all nodes. Whoever met the deadline would have waited longer.
const PATIENCE: Duration = Duration::from_secs(90);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        let mut part = stage.clone();
        part.seed = stage.seed.child(&format!("round {round}"));
        // Each part has a cluster of its own.
        part.directory = stage.directory.join(format!("round-{round}-drained"));
        draining::play(&part, &format!("round {round}, drained"), &mut report).await?;
        part.directory = stage.directory.join(format!("round-{round}-evacuated"));
        evacuating::play(&part, &format!("round {round}, evacuated"), &mut report).await?;
    }
    Ok(report)
}

/// Backends whose checks are patient, and which are gone soon after their last session: once no response that is under way
/// can begin another.
fn document(door: &Door<'_>) -> Document {
    Document::of(&[*door]).with_patient_checks().with_pool("response_timeout = \"5s\"", "", "")
}

/// The place of the node that leads, as it says itself. Nodes need not be at rest for it.
async fn leader(rig: &mut Rig) -> Result<usize, ScenarioError> {
    let statuses = rig.statuses().await?;
    let leads = statuses.iter().position(|status| status.role == "leader");
    leads.ok_or_else(|| ScenarioError::Scene("no node leads".to_owned()))
}

/// The node that leads is killed, and started again after a while.
async fn kill_leader(rig: &mut Rig, leader: usize) -> Result<(), RigError> {
    rig.kill(&[leader]).await?;
    tokio::time::sleep(AWAY).await;
    rig.restart(leader)
}
