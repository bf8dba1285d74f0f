//! A backend is emptied session by session, while its clients go on and the leader dies.

use std::time::Duration;

use super::front::Front;
use super::routing::report_witness;
use super::users::{BY_HEADER, Users};
use super::{Scenario, ScenarioError, Stage, jobs};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::{Document, Door};
use crate::rig::{NODES, Rig, Setting};
use crate::statistics::seconds;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "evacuate",
    proves: "a backend's sessions move at the rate that was asked for, each once and none cut off, through a SIGKILL of the \
             leader",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions on the backend, in each round.
const SESSIONS: usize = 10_000;
/// Of these, clients who go on all the while.
const USERS: usize = 150;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(300);
/// Sessions a second.
const RATE: u32 = 200;
/// How long the leader is away that was killed.
const AWAY: Duration = Duration::from_secs(3);

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: "", methods: BY_HEADER };

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let setting = Setting { document: Document::of(&[DOOR]), ..Setting::plain(3) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    for round in 1..=stage.rounds {
        play(stage, &mut rig, round, &mut report).await?;
    }
    report_witness(&rig, &mut report);
    Ok(report)
}

async fn play(stage: &Stage, rig: &mut Rig, round: u32, report: &mut Report) -> Result<(), ScenarioError> {
    let label = format!("round {round}");
    let from = &rig.backend_names().swap_remove(0);
    let front = Front::of(stage, rig);
    let all = (0..SESSIONS).map(|number| called(round, number));
    let (leader, before) = jobs::begin_on_first(rig, &front, DOOR.path_prefix, all).await?;
    let on_it = before.values().filter(|session| session.backend_name.ends_with(from.as_str())).count();
    report.bar(format!("{label}: sessions on {from}"), on_it, SESSIONS.to_string(), on_it == SESSIONS);

    let users = (0..USERS).map(|number| called(round, number));
    let users = Users::start(&front, DOOR.path_prefix, users, PAUSE);
    let began = rig.now();
    let asked = (leader + 1) % NODES;
    let job = jobs::evacuate(rig, asked, from, RATE).await?;
    jobs::until_moved(rig, asked, job, SESSIONS as u64 / 3).await?;
    rig.kill(&[leader]).await?;
    tokio::time::sleep(AWAY).await;
    rig.restart(leader)?;
    let done = jobs::done(rig, asked, job).await?;
    let took = rig.now().since(began);
    let seen = users.stop().await?;
    rig.settle().await?;

    let expected = Duration::from_secs(SESSIONS as u64) / RATE;
    let fits = took.as_secs_f64() / expected.as_secs_f64();
    report.bar(
        format!("{label}: time"),
        seconds(took),
        format!("{} within 5 %", seconds(expected)),
        (0.95..=1.05).contains(&fits),
    );
    report.bar(
        format!("{label}: moved, by the job"),
        done.moved,
        SESSIONS.to_string(),
        done.moved == SESSIONS as u64,
    );
    report.figure(format!("{label}: announced moves taken back"), done.not_quiet);
    judge_lists(rig, from, &before, &label, report).await?;
    seen.judge(&label, report);
    seen.judge_moves(&label, 1, report);
    Ok(())
}

/// Every session is on another backend, by one epoch that came from the job, on every node.
async fn judge_lists(
    rig: &mut Rig,
    from: &str,
    before: &Listed,
    label: &str,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    for (node, listed) in (1..).zip(rig.sessions().await?) {
        let left = listed.values().filter(|session| session.backend_name.ends_with(from)).count();
        let once = before.iter().filter(|(key, session)| {
            !session.backend_name.ends_with(from)
                || listed
                    .get(*key)
                    .is_some_and(|now| now.cause == "moved: by a job" && now.epoch > session.epoch)
        });
        let once = once.count();
        report.bar(
            format!("{label}: left there, and where they should be, on node {node}"),
            format!("{left} and {once}"),
            format!("0 and {}", before.len()),
            (left, once) == (0, before.len()),
        );
    }
    Ok(())
}

fn called(round: u32, number: usize) -> String {
    format!("client-{round}-{number}")
}
