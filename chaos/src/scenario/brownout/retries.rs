//! Backends that break off: requests that may be sent again are, as far as the budget goes.

use std::time::Duration;

use super::{BACKENDS, PASSERS};
use crate::report::Report;
use crate::rig::backend::Pace;
use crate::rig::{NODES, Rig};
use crate::scenario::front::Front;
use crate::scenario::visits::{Callers, Calling, Came, Visit};
use crate::scenario::{ScenarioError, Stage};

/// How long one backend breaks off.
const ONE: Duration = Duration::from_secs(4);
/// How long all do: so long that a node's budget is not just its floor.
const ALL: Duration = Duration::from_secs(8);
/// The share of its requests that a node may send again, and how many in any case.
const BUDGET: f64 = 0.20;
const FLOOR: usize = 100;
/// Connections that were idle when all began to break off: what they swallow is sent again without a budget.
const IDLE: usize = 100;

/// Without a budget they would be three times as many at the backends.
const STORM: Callers = Callers { count: 60, pause: Duration::from_millis(40), ..PASSERS };

pub(super) async fn play(
    stage: &Stage,
    rig: &mut Rig,
    label: &str,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let label = format!("{label}, breaking off");
    let front = Front::of(stage, rig);
    let passers = Calling::start(&front, PASSERS);
    rig.set_backend_pace(0, Pace::BreakingOff);
    tokio::time::sleep(ONE).await;
    rig.set_backend_pace(0, Pace::Usual);
    let passers = passers.stop().await?;
    judge_one(&label, &passers, rig.occupancy(0).all(), report);

    for backend in 0..BACKENDS {
        rig.set_backend_pace(backend, Pace::BreakingOff);
    }
    let came = |rig: &Rig| (0..BACKENDS).map(|backend| rig.occupancy(backend).all()).sum::<usize>();
    let before = came(rig);
    let storm = Calling::start(&front, STORM);
    tokio::time::sleep(ALL).await;
    let asked = storm.stop().await?.len();
    judge_all(&label, (passers.len(), asked), came(rig) - before, report);
    for backend in 0..BACKENDS {
        rig.set_backend_pace(backend, Pace::Usual);
    }
    Ok(())
}

/// Nobody notices one that breaks off.
fn judge_one(label: &str, visits: &[Visit], broken_off: usize, report: &mut Report) {
    report.figure(format!("{label}: requests without a session"), visits.len());
    report.bar(format!("{label}: of these, broken off by a backend"), broken_off, "some", broken_off > 0);
    let missed: Vec<_> = visits.iter().filter(|visit| !matches!(visit.came, Came::Served { .. })).collect();
    report.bar(format!("{label}: of these, not served"), missed.len(), "0", missed.is_empty());
    report.faults(missed.iter().map(|visit| format!("{label}: {visit:?}")));
}

/// Where all break off, retries stay within their budget, for which the requests right before count, too.
fn judge_all(label: &str, (before, asked): (usize, usize), came: usize, report: &mut Report) {
    let most = asked + ((before + asked) as f64 * BUDGET) as usize + FLOOR * NODES + IDLE;
    report.figure(format!("{label}: requests while all backends do"), asked);
    report.bar(
        format!("{label}: of these, at backends, retries included"),
        came,
        format!("{asked} to {most}"),
        came >= asked && came <= most && most < asked * 2,
    );
}

#[cfg(test)]
mod tests {
    use super::super::super::visits::tests::{served, visit};
    use super::*;

    fn held(judge: impl FnOnce(&mut Report)) -> bool {
        let mut report = Report::default();
        judge(&mut report);
        report.held()
    }

    #[test]
    fn a_request_that_is_not_served_is_a_failure_and_so_is_a_backend_that_breaks_nothing_off() {
        let fine = [visit(0, (0, 1), served("a", 0))];
        assert!(held(|report| judge_one("r", &fine, 1, report)));
        assert!(!held(|report| judge_one("r", &fine, 0, report)));
        let missed = [visit(0, (0, 1), Came::Lost("502".to_owned()))];
        assert!(!held(|report| judge_one("r", &missed, 1, report)));
    }

    #[test]
    fn a_storm_of_retries_is_a_failure() {
        assert!(held(|report| judge_all("r", (500, 10_000), 12_400, report)));
        assert!(!held(|report| judge_all("r", (500, 10_000), 12_600, report)));
        assert!(!held(|report| judge_all("r", (500, 10_000), 9_999, report)), "not all came");
        assert!(!held(|report| judge_all("r", (0, 300), 600, report)), "too few to tell");
    }
}
