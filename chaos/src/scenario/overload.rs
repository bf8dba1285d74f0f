//! More requests than the backends may have: who waits, who is served, and who is told to come again.

use std::time::Duration;

use stickler_rt::Moment;

use super::absence::Absence;
use super::front::Front;
use super::routing::report_witness;
use super::users::{self, BY_HEADER};
use super::visits::{Callers, Calling, Came, KnownAs, Visit, moves};
use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::backend::Pace;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{NODES, Rig, Setting};
use crate::statistics::{Durations, milliseconds};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "overload",
    proves: "no backend ever has more requests than it may, and a crowd without sessions keeps nobody out who has one, \
             through the deaths of the leader and of a backend",
    rounds: 2,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

const BACKENDS: usize = 3;
/// Requests that each node may have in flight to a backend.
const MAX_REQUESTS: usize = 3;
/// How long a backend takes for a request: each serves some 60 a second.
const SLOW: Duration = Duration::from_millis(150);
/// The longest that a request waits.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// How much later that is noticed at the most, of 95 in 100.
const LATE: Duration = Duration::from_millis(500);
const POOL: &str = "queue_timeout = \"2s\"\nmax_queue = 20";
/// How long the crowd is there before something dies, and afterwards.
const SPELL: Duration = Duration::from_secs(5);
/// How long a backend is away.
const BACKEND_AWAY: Duration = Duration::from_secs(3);
/// How long after its death its requests may fail: until a majority has found it down.
const UNTIL_DOWN: Duration = Duration::from_secs(2);
/// How a node refuses what must wait and can't.
const NO_ROOM: [&str; 2] = ["queue-full", "queue-timeout"];

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

/// Clients with sessions: half of what the backends can do.
const REGULARS: Callers = Callers {
    name: "regular",
    path: "/",
    known_as: KnownAs::Regular,
    count: 60,
    pause: Duration::from_millis(500),
};

/// Clients without, who may not all be in flight or in a queue at the same time.
const CROWD: Callers = Callers {
    name: "crowd",
    path: "/open",
    known_as: KnownAs::Nobody,
    count: 270,
    pause: Duration::from_millis(150),
};

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        let stage = stage.apart(&format!("round {round}"));
        play(&stage, &format!("round {round}"), &mut report).await?;
    }
    Ok(report)
}

/// What was done meanwhile.
struct Deaths {
    leader: Absence,
    /// The backend's name, and when it died and was there again.
    backend: (String, Moment, Moment),
}

async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let max_requests = format!("max_requests = {MAX_REQUESTS}");
    let document = Document::of(&[DOOR]).with_open_route(CROWD.path).with_pool(POOL, &max_requests, "");
    let mut rig = Rig::start_with(stage, &Setting { document, ..Setting::plain(BACKENDS) }).await?;
    let front = Front::of(stage, &rig);
    let names = (0..REGULARS.count).map(|caller| format!("{}-{caller}", REGULARS.name));
    users::begin(&front, DOOR.path_prefix, names).await?;
    for backend in 0..BACKENDS {
        rig.set_backend_pace(backend, Pace::Slow(SLOW));
    }
    let regulars = Calling::start(&front, REGULARS);
    let crowd = Calling::start(&front, CROWD);
    tokio::time::sleep(SPELL).await;
    let deaths = let_die(&mut rig).await?;
    tokio::time::sleep(SPELL).await;
    let (regulars, crowd) = (regulars.stop().await?, crowd.stop().await?);
    rig.settle().await?;

    let limit = MAX_REQUESTS * NODES;
    for (backend, name) in rig.backend_names().iter().enumerate() {
        let most = rig.occupancy(backend).most();
        let what = format!("{label}: most requests at once at {name}");
        report.bar(what, most, format!("{limit} at most, and reached"), most == limit);
    }
    judge_regulars(label, &regulars, &deaths, report);
    judge_crowd(label, &crowd, &deaths, report);
    judge_waits(label, &regulars, &crowd, report);
    report_witness(&rig, report);
    Ok(())
}

