//! A job is paused, resumed, stopped and undone, while clients go on and leaders die.

use std::collections::BTreeSet;
use std::time::Duration;

use stickler_proto::admin::{Job, Session, StartJobRequest};

use super::front::Front;
use super::routing::report_witness;
use super::users::{BY_HEADER, Users};
use super::{Scenario, ScenarioError, Stage, jobs, places};
use crate::oracle::ledger::name_of;
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{NODES, Rig, RigError, Setting};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "undo",
    proves: "a paused job stays paused through a SIGKILL of the leader, and undoing one brings back exactly what is still where \
             it was put",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions on the backend.
const SESSIONS: u64 = 1_500;
/// Of these, clients who go on all the while.
const USERS: u64 = 75;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(300);
/// Sessions a second.
const RATE: u32 = 150;
/// Sessions that an operator moves after the job has.
const MOVED_ON: usize = 20;
/// How long a killed leader is away, and how long a paused job is looked at then.
const AWAY: Duration = Duration::from_secs(2);
/// Evacuated, moved on by the operator at most, and brought back.
const MOST_MOVES: usize = 3;

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        let stage = stage.apart(&format!("round {round}"));
        play(&stage, &format!("round {round}"), &mut report).await?;
    }
    Ok(report)
}

async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let setting = Setting { document: Document::of(&[DOOR]), ..Setting::plain(3) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let front = Front::of(stage, &rig);
    let from = rig.backend_names().swap_remove(0);
    let all = (0..SESSIONS).map(called);
    let (leader, before) = jobs::begin_on_first(&mut rig, &front, DOOR.path_prefix, all).await?;
    let users = (0..USERS as usize).map(|user| called(user as u64 * (SESSIONS / USERS)));
    let users = Users::start(&front, DOOR.path_prefix, users, PAUSE);

    let asked = (leader + 1) % NODES;
    let job = jobs::evacuate(&mut rig, asked, &from, RATE).await?;
    jobs::until_moved(&mut rig, asked, job, SESSIONS / 3).await?;
    pause(&mut rig, (leader, asked), job, label, report).await?;
    jobs::until_moved(&mut rig, asked, job, SESSIONS * 2 / 3).await?;
    change(&mut rig, asked, job, "cancel").await?;
    let stopped = at_rest(&mut rig, asked, job, "cancelled").await?;
    let moved_on = move_on(&mut rig, &from).await?;

    rig.admin(0).set_backend(&from, "ready").await.map_err(RigError::from)?;
    let undone = undo(&mut rig, job, stopped.moved / 2).await?;
    let seen = users.stop().await?;
    rig.settle().await?;
    let lists = rig.sessions().await?;
    report.figure(format!("{label}: sessions that the job had moved"), stopped.moved);
    let expected = stopped.moved.saturating_sub(MOVED_ON as u64);
    let what = format!("{label}: sessions that were brought back");
    report.bar(what, undone.moved, expected.to_string(), undone.moved == expected && expected > 0);
    judge_lists(label, &from, (&before, &moved_on), &lists, report);
    seen.judge(label, report);
    seen.judge_moves(label, MOST_MOVES, report);
    report.bar(format!("{label}: clients who moved"), seen.moved(), "some", seen.moved() > 0);
    report_witness(&rig, report);
    Ok(())
}

/// The job is paused, the leader dies and comes back, and the job goes on when it is told to.
async fn pause(
    rig: &mut Rig,
    (leader, asked): (usize, usize),
    job: u64,
    label: &str,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    change(rig, asked, job, "pause").await?;
    let paused = at_rest(rig, asked, job, "paused").await?;
    kill(rig, leader).await?;
    tokio::time::sleep(AWAY).await;
    let still = jobs::find(rig, asked, job).await.map_err(ScenarioError::Scene)?;
    report.bar(
        format!("{label}: state of the paused job, and what it moved, through the leader's death"),
        format!("{}, {}", still.state, still.moved - paused.moved),
        "paused, 0",
        still.state == "paused" && still.moved == paused.moved,
    );
    change(rig, asked, job, "resume").await
}

