//! A rate of new sessions: one address without cookies hammers at all nodes, while a node dies and clients who have
//! a session go on.

mod hammer;
mod known;

use std::ops::Range;
use std::time::Duration;

use rand::Rng;
use stickler_rt::{Moment, Shutdown};

use super::pace::{Admission, excess, most_within};
use super::{Absence, Front};
use crate::report::Report;
use crate::rig::document::Door;
use crate::rig::{NODES, Rig};
use crate::scenario::{ScenarioError, Stage};
use hammer::{Asked, Outcome};
use known::{How, Known, Missed};

pub(super) const DOOR: Door<'static> = Door {
    name: "paced",
    path_prefix: "/paced",
    options: "idle_timeout = \"2h\"\nnew_sessions_per_source = \"20/10s\"",
    methods: "[[affinity.by]]\nmethod = \"cookie\"",
};

/// Stickler's cookie, as it is called without more.
const COOKIE: &str = "STICKLER";
/// How long a node is hammered at before it dies, in milliseconds.
const BEFORE: Range<u64> = 3000..5000;
/// How long it is hammered at when it is back.
const AFTER: Duration = Duration::from_secs(8);
/// The share of what a node may let in that it must let in.
const ENOUGH: f64 = 0.8;

pub(super) async fn play(
    stage: &Stage,
    rig: &mut Rig,
    leads: bool,
    round: u32,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let door = format!("round {round}, paced");
    let mut random = stage.seed.child("paced").rng();
    let leader = rig.settle().await?;
    let node = (leader + if leads { 0 } else { random.random_range(1..NODES) }) % NODES;
    let front = Front::of(stage, rig);
    let stop = Shutdown::new();
    let known = Known::begin(&front, &stop).await?;
    let began = front.now();
    let mut hammering = hammer::start(&front, &stop);
    tokio::time::sleep(Duration::from_millis(random.random_range(BEFORE))).await;
    let absence = Absence::of(rig, node).await?;
    tokio::time::sleep(AFTER).await;
    stop.trigger();
    let mut asked = Vec::new();
    while let Some(of_one) = hammering.join_next().await {
        asked.extend(of_one?);
    }
    let ended = front.now();
    let (visits, missed) = known.end().await?;
    rig.check_processes()?;
    for life in lives(&absence, began, ended) {
        judge_life(&door, &life, &asked, report);
    }
    judge_refusals(&door, &asked, &absence, leads, report);
    judge_known(&door, visits, &missed, &absence, report);
    Ok(())
}

/// A node's process, as far as it was hammered at.
struct Life {
    node: usize,
    name: &'static str,
    /// From when it may let anybody in, and from when it must.
    may: Moment,
    must: Moment,
    end: Moment,
}

fn lives(absence: &Absence, began: Moment, ended: Moment) -> Vec<Life> {
    let lives = (0..NODES).flat_map(|node| {
        let killed = node == absence.node;
        let (name, end) = if killed { (", until it was killed", absence.killed) } else { ("", ended) };
        let first = Life { node, name, may: began, must: began, end };
        let second = Life {
            node,
            name: ", when it was back",
            may: absence.restarted,
            must: absence.ready,
            end: ended,
        };
        [Some(first), killed.then_some(second)].into_iter().flatten()
    });
    lives.collect()
}

fn judge_life(door: &str, life: &Life, asked: &[Asked], report: &mut Report) {
    let of_it =
        |asked: &&Asked| asked.place == life.node && asked.began >= life.may && asked.began <= life.end;
    let admitted = asked.iter().filter(of_it).filter(|asked| asked.outcome == Outcome::Begun);
    let admitted: Vec<Admission> =
        admitted.map(|asked| Admission { began: asked.began, ended: asked.ended }).collect();
    let most = most_within(life.end.since(life.may));
    let least = most_within(life.end.since(life.must)) * ENOUGH;
    let count = admitted.len() as f64;
    report.bar(
        format!("{door}: sessions that node {} let in{}", life.node + 1, life.name),
        admitted.len(),
        format!("{least:.0} to {most:.0}"),
        count >= least && count <= most,
    );
    report.faults(excess(&admitted).map(|(count, span)| {
        format!("{door}: node {} let {count} sessions in within {span:?}", life.node + 1)
    }));
}

/// What begins no session is told so, and when to come again.
fn judge_refusals(door: &str, asked: &[Asked], absence: &Absence, leads: bool, report: &mut Report) {
    let count = |outcome: &Outcome| asked.iter().filter(|asked| asked.outcome == *outcome).count();
    let (begun, told) = (count(&Outcome::Begun), count(&Outcome::ToldToWait));
    report.bar(format!("{door}: first requests told to wait"), told, "more than let in", told > begun);
    let (mut away, mut leaderless, mut odd) = (0, 0, Vec::new());
    for asked in asked {
        let Outcome::Otherwise(how) = &asked.outcome else { continue };
        if absence.excuses(asked.place, asked.began, asked.ended) {
            away += 1;
        } else if leads && asked.lacked_a_leader() && absence.had_no_leader(asked.began, asked.ended) {
            leaderless += 1;
        } else {
            odd.push(format!("{door}: node {} answered a first request with {how}", asked.place + 1));
        }
    }
    report.figure(format!("{door}: first requests that met a node that was away"), away);
    report.figure(format!("{door}: first requests that met an election"), leaderless);
    report.bar(format!("{door}: first requests that ended otherwise"), odd.len(), "0", odd.is_empty());
    report.faults(odd);
}

/// Who has a session is not asked how many others there are.
fn judge_known(door: &str, visits: usize, missed: &[Missed], absence: &Absence, report: &mut Report) {
    report.figure(format!("{door}: requests of known sessions"), visits);
    let excused = |missed: &&Missed| {
        matches!(missed.how, How::NotServed(_)) && absence.excuses(missed.place, missed.began, missed.ended)
    };
    let faults: Vec<&Missed> = missed.iter().filter(|missed| !excused(missed)).collect();
    let what = format!("{door}: of these, refused or sent elsewhere, not by the node that was away");
    report.bar(what, faults.len(), "0", faults.is_empty());
    report.faults(faults.iter().map(|missed| format!("{door}: {missed}")));
}