/// The leader dies and comes back; then a backend.
async fn let_die(rig: &mut Rig) -> Result<Deaths, ScenarioError> {
    let place = rig.settle().await?;
    let leader = Absence::of(rig, place).await?;
    tokio::time::sleep(SPELL).await;
    let name = rig.backend_names().swap_remove(0);
    let died = rig.now();
    rig.kill_backend(0).await;
    tokio::time::sleep(BACKEND_AWAY).await;
    rig.start_backend(0).await?;
    rig.set_backend_pace(0, Pace::Slow(SLOW));
    Ok(Deaths { leader, backend: (name, died, rig.now()) })
}

impl Deaths {
    /// Whether a request met one of the deaths: a node that was away, a cluster without a leader, or a dead backend.
    fn excuse(&self, visit: &Visit) -> bool {
        let (_, died, _) = self.backend;
        self.leader.excuses(visit.node, visit.began, visit.ended)
            || self.leader.had_no_leader(visit.began, visit.ended)
            || (visit.ended >= died && visit.began <= died + UNTIL_DOWN)
    }
}

fn is_served(visit: &Visit) -> bool {
    matches!(visit.came, Came::Served { .. })
}

fn has_no_room(visit: &Visit) -> bool {
    NO_ROOM.iter().any(|name| visit.is_refused_by(name))
}

/// Who has a session is never told that there is no room, and stays where it is unless that dies.
fn judge_regulars(label: &str, visits: &[Visit], deaths: &Deaths, report: &mut Report) {
    report.figure(format!("{label}: requests of sessions"), visits.len());
    let no_room = visits.iter().filter(|visit| has_no_room(visit)).count();
    report.bar(format!("{label}: of these, refused for want of room"), no_room, "0", no_room == 0);
    let missed: Vec<&Visit> = visits.iter().filter(|visit| !is_served(visit)).collect();
    report.figure(format!("{label}: of these, not served by the node that was asked first"), missed.len());
    let odd: Vec<_> =
        missed.into_iter().filter(|visit| !has_no_room(visit) && !deaths.excuse(visit)).collect();
    report.bar(format!("{label}: of these, without a death to excuse it"), odd.len(), "0", odd.is_empty());
    report.faults(odd.iter().map(|visit| format!("{label}: a request of a session: {visit:?}")));
    let (faults, most) = moves(visits);
    report.bar(format!("{label}: most moves of a session"), most, "1, when its backend died", most <= 1);
    report.faults(faults.iter().map(|fault| format!("{label}: {fault}")));
}

/// Whoever is not served is told why, and when to come again.
fn judge_crowd(label: &str, visits: &[Visit], deaths: &Deaths, report: &mut Report) {
    report.figure(format!("{label}: requests of the crowd"), visits.len());
    let served = visits.iter().filter(|visit| is_served(visit)).count();
    report.bar(format!("{label}: of these, served"), served, "some", served > 0);
    for name in NO_ROOM {
        let refused = visits.iter().filter(|visit| visit.is_refused_by(name)).count();
        report.bar(format!("{label}: of these, {name}"), refused, "some", refused > 0);
    }
    let told = |visit: &Visit| match &visit.came {
        Came::Refused { retry_after, .. } => has_no_room(visit) && *retry_after,
        Came::Served { .. } | Came::Failed { .. } | Came::Lost(_) => false,
    };
    let odd: Vec<_> =
        visits.iter().filter(|visit| !is_served(visit) && !told(visit) && !deaths.excuse(visit)).collect();
    report.bar(format!("{label}: of these, answered otherwise"), odd.len(), "0", odd.is_empty());
    report.faults(odd.iter().map(|visit| format!("{label}: a request of the crowd: {visit:?}")));
}

