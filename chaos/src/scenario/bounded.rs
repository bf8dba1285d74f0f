//! A pool whose backends get no more than a bound of its sessions, while one of them comes back without any.

use std::collections::BTreeMap;
use std::time::Duration;

use super::front::Front;
use super::routing::report_witness;
use super::users::{self, BY_HEADER};
use super::visits::{Callers, Calling, KnownAs, Visit};
use super::{Scenario, ScenarioError, Stage, places};
use crate::oracle::ledger::name_of;
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{Rig, RigError, Setting};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bounded",
    proves: "no backend ever gets a session beyond its pool's bound, and requests without one go to all of them all the while",
    rounds: 2,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

const BACKENDS: usize = 3;
/// The most sessions of a backend, in percent of its share.
const BOUND: usize = 110;
/// Sessions that begin while one backend is away: the two others have half of them each, and the bound says how far that may
/// differ.
const BEFORE: usize = 600;
/// How long clients come before it is back, and afterwards.
const SPELL: Duration = Duration::from_secs(6);
/// What a backend must get of the requests that need no session: so much of what it would be if all got the same.
const LEAST: f64 = 0.5;

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

/// Each request begins a session.
const NEWCOMERS: Callers = Callers {
    name: "newcomer",
    path: "/",
    known_as: KnownAs::Newcomer,
    count: 20,
    pause: Duration::from_millis(100),
};

/// Whose requests need none.
const CROWD: Callers = Callers {
    name: "crowd",
    path: "/open",
    known_as: KnownAs::Nobody,
    count: 40,
    pause: Duration::from_millis(100),
};

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        // Sessions stay: each round has a cluster of its own.
        let stage = stage.apart(&format!("round {round}"));
        let balance = if round % 2 == 1 { "rendezvous" } else { "fewest-sessions" };
        play(&stage, &format!("round {round}, {balance}"), balance, &mut report).await?;
    }
    Ok(report)
}

async fn play(stage: &Stage, label: &str, balance: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let options = format!("balance = \"{balance}\"\nbounded_load = {BOUND}");
    let document = Document::of(&[DOOR]).with_open_route(CROWD.path).with_pool(&options, "", "");
    let mut rig = Rig::start_with(stage, &Setting { document, ..Setting::plain(BACKENDS) }).await?;
    let front = Front::of(stage, &rig);
    let names = rig.backend_names();
    rig.admin(0).set_backend(&names[0], "maint").await.map_err(RigError::from)?;
    rig.settle().await?;
    users::begin(&front, DOOR.path_prefix, (0..BEFORE).map(|number| format!("early-{number}"))).await?;

    let crowd = Calling::start(&front, CROWD);
    tokio::time::sleep(SPELL).await;
    judge_crowd(&format!("{label}, one is away"), &names[1..], &crowd.stop().await?, report);
    let before = rig.sessions().await?.swap_remove(0);

    rig.admin(0).set_backend(&names[0], "ready").await.map_err(RigError::from)?;
    rig.settle().await?;
    let (newcomers, crowd) = (Calling::start(&front, NEWCOMERS), Calling::start(&front, CROWD));
    tokio::time::sleep(SPELL).await;
    let (newcomers, crowd) = (newcomers.stop().await?, crowd.stop().await?);
    rig.settle().await?;

    judge_crowd(&format!("{label}, it is back"), &names, &crowd, report);
    let lost = newcomers.iter().filter(|visit| visit.backend().is_none()).count();
    report.bar(format!("{label}: new sessions that no backend answered"), lost, "0", lost == 0);
    let lists = rig.sessions().await?;
    for (node, listed) in (1..).zip(&lists) {
        judge_bound(&format!("{label}, node {node}"), &names, &before, listed, report);
    }
    let apart = places::apart(&lists);
    let what = format!("{label}: sessions that the nodes have at different places");
    report.bar(what, apart.len(), "0", apart.is_empty());
    report.faults(apart);
    report_witness(&rig, report);
    Ok(())
}

/// Every backend gets some of what needs no session, whatever it has of those that count.
fn judge_crowd(label: &str, names: &[String], visits: &[Visit], report: &mut Report) {
    let on = |name: &String| visits.iter().filter(|visit| visit.backend() == Some(name.as_str())).count();
    let counts: Vec<usize> = names.iter().map(on).collect();
    let least = visits.len() as f64 / names.len() as f64 * LEAST;
    report.bar(
        format!("{label}: requests without a session on each backend, of {}", visits.len()),
        format!("{counts:?}"),
        format!("{least:.0} at least"),
        !visits.is_empty() && counts.iter().all(|count| *count as f64 >= least),
    );
    let lost = visits.iter().filter(|visit| visit.backend().is_none()).count();
    report.bar(format!("{label}: of them, not served"), lost, "0", lost == 0);
}

/// No session was placed beyond the bound. Epochs say in which order they were; nobody has moved or gone.
fn judge_bound(label: &str, names: &[String], before: &Listed, listed: &Listed, report: &mut Report) {
    let mut placed: Vec<(u64, &str, bool)> = listed
        .iter()
        .map(|(key, session)| (session.epoch, name_of(&session.backend_name), before.contains_key(key)))
        .collect();
    placed.sort_unstable();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut beyond = 0;
    for (number, (_, backend, early)) in (1..).zip(&placed) {
        let has = counts.entry(backend).or_default();
        *has += 1;
        let taking = if *early { names.len() - 1 } else { names.len() };
        beyond += usize::from(*has > (BOUND * number).div_ceil(100 * taking));
    }
    let counts: Vec<usize> =
        names.iter().map(|name| counts.get(name.as_str()).copied().unwrap_or(0)).collect();
    report.figure(
        format!("{label}: sessions on each backend, of {}", placed.len()),
        format!("{counts:?}, before it was back none of {} on the first", before.len()),
    );
    report.bar(
        format!("{label}: sessions that were placed beyond {BOUND} %"),
        beyond,
        "0",
        beyond == 0 && before.len() == BEFORE && placed.len() > BEFORE,
    );
    let new = counts.first().copied().unwrap_or(0);
    report.bar(format!("{label}: sessions on the one that was away"), new, "some", new > 0);
}
