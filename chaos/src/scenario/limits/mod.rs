//! Caps, evictions and rates of sessions, while the nodes that keep them are killed.

mod capped;
mod evicting;
mod observer;
mod pace;
mod paced;

use std::time::Duration;

use stickler_rt::Moment;

use super::front::{Front, failure};
use super::routing::report_witness;
use super::users::BY_HEADER;
use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::document::Document;
use crate::rig::{Rig, RigError, Setting};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "limits",
    proves: "caps hold exactly, evictions spare who is in use, and rates hold on each node, through kills of nodes",
    rounds: 3,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Backends behind the nodes.
const BACKENDS: usize = 3;
/// How long a killed node is away.
const AWAY: Duration = Duration::from_millis(1500);
/// How long after a leader's death nothing can be bound, and what waits for that gives up.
const ELECTION: Duration = Duration::from_secs(2);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        // A door that is full stays full: each round has a cluster of its own.
        let mut stage = stage.clone();
        stage.directory = stage.directory.join(format!("round-{round}"));
        stage.seed = stage.seed.child(&format!("round {round}"));
        play(&stage, round, &mut report).await?;
    }
    Ok(report)
}

async fn play(stage: &Stage, round: u32, report: &mut Report) -> Result<(), ScenarioError> {
    let doors = [capped::DOOR, evicting::DOOR, paced::DOOR];
    let setting = Setting { document: Document::of(&doors), ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    Box::pin(capped::play(stage, &mut rig, round, report)).await?;
    Box::pin(evicting::play(stage, &mut rig, round, report)).await?;
    // The leader is the node that dies in every other round, a follower in the others.
    let leads = round % 2 == 1;
    Box::pin(paced::play(stage, &mut rig, leads, round, report)).await?;
    rig.settle().await?;
    report_witness(&rig, report);
    Ok(())
}

/// A node that was killed and started again.
#[derive(Clone, Copy, Debug)]
struct Absence {
    /// Its place among the nodes.
    node: usize,
    killed: Moment,
    restarted: Moment,
    ready: Moment,
}

impl Absence {
    /// Kills a node, starts it again after a while, and waits until it is ready, whatever goes on meanwhile.
    async fn of(rig: &mut Rig, node: usize) -> Result<Self, RigError> {
        let killed = rig.kill(&[node]).await?;
        tokio::time::sleep(AWAY).await;
        let restarted = rig.now();
        rig.restart(node)?;
        rig.until("the node that was killed is ready again", async |rig| {
            if rig.is_ready(node).await { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await?;
        Ok(Self { node, killed, restarted, ready: rig.now() })
    }

    /// Whether what was asked of this node between these moments met one that was not there.
    fn excuses(&self, node: usize, began: Moment, ended: Moment) -> bool {
        node == self.node && ended >= self.killed && began <= self.ready
    }

    /// Whether what was asked between these moments, of whichever node, may have met a cluster without a leader.
    fn had_no_leader(&self, began: Moment, ended: Moment) -> bool {
        ended >= self.killed && began <= self.killed + ELECTION
    }
}
