//! A backend goes and comes back, five times within a minute.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_rt::Moment;

use super::front::Front;
use super::routing::report_witness;
use super::users::{self, BY_HEADER, Seen, Users};
use super::verdicts::Watch;
use super::{Scenario, ScenarioError, Stage, places};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::backend::Pace;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{Rig, RigError, Setting};
use crate::statistics::seconds;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "backend-flaps",
    proves: "a backend that flaps costs each of its sessions one move; with when_back = \"return\" they are there in the end",
    rounds: 2,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Backends of the pool, of which the first one flaps.
const BACKENDS: usize = 3;
const FLAPPING: usize = 0;
/// How often it goes and comes back.
const FLAPS: usize = 5;
/// Within how long.
const WITHIN: Duration = Duration::from_secs(60);
/// How long it stays away once all nodes have it down, in milliseconds.
const AWAY: std::ops::Range<u64> = 1500..3500;
/// How long it stays once all nodes have it up, in milliseconds: longer than a client's pause.
const BACK: std::ops::Range<u64> = 3000..6000;
/// How long it stays when it is back for good: time for everybody to ask several times.
const FOR_GOOD: Duration = Duration::from_secs(5);
/// Sessions on it that are to stay where they are when they have moved.
const STAYING: usize = 200;
/// Sessions on it that are to return.
const RETURNING: usize = 60;
/// Pause of each client between two requests.
const PAUSE: Duration = Duration::from_millis(800);

const STAY: Door<'static> = Door {
    name: "stay",
    path_prefix: "/stay",
    // What happens to those who say nothing about it.
    options: NEVER_IDLE,
    methods: BY_HEADER,
};

const RETURN: Door<'static> = Door {
    name: "return",
    path_prefix: "/return",
    options: "idle_timeout = \"2h\"\nwhen_back = \"return\"",
    methods: BY_HEADER,
};

/// How it goes away.
#[derive(Clone, Copy, Debug)]
enum How {
    /// Its process dies.
    Dies,
    /// Its check answers 503, and everything else works.
    Unwell,
}

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut random = stage.seed.child("flaps").rng();
    for round in 1..=stage.rounds {
        // Sessions that have moved stay where they are: each round has a cluster of its own.
        let stage = stage.apart(&format!("round {round}"));
        let how = if round % 2 == 1 { How::Dies } else { How::Unwell };
        play(&stage, &format!("round {round}, {how:?}"), how, &mut random, &mut report).await?;
    }
    Ok(report)
}

