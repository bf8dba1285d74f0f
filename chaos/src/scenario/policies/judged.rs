//! Whether clients saw what the policy of their affinity says. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stickler_rt::Moment;

use crate::report::Report;
use crate::scenario::visits::{Came, Visit};
use crate::statistics::milliseconds;

/// How long after its death requests to it may fail, until a majority has found it down.
const UNTIL_DOWN: Duration = Duration::from_secs(2);
/// A client that waits longer than this for an answer was held.
const HELD: Duration = Duration::from_secs(1);

/// What sessions do whose backend is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// They go elsewhere.
    Rebind,
    /// They wait for it.
    Wait,
    /// They are refused until it is back.
    Reject,
    /// They are sent to another site until it is back.
    Redirect,
}

/// A backend's death and new life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) began: Moment,
    /// When it was started again.
    pub(super) started: Moment,
    /// When all nodes knew of its new life.
    pub(super) known: Moment,
}

/// The epoch by which each client was at this backend right before.
fn concerned(backend: &str, visits: &[Visit], outage: Outage) -> BTreeMap<usize, u64> {
    let mut last: BTreeMap<usize, (u64, &str)> = BTreeMap::new();
    for visit in visits.iter().filter(|visit| visit.ended < outage.began) {
        if let Some(place) = visit.place() {
            last.insert(visit.caller, place);
        }
    }
    last.into_iter()
        .filter(|(_, (_, at))| *at == backend)
        .map(|(caller, (epoch, _))| (caller, epoch))
        .collect()
}

/// Judges one outage. What happened after the next one's beginning is not looked at there: `known` ends what is.
pub(super) fn judge(
    label: &str,
    policy: Policy,
    backend: &str,
    visits: &[Visit],
    outage: Outage,
    report: &mut Report,
) {
    let concerned = concerned(backend, visits, outage);
    report.bar(
        format!("{label}: clients whose backend it was"),
        concerned.len(),
        "some",
        !concerned.is_empty(),
    );
    judge_routes(label, backend, visits, (outage, &concerned), report);
    // Under way at some time at which it was down for all: those that are held began before.
    let away = |visit: &&Visit| {
        let (from, to) = (outage.began, outage.started);
        visit.began >= from && visit.began < to && visit.ended >= from + UNTIL_DOWN
    };
    let of_them: Vec<&Visit> = visits.iter().filter(|visit| concerned.contains_key(&visit.caller)).collect();
    let meanwhile: Vec<&Visit> = of_them.iter().copied().filter(away).collect();
    let wrong = meanwhile.iter().filter(|visit| !is_as_said(policy, backend, visit)).count();
    if outage.started.since(outage.began) > UNTIL_DOWN {
        let asked = meanwhile.len();
        report.bar(
            format!(
                "{label}: of their {asked} requests meanwhile, those that ended otherwise than they should"
            ),
            wrong,
            "0",
            wrong == 0 && asked > 0,
        );
    }
    judge_told(label, policy, &of_them, (outage, &concerned), report);
    if policy == Policy::Wait && outage.started.since(outage.began) > UNTIL_DOWN {
        let longest = meanwhile.iter().map(|visit| visit.took()).max().unwrap_or_default();
        let what = format!("{label}: longest that one was held");
        report.bar(what, milliseconds(longest), format!("{} at least", milliseconds(HELD)), longest >= HELD);
    }
}

/// Whether a request that came while the backend was down for all got what its policy says.
fn is_as_said(policy: Policy, backend: &str, visit: &Visit) -> bool {
    match (policy, &visit.came) {
        (Policy::Rebind, Came::Served { backend: at, .. }) => at != backend,
        (Policy::Wait, Came::Served { backend: at, .. }) => at == backend,
        (Policy::Reject, Came::Refused { status, error, retry_after }) => {
            (*status, error.as_str(), *retry_after) == (503, "backend-gone", true)
        }
        (Policy::Redirect, Came::Refused { status, error, .. }) => {
            (*status, error.as_str()) == (302, "backend-gone")
        }
        _ => false,
    }
}

