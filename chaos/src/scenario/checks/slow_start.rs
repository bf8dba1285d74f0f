//! A backend that comes up gets its share of what is new little by little; a node that is started again goes on where the
//! others are.

use std::time::Duration;

use rand::Rng;
use stickler_rt::Moment;

use super::shares::{Balance, SlowStart, between, judge_growing, judge_telling, judge_whole, spell};
use super::{BACKENDS, DOOR};
use crate::report::Report;
use crate::rig::document::Document;
use crate::rig::{NODES, Rig, Setting};
use crate::scenario::absence::Absence;
use crate::scenario::front::Front;
use crate::scenario::routing::report_witness;
use crate::scenario::verdicts::Watch;
use crate::scenario::visits::{Callers, Calling, KnownAs, Visit};
use crate::scenario::{ScenarioError, Stage};

/// As long as the pool's document says.
const SLOW_START: Duration = Duration::from_secs(20);
/// New sessions are counted in spells of this length, in the first of which a share is far from whole.
const SPELL: Duration = Duration::from_millis(2500);
/// Spells of a slow start.
const SPELLS: u32 = 8;
/// How long they are counted when every share is whole.
const WHOLE: Duration = Duration::from_secs(5);
/// How long a node is looked at before others, when it is there again.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Clients without sessions: some 500 a second.
const NEWCOMERS: Callers = Callers {
    name: "newcomer",
    path: DOOR.path_prefix,
    known_as: KnownAs::Newcomer,
    count: 60,
    pause: Duration::from_millis(100),
};

/// What was done, and when.
struct Course {
    slow_start: SlowStart,
    /// When the backend was killed, and when all nodes had it down.
    killed: Moment,
    down: Moment,
    /// A node that dies while the share grows, and again when it is whole.
    growing: Absence,
    whole: Absence,
}

pub(super) async fn play(
    stage: &Stage,
    label: &str,
    balance: Balance,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let label = format!("{label}, {}", balance.name());
    let options = format!("slow_start = \"{}s\"\nbalance = \"{}\"", SLOW_START.as_secs(), balance.name());
    let document = Document::of(&[DOOR]).with_pool(&options, "", "");
    let mut rig = Rig::start_with(stage, &Setting { document, ..Setting::plain(BACKENDS) }).await?;
    let names = rig.backend_names();
    let slow = stage.seed.child("backend").rng().random_range(0..BACKENDS);
    until_whole(&mut rig).await?;
    let newcomers = Calling::start(&Front::of(stage, &rig), NEWCOMERS);
    let course = run_course(stage, &mut rig, slow, balance).await?;
    let visits = newcomers.stop().await?;
    rig.settle().await?;

    judge_spells(&label, &names[slow], &visits, &course, report);
    judge_node_meanwhile(&label, &names[slow], &visits, &course, report);
    judge_node_afterwards(&label, &names, &visits, &course, report);
    judge_answers(&label, &visits, &course, report);
    report_witness(&rig, report);
    Ok(())
}

/// Waits until every backend has had its own slow start, so that their shares are whole.
async fn until_whole(rig: &mut Rig) -> Result<(), ScenarioError> {
    rig.until("every backend has its whole share", async |rig| {
        let backends = rig.admin(0).backends().await.map_err(|error| error.to_string())?;
        let since: Vec<u64> = backends.iter().map(|backend| backend.health_milliseconds).collect();
        let whole = since.iter().all(|since| u128::from(*since) >= SLOW_START.as_millis());
        if whole { Ok(()) } else { Err(format!("up for {since:?} ms")) }
    })
    .await?;
    Ok(())
}