async fn play(
    stage: &Stage,
    label: &str,
    how: How,
    random: &mut StdRng,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let setting = Setting { document: Document::of(&[STAY, RETURN]), ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let front = Front::of(stage, &rig);
    let flapping = rig.backend_names().swap_remove(FLAPPING);
    begin(&mut rig, &front, &flapping).await?;
    let before = rig.sessions().await?.swap_remove(0);
    let bound = places::on(&before, &flapping).len();
    let all = STAYING + RETURNING;
    report.bar(format!("{label}: sessions on {flapping}"), bound, all.to_string(), bound == all);

    let staying = Users::start(&front, STAY.path_prefix, named(&STAY, STAYING), PAUSE);
    let returning = Users::start(&front, RETURN.path_prefix, named(&RETURN, RETURNING), PAUSE);
    tokio::time::sleep(PAUSE * 2).await;
    let mut watch = Watch::start(&mut rig, &stage.outside.clock, &flapping);
    let took = flap(&mut rig, &mut watch, how, random).await?;
    tokio::time::sleep(FOR_GOOD).await;
    watch.stop().await?;
    let (staying, returning) = (staying.stop().await?, returning.stop().await?);
    rig.settle().await?;

    let what = format!("{label}: {FLAPS} times away and back");
    report.bar(what, seconds(took), format!("{} at most", seconds(WITHIN)), took <= WITHIN);
    let lists = rig.sessions().await?;
    judge_staying(label, &flapping, &staying, &lists, report);
    judge_returning(label, &flapping, &returning, &lists, report);
    let apart = places::apart(&lists);
    report.bar(
        format!("{label}: sessions that the nodes have at different places"),
        apart.len(),
        "0",
        apart.is_empty(),
    );
    report.faults(apart);
    report_witness(&rig, report);
    Ok(())
}

/// What the clients of a door are called.
fn named(door: &Door<'static>, count: usize) -> impl ExactSizeIterator<Item = String> {
    let name = door.name;
    (0..count).map(move |number| format!("{name}-{number}"))
}

/// Begins all sessions on the one backend, since the others take none.
async fn begin(rig: &mut Rig, front: &Front, flapping: &str) -> Result<(), ScenarioError> {
    let others: Vec<String> = rig.backend_names().into_iter().filter(|name| name != flapping).collect();
    for other in &others {
        rig.admin(0).set_backend(other, "maint").await.map_err(RigError::from)?;
    }
    rig.settle().await?;
    users::begin(front, STAY.path_prefix, named(&STAY, STAYING)).await?;
    users::begin(front, RETURN.path_prefix, named(&RETURN, RETURNING)).await?;
    for other in &others {
        rig.admin(0).set_backend(other, "ready").await.map_err(RigError::from)?;
    }
    rig.settle().await?;
    Ok(())
}

/// Has the backend go and come back. How long that took.
async fn flap(
    rig: &mut Rig,
    watch: &mut Watch,
    how: How,
    random: &mut StdRng,
) -> Result<Duration, ScenarioError> {
    watch.until_all("up").await?;
    let began: Moment = rig.now();
    for _ in 0..FLAPS {
        match how {
            How::Dies => rig.kill_backend(FLAPPING).await,
            How::Unwell => rig.set_backend_pace(FLAPPING, Pace::Unwell),
        }
        watch.until_all("down").await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(AWAY))).await;
        match how {
            How::Dies => rig.start_backend(FLAPPING).await?,
            How::Unwell => rig.set_backend_pace(FLAPPING, Pace::Usual),
        }
        watch.until_all("up").await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(BACK))).await;
    }
    Ok(rig.now().since(began))
}

/// Each has moved once, when its backend went for the first time, and stays where it went.
fn judge_staying(label: &str, flapping: &str, seen: &Seen, lists: &[Listed], report: &mut Report) {
    let label = format!("{label}, stay");
    seen.judge(&label, report);
    seen.judge_moves(&label, 1, report);
    let moved = seen.moved();
    report.bar(format!("{label}: sessions that moved"), moved, STAYING.to_string(), moved == STAYING);
    let there = there(lists, &STAY, flapping);
    let held = there.iter().all(|there| *there == 0);
    report.bar(
        format!("{label}: of them on {flapping} in the end, on each node"),
        format!("{there:?}"),
        "0",
        held,
    );
}

/// Each goes away with its backend and comes back with it, no more often than that, and is there in the end.
fn judge_returning(label: &str, flapping: &str, seen: &Seen, lists: &[Listed], report: &mut Report) {
    let label = format!("{label}, return");
    seen.judge(&label, report);
    seen.judge_moves(&label, FLAPS * 2, report);
    let moved = seen.moved();
    report.bar(format!("{label}: sessions that moved"), moved, RETURNING.to_string(), moved == RETURNING);
    let there = there(lists, &RETURN, flapping);
    let held = there.iter().all(|there| *there == RETURNING);
    let what = format!("{label}: of them on {flapping} in the end, on each node");
    report.bar(what, format!("{there:?}"), RETURNING.to_string(), held);
}

/// Sessions of a door on a backend, by each node's replica.
fn there(lists: &[Listed], door: &Door<'_>, backend: &str) -> Vec<usize> {
    let of_node = |listed: &Listed| {
        let on: BTreeSet<&str> = places::on(listed, backend);
        on.iter().filter(|key| listed.get(**key).is_some_and(|session| session.affinity == door.name)).count()
    };
    lists.iter().map(of_node).collect()
}