/// Undoes a job, through the death of the leader when so many sessions are back.
async fn undo(rig: &mut Rig, job: u64, enough: u64) -> Result<Job, ScenarioError> {
    let leader = rig.settle().await?;
    let asked = (leader + 1) % NODES;
    let request = StartJobRequest {
        work: "undo".to_owned(),
        undo: job,
        rate: RATE,
        hold_milliseconds: 2000,
        ..StartJobRequest::default()
    };
    let undo = jobs::start(rig, asked, request).await?;
    jobs::until_moved(rig, asked, undo, enough).await?;
    kill(rig, leader).await?;
    jobs::done(rig, asked, undo).await
}

async fn kill(rig: &mut Rig, node: usize) -> Result<(), ScenarioError> {
    rig.kill(&[node]).await?;
    tokio::time::sleep(AWAY).await;
    rig.restart(node)?;
    rig.settle().await?;
    Ok(())
}

async fn change(rig: &mut Rig, asked: usize, job: u64, change: &str) -> Result<(), ScenarioError> {
    // The job may have moved on between a look at it and the change.
    rig.until("the job is changed", async |rig| {
        rig.admin(asked).change_job(job, change).await.map(drop).map_err(|error| error.to_string())
    })
    .await?;
    Ok(())
}

/// The job once it is in this state, and no move of it is under way.
async fn at_rest(rig: &mut Rig, asked: usize, job: u64, state: &str) -> Result<Job, ScenarioError> {
    rig.until("the job is at rest", async |rig| {
        let found = jobs::find(rig, asked, job).await?;
        let rests = found.state == state && found.announced == 0;
        if rests { Ok(()) } else { Err(format!("{}, {} announced", found.state, found.announced)) }
    })
    .await?;
    jobs::find(rig, asked, job).await.map_err(ScenarioError::Scene)
}

/// An operator moves some of the sessions that the job has moved, to the other one of the two backends: their keys.
async fn move_on(rig: &mut Rig, from: &str) -> Result<BTreeSet<String>, ScenarioError> {
    rig.settle().await?;
    let others: Vec<String> = rig.backend_names().split_off(1);
    let listed = rig.sessions().await?.swap_remove(0);
    let mut left: Vec<&Session> =
        listed.values().filter(|session| name_of(&session.backend_name) != from).collect();
    left.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let mut moved = BTreeSet::new();
    for session in left.into_iter().take(MOVED_ON) {
        let to = others.iter().find(|other| *other != name_of(&session.backend_name));
        let to = to.ok_or_else(|| ScenarioError::Scene("there is no third backend".to_owned()))?;
        let place = (DOOR.name, session.key.as_str(), session.epoch);
        rig.admin(0).move_session(place, to).await.map_err(RigError::from)?;
        moved.insert(session.key.clone());
    }
    Ok(moved)
}

/// On every node all are back where they were, but those that the operator has moved.
fn judge_lists(
    label: &str,
    from: &str,
    (before, moved_on): (&Listed, &BTreeSet<String>),
    lists: &[Listed],
    report: &mut Report,
) {
    for (node, listed) in (1..).zip(lists) {
        let back = places::on(listed, from);
        let wrong: Vec<&String> =
            before.keys().filter(|key| back.contains(key.as_str()) == moved_on.contains(*key)).collect();
        report.bar(
            format!("{label}: sessions back there, and at a wrong place, on node {node}"),
            format!("{} and {}", back.len(), wrong.len()),
            format!("{} and 0", before.len() - moved_on.len()),
            back.len() == before.len() - moved_on.len() && wrong.is_empty() && moved_on.len() == MOVED_ON,
        );
    }
    let apart = places::apart(lists);
    let what = format!("{label}: sessions that the nodes have at different places");
    report.bar(what, apart.len(), "0", apart.is_empty());
    report.faults(apart);
}

fn called(number: u64) -> String {
    format!("client-{number}")
}
