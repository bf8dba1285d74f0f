//! A cap that evicts: newcomers take the places of those who came before them, and never those of regulars, while the
//! leader dies.

mod newcomers;
mod regulars;

use rand::Rng;
use stickler_rt::Shutdown;
use tokio::sync::watch;

use super::observer::Observer;
use super::{Absence, BY_HEADER, Front};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::Door;
use crate::rig::{NODES, Rig, RigError};
use crate::scenario::{ScenarioError, Stage};
use newcomers::{Arrival, NEWCOMERS};
use regulars::{REGULARS, Regulars, Seen};

pub(super) const DOOR: Door<'static> = Door {
    name: "evicting",
    path_prefix: "/evicting",
    // Uses are on record to the second: newcomers last three times as long.
    options: "idle_timeout = \"8s\"\nmax_sessions = 200\nwhen_full = \"evict-idlest\"",
    methods: BY_HEADER,
};

/// As the door says.
const CAP: usize = 200;
/// Places that regulars leave to newcomers.
const PLACES: usize = CAP - REGULARS;
/// The leader dies when so many newcomers have come.
const KILLED_AT: std::ops::Range<usize> = 300..450;
/// So many may have come while another was on its way: which of them is the idler one only the cluster knows.
const AT_ONCE: usize = 20;

pub(super) async fn play(
    stage: &Stage,
    rig: &mut Rig,
    round: u32,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let door = format!("round {round}, evicting");
    let leader = rig.settle().await?;
    let enough = stage.seed.child("evicting").rng().random_range(KILLED_AT);
    let front = Front::of(stage, rig);
    let stop = Shutdown::new();
    let regulars = Regulars::begin(&front, &stop).await?;
    let observer = Observer::start(rig, DOOR.name);
    let (come, mut came) = watch::channel(0);
    let newcomers = tokio::spawn(newcomers::come(front, come));
    // They all come, in the end.
    let _ = came.wait_for(|came| *came >= enough).await;
    let absence = Absence::of(rig, leader).await?;
    let mut arrivals = newcomers.await?;
    // Before anybody is idle for too long.
    let lists = lists(rig).await?;
    stop.trigger();
    let seen = regulars.end().await?;
    let watched = observer.stop().await?;
    watched.judge(&door, CAP as u64, report);
    judge_regulars(&door, &seen, &lists, report);
    arrivals.sort_unstable_by_key(|arrival| arrival.ended);
    judge_newcomers(&door, &arrivals, &absence, report);
    judge_who_is_left(&door, &arrivals, &seen, &lists, report);
    judge_evictions(rig, &door, &arrivals, report).await
}

/// The sessions of the door on every node, once all have applied the same.
async fn lists(rig: &mut Rig) -> Result<Vec<Listed>, ScenarioError> {
    let mut lists = Vec::new();
    rig.until("all nodes list the same sessions", async |rig| {
        lists = rig.sessions().await.map_err(|error| error.to_string())?;
        for listed in &mut lists {
            listed.retain(|_, session| session.affinity == DOOR.name);
        }
        let keys = |listed: &Listed| {
            let mut keys: Vec<_> = listed
                .values()
                .map(|session| (session.key.clone(), session.epoch, session.backend))
                .collect();
            keys.sort_unstable();
            keys
        };
        let lengths: Vec<usize> = lists.iter().map(Listed::len).collect();
        let same = lists.windows(2).all(|two| keys(&two[0]) == keys(&two[1]));
        if same { Ok(()) } else { Err(format!("{lengths:?} sessions")) }
    })
    .await?;
    Ok(lists)
}

fn judge_regulars(door: &str, seen: &Seen, lists: &[Listed], report: &mut Report) {
    report.figure(format!("{door}: requests of regulars"), seen.visits);
    let changed = seen.changed.len();
    report.bar(format!("{door}: regulars evicted or moved"), changed, "0", changed == 0);
    report.faults(seen.changed.iter().map(|changed| format!("{door}: {changed}")));
    let unserved = seen.unserved.len();
    report.bar(format!("{door}: requests of regulars that no node served"), unserved, "0", unserved == 0);
    report.faults(seen.unserved.iter().map(|unserved| format!("{door}: {unserved}")));
    for (node, listed) in (1..).zip(lists) {
        let held = |(key, epoch): &(String, u64)| listed.get(key).is_some_and(|found| found.epoch == *epoch);
        let missing = seen.sessions.iter().filter(|session| !held(session)).count();
        let what = format!("{door}: regulars missing on node {node} in the end");
        report.bar(what, missing, "0", missing == 0);
    }
}

/// Who comes is served, but where there is no leader.
fn judge_newcomers(door: &str, arrivals: &[Arrival], absence: &Absence, report: &mut Report) {
    let unserved: Vec<&Arrival> = arrivals.iter().filter(|arrival| arrival.key.is_none()).collect();
    let (excused, faults): (Vec<_>, Vec<_>) =
        unserved.into_iter().partition(|arrival| absence.had_no_leader(arrival.began, arrival.ended));
    report.figure(format!("{door}: newcomers that no node served, in the election"), excused.len());
    let what = format!("{door}: newcomers that no node served, otherwise");
    report.bar(what, faults.len(), "0", faults.is_empty());
    report.faults(
        faults.iter().map(|arrival| format!("{door}: a newcomer was not served: {:?}", arrival.failures)),
    );
}

/// The regulars, and the newcomers who came last.
fn judge_who_is_left(door: &str, arrivals: &[Arrival], seen: &Seen, lists: &[Listed], report: &mut Report) {
    let found: Vec<usize> = lists.iter().map(Listed::len).collect();
    let full = found.iter().all(|listed| *listed == CAP);
    report.bar(format!("{door}: sessions in the end"), format!("{found:?}"), format!("{CAP} each"), full);
    let served = arrivals.iter().rev().filter_map(|arrival| arrival.key.as_ref());
    let newest: Vec<&String> = served.take(PLACES + AT_ONCE).collect();
    let is_regular = |key: &String| seen.sessions.iter().any(|(regular, _)| regular == key);
    let left = lists.iter().flat_map(Listed::keys);
    let idler = left.filter(|key| !is_regular(key) && !newest.contains(key)).count();
    report.bar(format!("{door}: sessions left that were idler than ended ones"), idler, "0", idler == 0);
}

async fn judge_evictions(
    rig: &mut Rig,
    door: &str,
    arrivals: &[Arrival],
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let mut evicted = 0;
    for node in 0..NODES {
        // A node counts what it has applied since it was started.
        let affinity = rig.admin(node).affinity(DOOR.name).await.map_err(RigError::from)?;
        evicted = evicted.max(affinity.evicted);
    }
    let served = arrivals.iter().filter(|arrival| arrival.key.is_some()).count();
    // Who was served nowhere may have a session nevertheless.
    let (least, most) = ((served - PLACES.min(served)) as u64, (NEWCOMERS - PLACES) as u64);
    report.bar(
        format!("{door}: evictions"),
        evicted,
        format!("{least} to {most}, one for each newcomer beyond {PLACES}"),
        (least..=most).contains(&evicted) && evicted as usize >= PLACES * 3,
    );
    Ok(())
}
