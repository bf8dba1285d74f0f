//! A backend is started again in place, and then dies for a while: what each policy of an affinity makes of it.

mod judged;

use std::time::Duration;

use stickler_rt::Moment;

use super::front::Front;
use super::routing::report_witness;
use super::users::{self, BY_HEADER};
use super::visits::{Callers, Calling, KnownAs, Visit};
use super::{Scenario, ScenarioError, Stage, places};
use crate::report::Report;
use crate::rig::document::{Document, Door};
use crate::rig::{NODES, Rig, RigError, Setting};
use judged::{Outage, Policy, judge};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "policies",
    proves: "each policy of an affinity does what it says while a backend is dead, and nobody is routed by an old epoch to one that \
             was started again in place",
    rounds: 2,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

const BACKENDS: usize = 3;
/// Traffic before and after each death.
const SPELL: Duration = Duration::from_secs(3);
/// How long the backend is dead.
const AWAY: Duration = Duration::from_secs(4);
/// Sessions that nobody uses, which are to move at a rate all the same.
const UNUSED: usize = 150;

/// The doors with a caller's clients: one policy each.
const POLICIES: [(Policy, Door<'static>); 4] = [
    (Policy::Rebind, door("rebind", "/rebind", "idle_timeout = \"2h\"\nwhen_down = \"rebind\"")),
    (
        Policy::Wait,
        door("wait", "/wait", "idle_timeout = \"2h\"\nwhen_down = \"wait\"\nwait_timeout = \"1m\""),
    ),
    (Policy::Reject, door("reject", "/reject", "idle_timeout = \"2h\"\nwhen_down = \"reject\"")),
    (
        Policy::Redirect,
        door(
            "redirect",
            "/redirect",
            "idle_timeout = \"2h\"\nwhen_down = \"redirect\"\nredirect_to = \"https://sorry.example/\"",
        ),
    ),
];

const EAGER: Door<'static> =
    door("eager", "/eager", "idle_timeout = \"2h\"\nwhen_down = \"rebind\"\nrebind_rate = \"100/1s\"");

const fn door(name: &'static str, path_prefix: &'static str, options: &'static str) -> Door<'static> {
    Door { name, path_prefix, options, methods: BY_HEADER }
}

const fn callers(door: Door<'static>) -> Callers {
    Callers {
        name: door.name,
        path: door.path_prefix,
        known_as: KnownAs::Regular,
        count: 45,
        pause: Duration::from_millis(300),
    }
}

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        let stage = stage.apart(&format!("round {round}"));
        play(&stage, &format!("round {round}"), &mut report).await?;
    }
    Ok(report)
}

async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let doors: Vec<Door<'_>> = POLICIES.iter().map(|(_, door)| *door).chain([EAGER]).collect();
    let document = Document::of(&doors).with_check("instance_header = \"X-Life\"");
    let mut rig = Rig::start_with(stage, &Setting { document, ..Setting::plain(BACKENDS) }).await?;
    let front = Front::of(stage, &rig);
    users::begin(&front, EAGER.path_prefix, (0..UNUSED).map(|number| format!("unused-{number}"))).await?;
    let calling: Vec<(Policy, Calling)> =
        POLICIES.iter().map(|(policy, door)| (*policy, Calling::start(&front, callers(*door)))).collect();
    tokio::time::sleep(SPELL).await;

    let name = rig.backend_names().swap_remove(0);
    let began = rig.now();
    rig.kill_backend(0).await;
    let in_place = come_back(&mut rig, &name, began).await?;
    tokio::time::sleep(SPELL).await;
    let began = rig.now();
    rig.kill_backend(0).await;
    tokio::time::sleep(AWAY).await;
    judge_unused(&mut rig, &name, label, report).await?;
    let dead = come_back(&mut rig, &name, began).await?;
    tokio::time::sleep(SPELL).await;

    for (policy, calling) in calling {
        let visits: Vec<Visit> = calling.stop().await?;
        let outages = [("started again in place", in_place), ("dead", dead)];
        for (what, outage) in outages {
            judge(&format!("{label}, {what}, {policy:?}"), policy, &name, &visits, outage, report);
        }
    }
    rig.settle().await?;
    report_witness(&rig, report);
    Ok(())
}

/// The backend is started again, and all nodes know that it was.
async fn come_back(rig: &mut Rig, name: &str, began: Moment) -> Result<Outage, ScenarioError> {
    let before = restarts(rig, name).await?;
    let started = rig.now();
    rig.start_backend(0).await?;
    rig.until("every node knows that the backend is in another life, and up", async |rig| {
        for node in 0..NODES {
            let backend = rig.admin(node).backend(name).await.map_err(|error| error.to_string())?;
            if backend.restarts <= before || backend.health != "up" {
                return Err(format!("{} restarts, {}", backend.restarts, backend.health));
            }
        }
        Ok(())
    })
    .await?;
    Ok(Outage { began, started, known: rig.now() })
}

async fn restarts(rig: &mut Rig, name: &str) -> Result<u64, ScenarioError> {
    Ok(rig.admin(0).backend(name).await.map_err(RigError::from)?.restarts)
}

/// Sessions that nobody uses have moved off the dead backend, by the rate of their affinity.
async fn judge_unused(
    rig: &mut Rig,
    name: &str,
    label: &str,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    for (node, listed) in (1..).zip(rig.sessions().await?) {
        let unused = listed.into_iter().filter(|(_, session)| session.affinity == EAGER.name).collect();
        let (left, all) = (places::on(&unused, name).len(), unused.len());
        let moved = unused.values().filter(|session| session.cause.starts_with("moved")).count();
        report.bar(
            format!("{label}: unused sessions left on the dead backend, and moved, on node {node}"),
            format!("{left} and {moved}, of {all}"),
            "0 and some",
            left == 0 && moved > 0 && all == UNUSED,
        );
    }
    Ok(())
}
