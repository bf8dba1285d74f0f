//! Backends that answer with errors: what is new goes elsewhere, and who is there stays.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_rt::Moment;

use super::{BACKENDS, MOST_EJECTED};
use crate::report::Report;
use crate::rig::backend::Pace;
use crate::rig::{NODES, Rig, RigError};
use crate::scenario::absence::Absence;
use crate::scenario::front::Front;
use crate::scenario::users;
use crate::scenario::visits::{Callers, Calling, Came, KnownAs, Visit, moves};
use crate::scenario::{ScenarioError, Stage};
use crate::statistics::seconds;

/// How long nothing is wrong.
const QUIET: Duration = Duration::from_secs(5);
/// How long the backend answers with errors before the leader dies, and afterwards.
const ILL: Duration = Duration::from_secs(6);
/// How long a node has until it has met five errors in a row.
const UNTIL_EJECTED: Duration = Duration::from_secs(1);
/// How long a backend that is well again may stay ejected: it was not for the first time.
const UNTIL_BACK: Duration = Duration::from_secs(12);
/// How long three of four answer with errors.
const MOST_ILL: Duration = Duration::from_secs(5);
/// How often it is looked at who is ejected.
const LOOK: Duration = Duration::from_millis(100);
/// The most of what is new that an ill backend gets: a fair share is a quarter.
const MOST_NEW: f64 = 0.10;
/// What it gets of it when it is well, at the least.
const LEAST_NEW: f64 = 0.15;

const REGULARS: Callers = Callers {
    name: "regular",
    path: "/",
    known_as: KnownAs::Regular,
    count: 60,
    pause: Duration::from_millis(500),
};

const NEWCOMERS: Callers = Callers {
    name: "newcomer",
    path: "/",
    known_as: KnownAs::Newcomer,
    count: 24,
    pause: Duration::from_millis(150),
};

/// When the backend was ill.
#[derive(Clone, Copy)]
struct Illness {
    began: Moment,
    ended: Moment,
    leader: Absence,
}

pub(super) async fn play(
    stage: &Stage,
    rig: &mut Rig,
    label: &str,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let label = format!("{label}, answering with errors");
    let front = Front::of(stage, rig);
    let names = (0..REGULARS.count).map(|caller| format!("{}-{caller}", REGULARS.name));
    // From before nobody may be ejected.
    tokio::time::sleep(UNTIL_BACK).await;
    users::begin(&front, REGULARS.path, names).await?;
    let regulars = Calling::start(&front, REGULARS);
    let newcomers = Calling::start(&front, NEWCOMERS);
    tokio::time::sleep(QUIET).await;
    let illness = fall_ill(rig).await?;
    tokio::time::sleep(UNTIL_BACK).await;
    let name = rig.backend_names().swap_remove(0);
    let (regulars, newcomers) = (regulars.stop().await?, newcomers.stop().await?);
    judge_regulars(&label, &name, &regulars, illness, report);
    judge_newcomers(&label, &name, &newcomers, illness, report);
    judge_return(&label, &name, &newcomers, illness.ended, report);
    judge_share(&label, most_ejected(stage, rig).await?, report);
    Ok(())
}

/// The first backend answers with errors for a while, in the middle of which the leader dies and comes back.
async fn fall_ill(rig: &mut Rig) -> Result<Illness, ScenarioError> {
    let leader = rig.settle().await?;
    let began = rig.now();
    rig.set_backend_pace(0, Pace::Failing);
    tokio::time::sleep(ILL).await;
    let leader = Absence::of(rig, leader).await?;
    tokio::time::sleep(ILL).await;
    rig.set_backend_pace(0, Pace::Usual);
    Ok(Illness { began, ended: rig.now(), leader })
}

/// The most backends that a node has ejected at once while three of four answer with errors.
async fn most_ejected(stage: &Stage, rig: &mut Rig) -> Result<usize, ScenarioError> {
    for backend in 0..BACKENDS - 1 {
        rig.set_backend_pace(backend, Pace::Failing);
    }
    let newcomers = Calling::start(&Front::of(stage, rig), NEWCOMERS);
    let until = rig.now() + MOST_ILL;
    let mut most = 0;
    while rig.now() < until {
        let ejections = rig.admin(0).ejections().await.map_err(RigError::from)?;
        let by = |node: u64| ejections.iter().filter(|(_, nodes)| nodes.contains(&node)).count();
        most = most.max((1..=NODES as u64).map(by).max().unwrap_or(0));
        tokio::time::sleep(LOOK).await;
    }
    newcomers.stop().await?;
    for backend in 0..BACKENDS - 1 {
        rig.set_backend_pace(backend, Pace::Usual);
    }
    Ok(most)
}

fn judge_share(label: &str, most: usize, report: &mut Report) {
    let what = format!("{label}: most backends that a node has ejected at once, while three of four do");
    report.bar(what, most, format!("{MOST_EJECTED}, a share of 30 % of {BACKENDS}"), most == MOST_EJECTED);
}

/// A session stays at its backend, well or ill, by the epoch that it has.
fn judge_regulars(label: &str, ill: &str, visits: &[Visit], illness: Illness, report: &mut Report) {
    report.figure(format!("{label}: requests of sessions"), visits.len());
    let failed = visits.iter().filter(|visit| matches!(visit.came, Came::Failed { .. })).count();
    report.bar(
        format!("{label}: of these, answered with an error by their backend"),
        failed,
        "some",
        failed > 0,
    );
    let (mut faults, most) = moves(visits);
    report.bar(format!("{label}: most moves of a session"), most, "0", most == 0);
    for visit in visits {
        let is_ill = visit.ended >= illness.began && visit.began <= illness.ended;
        let fine = match &visit.came {
            Came::Served { .. } => true,
            Came::Failed { backend, .. } => backend == ill && is_ill,
            Came::Refused { .. } | Came::Lost(_) => illness.excuses(visit),
        };
        if !fine {
            faults.push(format!("{visit:?}"));
        }
    }
    report.bar(
        format!("{label}: requests of sessions that ended otherwise"),
        faults.len(),
        "0",
        faults.is_empty(),
    );
    report.faults(faults.iter().map(|fault| format!("{label}: {fault}")));
}

