//! A node is away until the log that it lacks is gone from the others.

use std::time::Duration;

use stickler_rt::Shutdown;

use super::away::{Absence, snapshots};
use super::routing::{enter, report_witness};
use super::{Scenario, ScenarioError, Stage};
use crate::load::NewSessions;
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::{NODES, Rig};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "away-snapshot",
    proves: "the same as away, after the others have purged the log that the node lacks: caught up by a snapshot",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(900),
    run: |stage| Box::pin(run(stage)),
};

/// Callers whose sessions fill the log. Few: many at once share one entry.
const CALLERS: usize = 12;
/// Entries that must follow on the node's last one until the others hold a snapshot and have purged what
/// comes before it. There is no way to ask a node for a snapshot; it makes one after 50,000 entries, keeping
/// the 5,000 before it.
const ENTRIES: u64 = 62_000;
/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(250);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut rig = Rig::start(stage, 4).await?;
    let mut ledger = Ledger::default();
    for round in 0..stage.rounds {
        let absence = Absence::begin(stage, &mut rig, round, &mut ledger, &mut report).await?;
        let data = rig.data_directory(absence.node);
        let before = snapshots(&data)?;
        let entries = fill_log(stage, &mut rig, absence.node, round, &mut ledger, &mut report).await?;
        report.figure("entries that fill the log", entries);
        let survivor = (absence.node + 1) % NODES;
        let taken = snapshots(&rig.data_directory(survivor))?;
        report.bar("snapshots on a survivor's disk", taken, "some", taken > 0);

        absence.end(stage, &mut rig, &mut ledger, &mut report).await?;
        let received = snapshots(&data)?;
        let says = format!("{before} before, {received} after");
        report.bar("snapshots on the node's disk", says, "some after", received > 0);
    }
    report_witness(&rig, &mut report);
    Ok(report)
}

/// Begins sessions through the survivors until the log is long enough; how many entries that took.
async fn fill_log(
    stage: &Stage,
    rig: &mut Rig,
    away: usize,
    round: u32,
    ledger: &mut Ledger,
    report: &mut Report,
) -> Result<u64, ScenarioError> {
    let stop = Shutdown::new();
    let load = NewSessions {
        outside: stage.outside.clone(),
        nodes: rig.addresses_without(away),
        callers: CALLERS,
        most: usize::MAX / 2,
        stop: stop.clone(),
        name: format!("filling-{round}"),
    };
    let load = tokio::spawn(load.run());
    let first = last_entry(rig).await?;
    let mut last = first;
    while last < first + ENTRIES {
        tokio::time::sleep(LOOK).await;
        rig.check_processes()?;
        last = last_entry(rig).await?;
    }
    stop.trigger();
    let made = load.await?;
    if let Some(failure) = &made.first_failure {
        report.fault(format!("{} first requests were not served: {failure}", made.refused + made.broken));
    }
    enter(&made, ledger, report);
    Ok(last - first)
}

async fn last_entry(rig: &mut Rig) -> Result<u64, ScenarioError> {
    let statuses = rig.statuses().await?;
    Ok(statuses.iter().map(|status| status.committed_index).max().unwrap_or_default())
}
