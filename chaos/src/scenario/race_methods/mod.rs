//! Requests of one client that race, for every method of recognition, while entries reach one node late.

mod methods;
mod racing;
mod tally;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;

use super::routing::report_witness;
use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::document::{Document, Door};
use crate::rig::plan::Layout;
use crate::rig::{NODES, Rig, RigError, Setting};
use crate::statistics::{milliseconds, seconds};
use racing::Track;
use tally::Tally;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "race-methods",
    proves: "whatever a client is known by, its requests that race through all nodes, one of them 200 ms behind, meet \
             at one backend",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(900),
    run: |stage| Box::pin(run(stage)),
};

/// Backends behind the nodes: those that unknown identifiers name are among them.
const BACKENDS: usize = 3;
/// Clients of each method, in one round.
const CLIENTS: usize = 360;
/// How late whatever the others send to one node reaches it.
const DELAY: Duration = Duration::from_millis(200);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let doors: Vec<Door<'_>> = methods::ALL.iter().map(methods::Method::door).collect();
    let setting =
        Setting { layout: Layout::Links, document: Document::of(&doors), ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let delayed = some_follower(stage, &mut rig).await?;
    rig.delay_replication(delayed, DELAY)?;
    rig.settle().await?;
    report.figure("the node that entries reach 200 ms late", delayed + 1);

    let track = Track { outside: stage.outside.clone(), nodes: rig.addresses(), delayed };
    let clients = CLIENTS * stage.rounds as usize;
    let began = rig.now();
    let mut all = Tally::default();
    for method in &methods::ALL {
        let tally = track.race(method, clients).await?;
        rig.check_processes()?;
        report.bar(
            method.name,
            &tally,
            format!("{clients} keys, 0 splits, 0 lost carts, 0 unserved"),
            tally.held(clients),
        );
        report.faults(tally.faults.iter().map(|fault| format!("{}: {fault}", method.name)));
        all.join(tally);
    }
    report.figure("time", seconds(rig.now().since(began)));
    judge(&all, clients * methods::ALL.len(), &mut report);
    rig.settle().await?;
    judge_replicas(&mut rig, clients, &mut report).await?;
    report_witness(&rig, &mut report);
    Ok(report)
}

/// The place of a node that does not lead.
async fn some_follower(stage: &Stage, rig: &mut Rig) -> Result<usize, RigError> {
    let leader = rig.settle().await?;
    Ok((leader + stage.seed.child("delayed node").rng().random_range(1..NODES)) % NODES)
}

fn judge(all: &Tally, keys: usize, report: &mut Report) {
    report.bar("keys that raced", all.keys, keys.to_string(), all.keys == keys);
    report.bar("keys with two backends or two epochs", all.splits, "0", all.splits == 0);
    report.bar("backends in use", all.backends.len(), "more than one", all.backends.len() > 1);
    report.figure("median of a raced request, other nodes", milliseconds(all.prompt.median()));
    let median = all.delayed.median();
    // Otherwise the node was not behind, and the races prove little.
    report.bar(
        "the same, through the delayed node",
        milliseconds(median),
        "200 ms at least",
        median >= DELAY,
    );
}

/// Every node has one session for every client of every method.
async fn judge_replicas(rig: &mut Rig, clients: usize, report: &mut Report) -> Result<(), RigError> {
    for (node, listed) in (1..).zip(rig.sessions().await?) {
        let mut of_each: BTreeMap<&str, usize> = BTreeMap::new();
        for session in listed.values() {
            *of_each.entry(session.affinity.as_str()).or_default() += 1;
        }
        let odd: Vec<_> = methods::ALL
            .iter()
            .map(|method| (method.route, of_each.get(method.route).copied().unwrap_or(0)))
            .filter(|(_, sessions)| *sessions != clients)
            .collect();
        report.bar(
            format!("methods with more or fewer sessions than clients on node {node}"),
            format!("{odd:?}"),
            "none",
            odd.is_empty(),
        );
    }
    Ok(())
}