impl Illness {
    fn excuses(&self, visit: &Visit) -> bool {
        self.leader.excuses(visit.node, visit.began, visit.ended)
            || self.leader.had_no_leader(visit.began, visit.ended)
    }
}

/// What is new goes to the others, apart from what finds out that it is still ill.
fn judge_newcomers(label: &str, ill: &str, visits: &[Visit], illness: Illness, report: &mut Report) {
    let share = |from: Moment, to: Moment| {
        let answered = || visits.iter().filter(|visit| visit.began >= from && visit.began <= to);
        let answered = || answered().filter_map(Visit::backend);
        let at_it = answered().filter(|backend| *backend == ill).count();
        (at_it as f64 / answered().count().max(1) as f64, answered().count())
    };
    let first = visits.iter().map(|visit| visit.began).min().unwrap_or(illness.began);
    let (well, all) = share(first, illness.began);
    report.bar(
        format!("{label}: share of {all} new sessions that it gets when it is well"),
        format!("{:.1} %", well * 100.0),
        format!("{:.0} % at least", LEAST_NEW * 100.0),
        well >= LEAST_NEW,
    );
    let (worse, all) = share(illness.began + UNTIL_EJECTED, illness.ended);
    report.bar(
        format!("{label}: share of {all} new sessions that it gets when it is ill"),
        format!("{:.1} %", worse * 100.0),
        format!("{:.0} % at most", MOST_NEW * 100.0),
        all > 0 && worse <= MOST_NEW,
    );
    let odd: Vec<_> = visits
        .iter()
        .filter(|visit| matches!(visit.came, Came::Refused { .. } | Came::Lost(_)) && !illness.excuses(visit))
        .collect();
    report.bar(format!("{label}: new sessions that no backend answered"), odd.len(), "0", odd.is_empty());
    report.faults(odd.iter().map(|visit| format!("{label}: {visit:?}")));
}

/// When it is well again it gets what is new, through every node.
fn judge_return(label: &str, ill: &str, visits: &[Visit], well_again: Moment, report: &mut Report) {
    let mut back: BTreeMap<usize, Duration> = BTreeMap::new();
    for visit in visits.iter().filter(|visit| visit.began >= well_again && visit.backend() == Some(ill)) {
        let after = visit.began.since(well_again);
        back.entry(visit.node).and_modify(|first| *first = after.min(*first)).or_insert(after);
    }
    let last = back.values().max().copied().unwrap_or_default();
    report.bar(
        format!(
            "{label}: nodes through which it gets new sessions when it is well again, the last one after"
        ),
        format!("{}, {}", back.len(), seconds(last)),
        format!("{NODES}, {}", seconds(UNTIL_BACK)),
        back.len() == NODES && last <= UNTIL_BACK,
    );
}

#[cfg(test)]
mod tests {
    use super::super::super::visits::tests::{served, visit};
    use super::*;

    fn illness() -> Illness {
        let at = |second| Moment(Duration::from_secs(second));
        let leader = Absence { node: 2, killed: at(16), restarted: at(17), ready: at(18) };
        Illness { began: at(10), ended: at(25), leader }
    }

    fn failed(backend: &str) -> Came {
        Came::Failed { backend: backend.to_owned(), epoch: 1 }
    }

    fn held(judge: impl FnOnce(&mut Report)) -> bool {
        let mut report = Report::default();
        judge(&mut report);
        report.held()
    }

    #[test]
    fn a_session_that_leaves_its_ill_backend_or_is_failed_by_a_well_one_is_a_failure() {
        let of = |second: Visit| {
            let visits = [visit(0, (12_000, 12_001), failed("ill")), second];
            held(|report| judge_regulars("r", "ill", &visits, illness(), report))
        };
        assert!(of(visit(0, (13_000, 13_001), failed("ill"))));
        assert!(!of(visit(0, (13_000, 13_001), served("other", 2))));
        assert!(!of(visit(1, (13_000, 13_001), failed("other"))));
        assert!(!of(visit(0, (30_000, 30_001), failed("ill"))), "it is well again");
    }

    #[test]
    fn an_ill_backend_that_gets_its_fair_share_of_what_is_new_is_a_failure() {
        let visits = |at_ill: u64| -> Vec<Visit> {
            let well =
                (0..100).map(|at| visit(0, (at, at + 1), served(if at % 4 == 0 { "ill" } else { "b" }, 1)));
            let ill = (0..100).map(|number| {
                let came = if number < at_ill { failed("ill") } else { served("b", 1) };
                visit(0, (12_000 + number, 12_001 + number), came)
            });
            well.chain(ill).collect()
        };
        assert!(held(|report| judge_newcomers("r", "ill", &visits(5), illness(), report)));
        assert!(!held(|report| judge_newcomers("r", "ill", &visits(25), illness(), report)));
    }

    #[test]
    fn a_backend_that_stays_ejected_on_a_node_is_a_failure() {
        let at = |node: usize| Visit { node, ..visit(0, (30_000, 30_001), served("ill", 1)) };
        let of = |visits: &[Visit]| held(|report| judge_return("r", "ill", visits, illness().ended, report));
        assert!(of(&[at(0), at(1), at(2)]));
        assert!(!of(&[at(0), at(1)]));
    }
}