async fn run_course(
    stage: &Stage,
    rig: &mut Rig,
    slow: usize,
    balance: Balance,
) -> Result<Course, ScenarioError> {
    // Not the leader: what passes without one may not count as time.
    let node = rig.settle().await? + stage.seed.child("node").rng().random_range(1..NODES);
    let node = node % NODES;
    let name = rig.backend_names().swap_remove(slow);
    let mut watch = Watch::start(rig, &stage.outside.clock, &name);
    watch.until_all("up").await?;
    let killed = rig.now();
    rig.kill_backend(slow).await;
    let down = watch.until_all("down").await?;
    let started = rig.now();
    rig.start_backend(slow).await?;
    let up = watch.until_all("up").await?;
    watch.stop().await?;
    let slow_start = SlowStart { balance, others: BACKENDS - 1, lasts: SLOW_START, started, up };
    let growing = Absence::of(rig, node).await?;
    tokio::time::sleep((slow_start.ends() + WHOLE).since(rig.now())).await;
    let whole = Absence::of(rig, node).await?;
    tokio::time::sleep(WHOLE).await;
    Ok(Course { slow_start, killed, down, growing, whole })
}

/// Through all nodes together its part grows, spell by spell, until it is whole.
fn judge_spells(label: &str, name: &str, visits: &[Visit], course: &Course, report: &mut Report) {
    let slow_start = &course.slow_start;
    for number in 0..SPELLS {
        let (from, to) = (slow_start.up + SPELL * number, slow_start.up + SPELL * (number + 1));
        let (what, visits) = (format!("{label}, {}", spell(slow_start, from, to)), between(visits, from, to));
        if number == 0 {
            judge_telling(&what, slow_start, &visits, report);
        }
        judge_growing(&what, name, slow_start, &visits, report);
    }
    let (from, to) = (slow_start.ends(), slow_start.ends() + WHOLE);
    let what = format!("{label}, {}", spell(slow_start, from, to));
    judge_growing(&what, name, slow_start, &between(visits, from, to), report);
}

/// Through the node that was started again its part is what it is through the others. Had all backends begun anew there,
/// each would have the same part; by two choices that is hardly too much by then, by rendezvous it is far too much.
fn judge_node_meanwhile(label: &str, name: &str, visits: &[Visit], course: &Course, report: &mut Report) {
    let (slow_start, absence) = (&course.slow_start, &course.growing);
    let (from, to) = (absence.restarted, slow_start.up + SPELL * 2);
    let visits: Vec<&Visit> =
        between(visits, from, to).into_iter().filter(|visit| visit.node == absence.node).collect();
    let ready = spell(slow_start, absence.ready, to);
    let what = format!("{label}, through node {}, which was started again, {ready}", absence.node + 1);
    judge_growing(&what, name, slow_start, &visits, report);
}

/// A node that was started again when all shares were whole gives each backend its part, from its first answer on. One
/// that had begun anew there would get next to nothing.
fn judge_node_afterwards(
    label: &str,
    names: &[String],
    visits: &[Visit],
    course: &Course,
    report: &mut Report,
) {
    let absence = &course.whole;
    let until = absence.ready + WHOLE;
    let visits: Vec<&Visit> = between(visits, absence.restarted, until)
        .into_iter()
        .filter(|visit| visit.node == absence.node)
        .collect();
    let Some(first) = visits.iter().map(|visit| visit.ended).min() else {
        report.fault(format!("{label}: node {} served nobody when it was started again", absence.node + 1));
        return;
    };
    let at_once: Vec<&Visit> = visits.iter().copied().filter(|visit| visit.ended < first + AT_ONCE).collect();
    let what =
        format!("{label}, through node {}, which was started again when all are whole", absence.node + 1);
    judge_whole(&format!("{what}, in its first second"), names, &at_once, report);
    judge_whole(&format!("{what}, in its first five"), names, &visits, report);
}

/// Whoever met neither the dead backend nor the dead node got a session.
fn judge_answers(label: &str, visits: &[Visit], course: &Course, report: &mut Report) {
    let excused = |visit: &Visit| {
        let met_backend = visit.ended >= course.killed && visit.began <= course.down;
        let met_node = [course.growing, course.whole]
            .iter()
            .any(|absence| absence.excuses(visit.node, visit.began, visit.ended));
        met_backend || met_node
    };
    let odd: Vec<&Visit> =
        visits.iter().filter(|visit| visit.backend().is_none() && !excused(visit)).collect();
    report.figure(format!("{label}: new sessions"), visits.len());
    report.bar(format!("{label}: new sessions that no backend answered"), odd.len(), "0", odd.is_empty());
    report.faults(odd.iter().map(|visit| format!("{label}: {visit:?}")));
}
