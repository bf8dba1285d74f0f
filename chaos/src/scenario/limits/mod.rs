//! Caps, evictions and rates of sessions, while the nodes that keep them are killed.

mod capped;
mod evicting;
mod observer;
mod pace;
mod paced;

use std::time::Duration;

use super::absence::Absence;
use super::front::{Front, failure};
use super::routing::report_witness;
use super::users::BY_HEADER;
use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::document::Document;
use crate::rig::{Rig, Setting};

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

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        // A door that is full stays full: each round has a cluster of its own.
        let stage = stage.apart(&format!("round {round}"));
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
