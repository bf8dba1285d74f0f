//! A backend is drained, then put in maint, under load.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use stickler_rt::Shutdown;
use tokio::task::JoinHandle;

use super::routing::{CALLERS, ask_in_turn, begin_sessions, enter, report_witness, route};
use super::{Scenario, ScenarioError, Stage};
use crate::identifier::Identifier;
use crate::load::{Made, NewSessions};
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::{Rig, RigError};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "drain",
    proves: "drain keeps bound sessions and takes no new ones; maint moves the bound ones; nobody sees an error",
    rounds: 3,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions that exist before each drain.
const KNOWN: usize = 900;
/// New sessions in each admin state, at most: the known ones are asked for again and again.
const MOST: usize = 6_000;
/// How long new sessions come in each admin state.
const LOAD: Duration = Duration::from_millis(1500);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut random = stage.seed.child("backends").rng();
    let mut rig = Rig::start(stage, 3).await?;
    let names = rig.backend_names();
    let mut ledger = Ledger::default();
    for round in 0..stage.rounds {
        let nodes = rig.addresses();
        ledger.may_leave_none();
        begin_sessions(stage, nodes.clone(), &format!("known-{round}"), KNOWN, &mut ledger, &mut report)
            .await?;
        let backend = names[random.random_range(0..names.len())].as_str();
        let label = format!("round {} ({backend})", round + 1);
        let bound = ledger.identifiers().iter().filter(|it| is_at(&ledger, it, backend)).count();
        report.figure(format!("{label}: sessions bound to it"), bound);

        // The change itself happens under load: a session may land there until it is applied everywhere.
        let during = start_load(stage, &rig, format!("draining-{round}"));
        set_backend(&mut rig, backend, "drain").await?;
        let made = during.stop().await?;
        take(&made, &mut ledger, &mut report);

        let drained = start_load(stage, &rig, format!("drained-{round}"));
        let kept = route(stage, ask_in_turn(&ledger, &nodes, 1), &[], &mut ledger, &mut report).await;
        tokio::time::sleep(LOAD).await;
        let made = drained.stop().await?;
        report.bar(format!("{label}: sessions that moved by the drain"), kept.moved, "0", kept.moved == 0);
        let (at_it, elsewhere) = count(&made, backend);
        report.bar(format!("{label}: new sessions at the draining backend"), at_it, "0", at_it == 0);
        report.bar(format!("{label}: new sessions elsewhere"), elsewhere, "some", elsewhere > 0);
        take(&made, &mut ledger, &mut report);

        maintain(stage, &mut rig, backend, &label, &mut ledger, &mut report).await?;
    }
    report.figure("sessions", ledger.len());
    report_witness(&rig, &mut report);
    Ok(report)
}

/// Maint: every session of the backend moves, once, and the nodes agree where to. They stay there afterwards.
async fn maintain(
    stage: &Stage,
    rig: &mut Rig,
    backend: &str,
    label: &str,
    ledger: &mut Ledger,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let nodes = rig.addresses();
    let bound = ledger.identifiers().iter().filter(|it| is_at(ledger, it, backend)).count();
    let load = start_load(stage, rig, format!("maint-{label}"));
    set_backend(rig, backend, "maint").await?;
    ledger.may_leave(backend);
    let moved = route(stage, ask_in_turn(ledger, &nodes, 0), &[], ledger, report).await.moved;
    report.bar(
        format!("{label}: sessions moved by maint"),
        moved,
        format!("{bound}, all of it"),
        moved == bound,
    );
    ledger.may_leave_none();
    for first in 1..nodes.len() {
        route(stage, ask_in_turn(ledger, &nodes, first), &[], ledger, report).await;
    }
    set_backend(rig, backend, "ready").await?;
    let back = route(stage, ask_in_turn(ledger, &nodes, 0), &[], ledger, report).await.moved;
    report.bar(format!("{label}: sessions moved when it is ready again"), back, "0", back == 0);
    let made = load.stop().await?;
    // A session that the backend created just before maint can't be bound to it any more.
    report.figure(format!("{label}: identifiers held back"), made.withheld);
    take(&made, ledger, report);
    Ok(())
}

struct Load {
    stop: Shutdown,
    running: JoinHandle<Made>,
}

impl Load {
    async fn stop(self) -> Result<Made, ScenarioError> {
        self.stop.trigger();
        Ok(self.running.await?)
    }
}

fn start_load(stage: &Stage, rig: &Rig, name: String) -> Load {
    let stop = Shutdown::new();
    let load = NewSessions {
        outside: stage.outside.clone(),
        nodes: rig.addresses(),
        callers: CALLERS,
        most: MOST,
        stop: stop.clone(),
        name: name.replace(' ', "-"),
    };
    Load { stop, running: tokio::spawn(load.run()) }
}

/// Sets the backend's admin state, and waits until every node has applied it.
async fn set_backend(rig: &mut Rig, backend: &str, admin: &str) -> Result<(), ScenarioError> {
    let index = rig.admin(0).set_backend(backend, admin).await.map_err(RigError::from)?;
    rig.until("every node has applied the backend's admin state", async |rig| {
        let statuses = rig.statuses().await.map_err(|error| error.to_string())?;
        let applied: Vec<u64> = statuses.iter().map(|status| status.applied_index).collect();
        if applied.iter().all(|applied| *applied >= index) { Ok(()) } else { Err(format!("{applied:?}")) }
    })
    .await?;
    Ok(())
}

/// Enters what a load was acknowledged. Nobody may see an error because of an admin state.
fn take(made: &Made, ledger: &mut Ledger, report: &mut Report) {
    if let Some(failure) = &made.first_failure {
        report.fault(format!("{} first requests were not served: {failure}", made.refused + made.broken));
    }
    enter(made, ledger, report);
}

/// New sessions at the backend, and elsewhere.
fn count(made: &Made, backend: &str) -> (usize, usize) {
    let mut at: BTreeMap<bool, usize> = BTreeMap::new();
    for (_, answer) in &made.acknowledged {
        *at.entry(answer.backend == backend).or_default() += 1;
    }
    (at.get(&true).copied().unwrap_or(0), at.get(&false).copied().unwrap_or(0))
}

fn is_at(ledger: &Ledger, identifier: &Identifier, backend: &str) -> bool {
    ledger.place(identifier).is_some_and(|place| place.backend == backend)
}
