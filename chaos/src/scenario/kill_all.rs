//! All nodes die at once, under load.

use std::time::Duration;

use rand::Rng;
use stickler_rt::Shutdown;

use super::routing::{ask_in_turn, enter, report_witness, route};
use super::{Scenario, ScenarioError, Stage};
use crate::load::NewSessions;
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::{NODES, Rig};
use crate::statistics::{Durations, milliseconds, seconds};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "kill-all",
    proves: "every acknowledged session is there after SIGKILL of all nodes at once, under load (I4)",
    rounds: 5,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Callers that begin sessions when the nodes die.
const CALLERS: usize = 64;
/// How long the load runs before the nodes die, in milliseconds.
const LOAD: std::ops::Range<u64> = 800..2500;

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut random = stage.seed.child("moments").rng();
    let mut rig = Rig::start(stage, 3).await?;
    let mut ledger = Ledger::default();
    let mut returns = Durations::default();
    let mut unanswered = 0;
    for round in 0..stage.rounds {
        let stop = Shutdown::new();
        let load = NewSessions {
            outside: stage.outside.clone(),
            nodes: rig.addresses(),
            callers: CALLERS,
            most: usize::MAX / 2,
            stop: stop.clone(),
            name: format!("round-{round}"),
        };
        let load = tokio::spawn(load.run());
        tokio::time::sleep(Duration::from_millis(random.random_range(LOAD))).await;
        let all: Vec<usize> = (0..NODES).collect();
        let killed = rig.kill(&all).await?;
        stop.trigger();
        let made = load.await?;
        unanswered += made.broken;
        let before = ledger.len();
        enter(&made, &mut ledger, &mut report);
        let acknowledged = ledger.len() - before;
        report.bar(
            format!("round {}: sessions acknowledged before the kill", round + 1),
            acknowledged,
            "some",
            acknowledged > 0,
        );

        for node in all {
            rig.restart(node)?;
        }
        rig.settle().await?;
        returns.add(rig.now().since(killed));
        let lists = rig.sessions().await?;
        let asks = ask_in_turn(&ledger, &rig.addresses(), round as usize);
        route(stage, asks, &lists, &mut ledger, &mut report).await;
        let bindings: Vec<String> = lists.iter().map(|listed| listed.len().to_string()).collect();
        report.figure(format!("round {}: bindings on the nodes", round + 1), bindings.join(" "));
    }
    report.figure("sessions acknowledged", ledger.len());
    report.figure("requests without an answer", unanswered);
    report.figure("median from the kill until all nodes are back", seconds(returns.median()));
    report.figure("worst", milliseconds(returns.worst()));
    report_witness(&rig, &mut report);
    Ok(report)
}
