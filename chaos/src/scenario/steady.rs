//! Nothing happens to the cluster but load.

use std::time::Duration;

use stickler_rt::Shutdown;

use super::routing::{enter, report_witness};
use super::{Scenario, ScenarioError, Stage};
use crate::load::NewSessions;
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::Rig;
use crate::statistics::{milliseconds, rate};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "steady",
    proves: "60 s of new sessions from 1,024 callers at once change neither leader nor term",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(240),
    run: |stage| Box::pin(run(stage)),
};

/// Callers at once.
const CALLERS: usize = 1024;
/// How long they call, in each round.
const LOAD: Duration = Duration::from_secs(60);
/// How often the nodes are asked who leads.
const LOOK: Duration = Duration::from_millis(500);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut rig = Rig::start(stage, 3).await?;
    for round in 0..stage.rounds {
        rig.settle().await?;
        let before = standings(&mut rig).await?;
        let stop = Shutdown::new();
        let load = NewSessions {
            outside: stage.outside.clone(),
            nodes: rig.addresses(),
            callers: CALLERS,
            most: usize::MAX / 2,
            stop: stop.clone(),
            name: format!("steady-{round}"),
        };
        let began = rig.now();
        let load = tokio::spawn(load.run());
        let mut changes = 0;
        let mut unanswered = 0;
        while rig.now().since(began) < LOAD {
            tokio::time::sleep(LOOK).await;
            rig.check_processes()?;
            match standings(&mut rig).await {
                Ok(now) if now == before => {}
                Ok(now) => {
                    changes += 1;
                    report.fault(format!("(leader, term) of the nodes was {before:?}, is {now:?}"));
                }
                Err(_a_busy_node) => unanswered += 1,
            }
        }
        let took = rig.now().since(began);
        stop.trigger();
        let made = load.await?;
        rig.settle().await?;
        let after = standings(&mut rig).await?;
        report.bar("looks at which leader or term had changed", changes, "0", changes == 0);
        report.bar(
            "leader and term afterwards",
            format!("{after:?}"),
            format!("{before:?}"),
            after == before,
        );
        report.figure("looks that a node did not answer", unanswered);
        let acknowledged = made.acknowledged.len();
        report.bar("sessions acknowledged", acknowledged, "some", acknowledged > 0);
        report.figure("sessions a second", rate(acknowledged, took));
        report.figure("median", milliseconds(made.durations.median()));
        report.figure("99th percentile", milliseconds(made.durations.quantile(0.99)));
        report.figure("worst", milliseconds(made.durations.worst()));
        let failed = made.refused + made.broken + made.withheld;
        let failure = made.first_failure.clone().unwrap_or_default();
        report.bar("first requests not served", format!("{failed} {failure}"), "0", failed == 0);
        enter(&made, &mut Ledger::default(), &mut report);
    }
    report_witness(&rig, &mut report);
    Ok(report)
}

/// Leader and term, as each of the nodes has them.
async fn standings(rig: &mut Rig) -> Result<Vec<(u64, u64)>, ScenarioError> {
    let statuses = rig.statuses().await?;
    Ok(statuses.iter().map(|status| (status.leader, status.term)).collect())
}
