//! A pool grows to twice its size and is evened out, while clients go on.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_proto::admin::StartJobRequest;

use super::front::Front;
use super::routing::report_witness;
use super::users::{self, BY_HEADER, Users};
use super::{Scenario, ScenarioError, Stage, jobs, places};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{Rig, Setting};
use crate::statistics::{rate, seconds};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rebalance",
    proves: "a pool that has grown is evened out at the rate that was asked for, by the fewest moves, and no client sees an error",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Backends of the pool at first.
const AT_FIRST: usize = 3;
/// Backends of the pool when it has grown.
const GROWN: usize = 6;
/// Sessions on it.
const SESSIONS: usize = 3_000;
/// Of these, clients who go on all the while.
const USERS: usize = 100;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(300);
/// Sessions a second.
const RATE: u32 = 200;
/// How far the largest backend may be above its share in the end.
const UNEVEN: f64 = 0.10;
/// How far the moves may be from the fewest.
const ASTRAY: f64 = 0.05;

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        // A pool grows once: each round has a cluster of its own.
        let stage = stage.apart(&format!("round {round}"));
        play(&stage, &format!("round {round}"), &mut report).await?;
    }
    Ok(report)
}

async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let document = Document::of(&[DOOR]);
    let setting = Setting { in_pool: AT_FIRST, document: document.clone(), ..Setting::plain(GROWN) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let front = Front::of(stage, &rig);
    let called = |number| format!("client-{number}");
    users::begin(&front, DOOR.path_prefix, (0..SESSIONS).map(called)).await?;
    // Of all ages: a job leaves those alone that began a moment ago.
    let users = (0..SESSIONS).step_by(SESSIONS / USERS).map(called);
    let users = Users::start(&front, DOOR.path_prefix, users, PAUSE);
    rig.apply(&document, GROWN).await?;
    let before = rig.sessions().await?.swap_remove(0);

    let began = rig.now();
    let request = StartJobRequest {
        work: "rebalance".to_owned(),
        pool: "web".to_owned(),
        rate: RATE,
        hold_milliseconds: 2000,
        ..StartJobRequest::default()
    };
    let job = jobs::start(&mut rig, 0, request).await?;
    let done = jobs::done(&mut rig, 0, job).await?;
    let took = rig.now().since(began);
    // Everybody asks once more where the sessions are now.
    tokio::time::sleep(PAUSE * 2).await;
    let seen = users.stop().await?;
    rig.settle().await?;

    report
        .figure(format!("{label}: time"), format!("{}, {}", seconds(took), rate(done.moved as usize, took)));
    report.figure(format!("{label}: announced moves taken back"), done.not_quiet);
    let lists = rig.sessions().await?;
    let names = rig.backend_names();
    let moved = done.moved as usize;
    judge_moves(label, &names, &before, moved, report);
    judge_lists(label, &names, &before, &lists, moved, report);
    seen.judge(label, report);
    seen.judge_moves(label, 1, report);
    report.bar(format!("{label}: clients who moved"), seen.moved(), "some", seen.moved() > 0);
    let failed = seen.failed.len();
    report.bar(format!("{label}: requests that failed at any node"), failed, "0", failed == 0);
    report.faults(
        seen.failed.iter().map(|failed| format!("{label}: through node {}: {}", failed.node + 1, failed.how)),
    );
    report_witness(&rig, report);
    Ok(())
}

/// Sessions on each backend.
fn counts(names: &[String], listed: &Listed) -> BTreeMap<String, usize> {
    names.iter().map(|name| (name.clone(), places::on(listed, name).len())).collect()
}

/// The fewest moves take from each backend what it has above its share.
fn judge_moves(label: &str, names: &[String], before: &Listed, moved: usize, report: &mut Report) {
    let counts = counts(names, before);
    let fair = before.len() as f64 / names.len() as f64;
    let fewest: f64 = counts.values().map(|count| (*count as f64 - fair).max(0.0)).sum();
    report.figure(
        format!("{label}: sessions on each backend before"),
        format!("{:?}", counts.values().collect::<Vec<_>>()),
    );
    let all = before.len();
    report.bar(format!("{label}: sessions"), all, SESSIONS.to_string(), all == SESSIONS);
    report.bar(
        format!("{label}: moves"),
        moved,
        format!("{fewest:.0} within {:.0} %", ASTRAY * 100.0),
        fewest > 0.0 && (moved as f64 - fewest).abs() <= fewest * ASTRAY,
    );
}

/// The pool is even on every node, and so many sessions have moved as there were moves: none has moved twice.
fn judge_lists(
    label: &str,
    names: &[String],
    before: &Listed,
    lists: &[Listed],
    moves: usize,
    report: &mut Report,
) {
    for (node, listed) in (1..).zip(lists) {
        let counts = counts(names, listed);
        let fair = listed.len() as f64 / names.len() as f64;
        let largest = counts.values().copied().max().unwrap_or(0);
        report.bar(
            format!("{label}: sessions on each backend on node {node}"),
            format!("{:?}", counts.values().collect::<Vec<_>>()),
            format!("{:.0} at most", fair * (1.0 + UNEVEN)),
            listed.len() == before.len() && largest as f64 <= fair * (1.0 + UNEVEN),
        );
        let moved = places::moved(before, listed).len();
        let what = format!("{label}: sessions that have moved on node {node}");
        report.bar(what, moved, format!("{moves}, each once"), moved == moves);
    }
    let apart = places::apart(lists);
    let what = format!("{label}: sessions that the nodes have at different places");
    report.bar(what, apart.len(), "0", apart.is_empty());
    report.faults(apart);
}
