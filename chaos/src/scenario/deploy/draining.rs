//! Each backend is replaced by one document that has its name at another address; the old one leaves beside it until its
//! last session has ended.

use std::ops::Range;

use super::shoppers::{Manner, Shoppers};
use super::{BACKENDS, DEADLINE, LEADER_DIES_AT, PATIENCE, PAUSE, SESSIONS, document, kill_leader, leader};
use crate::report::Report;
use crate::rig::backend::Backend;
use crate::rig::document::{Document, Door};
use crate::rig::{Rig, RigError, Setting};
use crate::scenario::front::Front;
use crate::scenario::pool::{expected, judge_changes, sight};
use crate::scenario::routing::report_witness;
use crate::scenario::users::BY_HEADER;
use crate::scenario::verdicts::Watch;
use crate::scenario::{ScenarioError, Stage};
use crate::statistics::{Durations, seconds};

/// How long a session lasts, in milliseconds.
const LASTS: Range<u64> = 10_000..15_000;
/// Sessions that a replica has at any moment, at least: some have just ended, and the next of their shoppers is on its
/// way.
const IN_USE: u64 = SESSIONS as u64 * 95 / 100;
/// Sessions at the beginning, at least, when hardly one has ended.
const AT_FIRST: u64 = SESSIONS as u64 * 99 / 100;

/// A session whose end gets lost, as with the leader, ends by itself.
const OPTIONS: &str = "idle_timeout = \"30s\"\nend_header = \"X-Logout\"";

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: OPTIONS, methods: BY_HEADER };

/// What was seen of all replacements.
#[derive(Default)]
struct Seen {
    /// Backends that were replaced and whose processes were stopped.
    replaced: usize,
    /// From the change of the document until the old backend was gone on all nodes.
    drained: Durations,
    /// What nodes list after each change, in order, and the log index of those that were asked for.
    changes: Vec<(String, Option<u64>)>,
    /// The fewest sessions that a replica had right before a replacement.
    in_use: Option<u64>,
    killed: usize,
}

pub(super) async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let document = document(&DOOR);
    let setting = Setting { document: document.clone(), ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let front = Front::of(stage, &rig);
    let manner = Manner { path: DOOR.path_prefix, pause: PAUSE, lasts: Some(LASTS) };
    let shoppers = Shoppers::start(&front, SESSIONS, &manner, &stage.seed.child("drained"));
    rig.until("every shopper has a session", async |rig| {
        let sessions = in_use(rig).await.map_err(|error| error.to_string())?;
        if sessions >= AT_FIRST { Ok(()) } else { Err(format!("{sessions} sessions")) }
    })
    .await?;
    let mut watch = Watch::start_at(&mut rig, &stage.outside.clock, sight(PATIENCE));
    let mut seen = Seen::default();
    for place in 0..BACKENDS {
        replace(&mut rig, &document, &mut watch, place, &mut seen).await?;
    }
    let on_each = rig.admin(0).backends().await.map_err(RigError::from)?;
    let tally = shoppers.stop().await?;
    let looks = watch.stop().await?;
    rig.settle().await?;

    judge_replacements(label, &seen, report);
    let sessions: Vec<u64> = on_each.iter().map(|backend| backend.sessions).collect();
    report.bar(
        format!("{label}: sessions on each new backend"),
        format!("{sessions:?}"),
        "some",
        sessions.len() == BACKENDS && sessions.iter().all(|sessions| *sessions > 0),
    );
    judge_changes(label, &looks, &seen.changes, report);
    let revisions: Vec<u64> = rig.statuses().await?.iter().map(|status| status.document_revision).collect();
    report.bar(
        format!("{label}: revision of the document on each node"),
        format!("{revisions:?}"),
        "one",
        revisions.windows(2).all(|two| two[0] == two[1]),
    );
    tally.judge(label, 0, seen.killed, report);
    report_witness(&rig, report);
    Ok(())
}

/// Sessions that the first node's replica has.
async fn in_use(rig: &mut Rig) -> Result<u64, RigError> {
    Ok(rig.admin(0).status().await?.sessions)
}

/// A new process, one change of the document, and the old process ends once no node leads to it any more.
async fn replace(
    rig: &mut Rig,
    document: &Document,
    watch: &mut Watch,
    place: usize,
    seen: &mut Seen,
) -> Result<(), ScenarioError> {
    let sessions = in_use(rig).await?;
    seen.in_use = Some(seen.in_use.map_or(sessions, |fewest| fewest.min(sessions)));
    let leaves = rig.backend_places().swap_remove(place);
    let mut old: Backend = rig.replace_backend(place, &format!("{}-new", leaves.0)).await?;
    let began = rig.now();
    let index = rig.apply_removing(document, BACKENDS, DEADLINE).await?;
    let places = rig.backend_places();
    let leaving = expected(&places, Some(&leaves));
    watch.until_all(&leaving).await?;
    seen.changes.push((leaving, index));
    if place == LEADER_DIES_AT {
        seen.killed = leader(rig).await?;
        kill_leader(rig, seen.killed).await?;
    }
    let gone = expected(&places, None);
    seen.drained.add(watch.until_all(&gone).await?.since(began));
    seen.changes.push((gone, None));
    old.kill().await;
    seen.replaced += 1;
    rig.check_processes()?;
    Ok(())
}

fn judge_replacements(label: &str, seen: &Seen, report: &mut Report) {
    let Seen { replaced, drained, in_use, .. } = seen;
    report.bar(format!("{label}: backends replaced"), replaced, BACKENDS.to_string(), *replaced == BACKENDS);
    let times = format!("{}, {}", seconds(drained.median()), seconds(drained.worst()));
    report.figure(format!("{label}: from the change until the old one is gone, median and longest"), times);
    let in_use = in_use.unwrap_or(0);
    report.bar(
        format!("{label}: fewest sessions in use at a replacement"),
        in_use,
        format!("{IN_USE} at least"),
        in_use >= IN_USE,
    );
}