/// Nobody waits longer than the queue's time, and sessions go first.
fn judge_waits(label: &str, regulars: &[Visit], crowd: &[Visit], report: &mut Report) {
    let in_vain: Durations =
        crowd.iter().filter(|visit| visit.is_refused_by(NO_ROOM[1])).map(Visit::took).collect();
    let (first, late) = (in_vain.quantile(0.0), in_vain.quantile(0.95));
    report.bar(
        format!("{label}: how long the crowd waited in vain, shortest and 95th percentile"),
        format!("{} and {}", milliseconds(first), milliseconds(late)),
        format!("{} to {}", milliseconds(QUEUE_TIMEOUT), milliseconds(QUEUE_TIMEOUT + LATE)),
        first >= QUEUE_TIMEOUT && late <= QUEUE_TIMEOUT + LATE,
    );
    let of = |visits: &[Visit]| -> Durations {
        visits.iter().filter(|visit| is_served(visit)).map(Visit::took).collect()
    };
    let (sessions, others) = (of(regulars).quantile(0.9), of(crowd).median());
    report.bar(
        format!("{label}: how long 90 of 100 requests of sessions took"),
        milliseconds(sessions),
        format!("less than the median of the crowd's, {}", milliseconds(others)),
        sessions < others,
    );
}

#[cfg(test)]
mod tests {
    use super::super::visits::tests::{refused, served, visit};
    use super::*;

    fn deaths() -> Deaths {
        let at = |second| Moment(Duration::from_secs(second));
        let leader = Absence { node: 1, killed: at(10), restarted: at(11), ready: at(12) };
        Deaths { leader, backend: ("web-1".to_owned(), at(20), at(23)) }
    }

    fn held(judge: impl FnOnce(&mut Report)) -> bool {
        let mut report = Report::default();
        judge(&mut report);
        report.held()
    }

    #[test]
    fn a_session_that_is_refused_for_want_of_room_is_a_failure_whatever_died() {
        let of =
            |came| held(|report| judge_regulars("r", &[visit(0, (20_100, 20_200), came)], &deaths(), report));
        assert!(of(served("a", 1)));
        assert!(of(refused(503, "no-quorum", false)), "a backend had just died");
        assert!(!of(refused(503, "queue-full", true)));
        assert!(!of(refused(503, "queue-timeout", true)));
    }

    #[test]
    fn what_nothing_excuses_is_a_failure() {
        let at = |from, came| {
            held(|report| judge_regulars("r", &[visit(0, (from, from + 9), came)], &deaths(), report))
        };
        assert!(at(10_500, Came::Lost(String::new())));
        assert!(!at(15_000, Came::Lost(String::new())));
        assert!(!at(25_000, Came::Failed { backend: "a".to_owned(), epoch: 1 }));
    }

    #[test]
    fn the_crowd_is_told_when_to_come_again() {
        let fine = [
            visit(0, (0, 9), served("a", 0)),
            visit(1, (0, 9), refused(503, "queue-full", true)),
            visit(2, (0, 2009), refused(503, "queue-timeout", true)),
        ];
        assert!(held(|report| judge_crowd("r", &fine, &deaths(), report)));
        let mut silent = fine.to_vec();
        silent.push(visit(3, (0, 9), refused(503, "queue-full", false)));
        assert!(!held(|report| judge_crowd("r", &silent, &deaths(), report)));
        assert!(!held(|report| judge_crowd("r", &fine[..2], &deaths(), report)), "nobody has waited in vain");
    }

    #[test]
    fn sessions_that_wait_as_long_as_the_crowd_are_a_failure() {
        let crowd =
            [visit(0, (0, 900), served("a", 0)), visit(1, (0, 2100), refused(503, "queue-timeout", true))];
        let regular = |took| [visit(0, (0, took), served("a", 1))];
        assert!(held(|report| judge_waits("r", &regular(300), &crowd, report)));
        assert!(!held(|report| judge_waits("r", &regular(900), &crowd, report)));
        let early = [crowd[0].clone(), visit(1, (0, 1500), refused(503, "queue-timeout", true))];
        assert!(!held(|report| judge_waits("r", &regular(300), &early, report)));
    }
}