/// Nobody is there by an epoch from before once its new life is known, and whose backend it was not notices nothing.
fn judge_routes(
    label: &str,
    backend: &str,
    visits: &[Visit],
    (outage, concerned): (Outage, &BTreeMap<usize, u64>),
    report: &mut Report,
) {
    let forgotten = concerned.values().max().copied().unwrap_or(0);
    let stale: Vec<&Visit> = visits
        .iter()
        .filter(|visit| visit.began >= outage.known)
        .filter(|visit| visit.place().is_some_and(|(epoch, at)| at == backend && epoch <= forgotten))
        .filter(|visit| {
            concerned.get(&visit.caller).is_some_and(|before| visit.place().map(|at| at.0) == Some(*before))
        })
        .collect();
    let what = format!("{label}: requests there by an epoch that it has forgotten");
    report.bar(what, stale.len(), "0", stale.is_empty());
    report.faults(stale.iter().map(|visit| format!("{label}: {visit:?}")));
    let bystanders: Vec<&Visit> = visits
        .iter()
        .filter(|visit| visit.ended >= outage.began && visit.began <= outage.known)
        .filter(|visit| !concerned.contains_key(&visit.caller) && !matches!(visit.came, Came::Served { .. }))
        .collect();
    let what = format!("{label}: requests of others that were not served");
    report.bar(what, bystanders.len(), "0", bystanders.is_empty());
    report.faults(bystanders.iter().map(|visit| format!("{label}: {visit:?}")));
}

/// Who may not go elsewhere is told once that the session is lost, and nobody else is.
fn judge_told(
    label: &str,
    policy: Policy,
    of_them: &[&Visit],
    (outage, concerned): (Outage, &BTreeMap<usize, u64>),
    report: &mut Report,
) {
    let mut told: BTreeMap<usize, usize> = BTreeMap::new();
    let lost = |visit: &&&Visit| visit.is_refused_by("session-lost") && visit.began >= outage.started;
    for visit in of_them.iter().filter(lost).filter(|visit| visit.began < outage.known + UNTIL_DOWN) {
        *told.entry(visit.caller).or_default() += 1;
    }
    let is_told = matches!(policy, Policy::Reject | Policy::Redirect);
    let once: BTreeSet<usize> =
        told.iter().filter(|(_, times)| **times == 1).map(|(caller, _)| *caller).collect();
    let expected = if is_told { concerned.len() } else { 0 };
    report.bar(
        format!("{label}: of them, told once that their session is lost, and more often"),
        format!("{} and {}", once.len(), told.len() - once.len()),
        format!("{expected} and 0"),
        once.len() == expected && told.len() == expected,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::visits::tests::{refused, served, visit};

    fn outage() -> Outage {
        let at = |second| Moment(Duration::from_secs(second));
        Outage { began: at(10), started: at(14), known: at(15) }
    }

    fn held(policy: Policy, others: &[Visit]) -> bool {
        let mut visits =
            vec![visit(0, (9_000, 9_001), served("web-1", 5)), visit(1, (9_000, 9_001), served("web-2", 6))];
        visits.extend_from_slice(others);
        let mut report = Report::default();
        judge("r", policy, "web-1", &visits, outage(), &mut report);
        report.held()
    }

    #[test]
    fn each_policy_has_its_own_answer_while_the_backend_is_down() {
        let elsewhere = visit(0, (13_000, 13_001), served("web-2", 9));
        assert!(held(Policy::Rebind, std::slice::from_ref(&elsewhere)));
        let waited = visit(0, (10_500, 14_500), served("web-1", 9));
        assert!(held(Policy::Wait, std::slice::from_ref(&waited)));
        assert!(!held(Policy::Wait, std::slice::from_ref(&elsewhere)), "it went elsewhere");
        assert!(!held(Policy::Rebind, &[waited]), "it waited");
        let lost = visit(0, (15_500, 15_501), refused(503, "session-lost", true));
        let gone = visit(0, (13_000, 13_001), refused(503, "backend-gone", true));
        assert!(held(Policy::Reject, &[gone.clone(), lost.clone()]));
        assert!(
            !held(Policy::Reject, std::slice::from_ref(&gone)),
            "it is not told that its session is lost"
        );
        assert!(!held(Policy::Reject, &[gone.clone(), lost.clone(), lost.clone()]), "it is told twice");
        let moved = visit(0, (13_000, 13_001), refused(302, "backend-gone", false));
        assert!(held(Policy::Redirect, &[moved, lost.clone()]));
        assert!(!held(Policy::Redirect, &[gone, lost]), "it is refused");
    }

    #[test]
    fn a_request_by_a_forgotten_epoch_and_a_bystander_who_notices_are_failures() {
        let fine = visit(0, (13_000, 13_001), served("web-2", 9));
        let stale = visit(0, (16_000, 16_001), served("web-1", 5));
        assert!(!held(Policy::Rebind, &[fine.clone(), stale]));
        let bystander = visit(1, (13_000, 13_001), refused(503, "backend-gone", true));
        assert!(!held(Policy::Rebind, &[fine, bystander]));
    }
}
