//! Each backend is emptied by a job that has the application export every session before it moves, and then removed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stickler_proto::admin::{Job, StartJobRequest};

use super::shoppers::{Manner, Shoppers};
use super::{BACKENDS, DEADLINE, LEADER_DIES_AT, PATIENCE, PAUSE, SESSIONS, document, kill_leader};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::{Door, NEVER_IDLE};
use crate::rig::{NODES, Rig, RigError, Setting};
use crate::scenario::front::Front;
use crate::scenario::pool::{POOL, expected, judge_changes, sight};
use crate::scenario::routing::report_witness;
use crate::scenario::users::BY_HEADER;
use crate::scenario::verdicts::Watch;
use crate::scenario::{ScenarioError, Stage, jobs, places};
use crate::statistics::{Durations, seconds};

/// Sessions a second.
const RATE: u32 = 100;
/// How long a session's requests are held, in milliseconds.
const HOLD: u64 = 2_000;
/// The application is told where the session is.
const HOOK: &str = "http://{backend}/export";

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

/// What was seen of all jobs.
#[derive(Default)]
struct Seen {
    /// Backends that were replaced and whose processes were stopped.
    replaced: usize,
    /// How long each job took.
    took: Durations,
    moved: u64,
    hooks_failed: u64,
    not_quiet: u64,
    /// The sessions that each job had to move.
    to_move: BTreeMap<u64, BTreeSet<String>>,
    /// Sessions that are not where the jobs should have put them, or moved though they need not.
    astray: Vec<String>,
    /// What nodes list after each change, in order, and the change's log index.
    changes: Vec<(String, Option<u64>)>,
    killed: usize,
}

pub(super) async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let setting = Setting { document: document(&DOOR), ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let front = Front::of(stage, &rig);
    let manner = Manner { path: DOOR.path_prefix, pause: PAUSE, lasts: None };
    let shoppers = Shoppers::start(&front, SESSIONS, &manner, &stage.seed.child("evacuated"));
    rig.until("every shopper has a session", async |rig| {
        let status = rig.admin(0).status().await.map_err(|error| error.to_string())?;
        let sessions = status.sessions;
        if sessions == SESSIONS as u64 { Ok(()) } else { Err(format!("{sessions} sessions")) }
    })
    .await?;
    let mut watch = Watch::start_at(&mut rig, &stage.outside.clock, sight(PATIENCE));
    let mut seen = Seen::default();
    for place in 0..BACKENDS {
        replace(&mut rig, &mut watch, place, &mut seen).await?;
    }
    // Everybody asks once more where the sessions are now.
    tokio::time::sleep(Duration::from_millis(PAUSE.end)).await;
    let tally = shoppers.stop().await?;
    let looks = watch.stop().await?;
    rig.settle().await?;

    report.bar(
        format!("{label}: backends replaced"),
        seen.replaced,
        BACKENDS.to_string(),
        seen.replaced == BACKENDS,
    );
    judge_changes(label, &looks, &seen.changes, report);
    judge_jobs(label, &seen, report);
    judge_hooks(label, &seen.to_move, &rig.shelf().told(), report);
    tally.judge(label, 1, seen.killed, report);
    report_witness(&rig, report);
    Ok(())
}

/// A new process, an evacuation to it, a removal, and the old process ends once no node leads to it any more.
async fn replace(
    rig: &mut Rig,
    watch: &mut Watch,
    place: usize,
    seen: &mut Seen,
) -> Result<(), ScenarioError> {
    let (old, _) = rig.backend_places().swap_remove(place);
    let new = format!("web-{}", BACKENDS + place + 1);
    let address = rig.start_another_backend(&new).await?;
    let index = rig.admin(0).add_backend(POOL, &new, address).await.map_err(RigError::from)?;
    let added = expected(&rig.backend_places()[place..], None);
    watch.until_all(&added).await?;
    seen.changes.push((added, Some(index)));
    rig.until("the new backend is up", async |rig| {
        let backend = rig.admin(0).backend(&new).await.map_err(|error| error.to_string())?;
        if backend.health == "up" { Ok(()) } else { Err(backend.health) }
    })
    .await?;
    evacuate(rig, place, (&old, &new), seen).await?;
    rig.admin(0).remove_backend(POOL, &old, DEADLINE).await.map_err(RigError::from)?;
    let removed = expected(&rig.backend_places()[place + 1..], None);
    watch.until_all(&removed).await?;
    // By the command it leaves; it is gone by another entry.
    seen.changes.push((removed, None));
    rig.kill_backend(place).await;
    seen.replaced += 1;
    Ok(())
}

async fn evacuate(
    rig: &mut Rig,
    place: usize,
    (old, new): (&str, &str),
    seen: &mut Seen,
) -> Result<(), ScenarioError> {
    let leader = rig.settle().await?;
    let before = rig.sessions().await?.swap_remove(0);
    let asked = (leader + 1) % NODES;
    let began = rig.now();
    let request = StartJobRequest {
        work: "evacuate".to_owned(),
        backend: rig.admin(asked).backend(old).await.map_err(RigError::from)?.id,
        to: rig.admin(asked).backend(new).await.map_err(RigError::from)?.id,
        rate: RATE,
        hold_milliseconds: HOLD,
        hook: HOOK.to_owned(),
        ..StartJobRequest::default()
    };
    let job = jobs::start(rig, asked, request).await?;
    if place == LEADER_DIES_AT {
        let third = places::on(&before, old).len() as u64 / 3;
        rig.until("a third has moved", async |rig| {
            let moved = jobs::find(rig, asked, job).await?.moved;
            if moved >= third { Ok(()) } else { Err(format!("{moved} have moved")) }
        })
        .await?;
        seen.killed = leader;
        kill_leader(rig, leader).await?;
    }
    let done = jobs::done(rig, asked, job).await?;
    if done.left > 0 {
        // It would never be gone.
        let Job { left, hooks_failed, .. } = done;
        return Err(ScenarioError::Scene(format!(
            "the job has left {left} sessions on {old}; hooks that failed: {hooks_failed}"
        )));
    }
    seen.took.add(rig.now().since(began));
    rig.settle().await?;
    let lists = rig.sessions().await?;
    seen.take(&done, &before, &lists, (old, new));
    Ok(())
}

impl Seen {
    /// The sessions of the old backend, and no others, are on the new one now, by an epoch that the job gave.
    fn take(&mut self, job: &Job, before: &Listed, lists: &[Listed], (old, new): (&str, &str)) {
        self.moved += job.moved;
        self.hooks_failed += job.hooks_failed;
        self.not_quiet += job.not_quiet;
        let to_move = places::on(before, old);
        for (node, listed) in (1..).zip(lists) {
            let there = places::on(listed, new);
            let by_job = |key: &&&str| listed.get(**key).is_some_and(|it| it.cause == "moved: by a job");
            let by_job: BTreeSet<&str> = there.iter().filter(by_job).copied().collect();
            let moved = places::moved(before, listed);
            let odd = moved.symmetric_difference(&to_move).chain(by_job.symmetric_difference(&to_move));
            let odd: BTreeSet<&&str> = odd.collect();
            self.astray.extend(odd.iter().map(|key| format!("job {}: session {key} on node {node}", job.id)));
        }
        self.astray.extend(places::apart(lists));
        self.to_move.insert(job.id, to_move.into_iter().map(str::to_owned).collect());
    }
}

fn judge_jobs(label: &str, seen: &Seen, report: &mut Report) {
    let Seen { took, moved, hooks_failed, not_quiet, to_move, astray, .. } = seen;
    let times = format!("{}, {}", seconds(took.median()), seconds(took.worst()));
    report.figure(format!("{label}: time of a job, median and longest"), times);
    report.figure(format!("{label}: announced moves taken back"), not_quiet);
    // With every job away from an old backend and to a new one, everybody has to move once in all.
    let all: u64 = to_move.values().map(|sessions| sessions.len() as u64).sum();
    report.bar(
        format!("{label}: moved, by the jobs"),
        format!("{moved} of {all}"),
        SESSIONS.to_string(),
        *moved == SESSIONS as u64 && all == SESSIONS as u64,
    );
    report.bar(
        format!("{label}: sessions that a job moved elsewhere or by another epoch, or need not have moved"),
        astray.len(),
        "0",
        astray.is_empty(),
    );
    report.faults(astray.iter().map(|astray| format!("{label}: {astray}")));
    report.bar(format!("{label}: hooks that failed"), hooks_failed, "0", *hooks_failed == 0);
}

/// The application was told of every session that a job had to move, by one idempotency key, and of no other.
fn judge_hooks(
    label: &str,
    to_move: &BTreeMap<u64, BTreeSet<String>>,
    told: &BTreeMap<String, u32>,
    report: &mut Report,
) {
    let mut keys: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    let mut odd = Vec::new();
    for key in told.keys() {
        let mut parts = key.split('-');
        let (job, session) = (parts.next().and_then(|job| job.parse().ok()), parts.next());
        match (job, session) {
            (Some(job), Some(session)) => *keys.entry((job, session)).or_default() += 1,
            _ => odd.push(format!("{key} is no idempotency key")),
        }
    }
    for (job, sessions) in to_move {
        for session in sessions {
            let of_it = keys.remove(&(*job, session.as_str())).unwrap_or(0);
            odd.extend(
                (of_it != 1).then(|| format!("{of_it} idempotency keys for session {session} in job {job}")),
            );
        }
    }
    odd.extend(
        keys.keys().map(|(job, session)| format!("job {job} told of session {session}, which was not its")),
    );
    report.bar(
        format!("{label}: moves not told of by exactly one idempotency key"),
        odd.len(),
        "0",
        odd.is_empty(),
    );
    report.faults(odd.iter().map(|odd| format!("{label}: {odd}")));
    let again = told.values().filter(|times| **times > 1).count();
    report.figure(format!("{label}: moves told of more than once"), again);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(told: &[(&str, u32)]) -> bool {
        let told = told.iter().map(|(key, times)| ((*key).to_owned(), *times)).collect();
        let to_move = BTreeMap::from([(1, BTreeSet::from(["aa".to_owned(), "bb".to_owned()]))]);
        let mut report = Report::default();
        judge_hooks("test", &to_move, &told, &mut report);
        report.held()
    }

    #[test]
    fn each_move_is_told_of_by_one_key_however_often() {
        assert!(held(&[("1-aa-7", 1), ("1-bb-8", 2)]));
        assert!(!held(&[("1-aa-7", 1)]), "never told of the other");
        assert!(!held(&[("1-aa-7", 1), ("1-bb-8", 1), ("1-bb-9", 1)]), "two keys");
        assert!(!held(&[("1-aa-7", 1), ("1-bb-8", 1), ("1-cc-9", 1)]), "none of its sessions");
        assert!(!held(&[("1-aa-7", 1), ("1-bb-8", 1), ("odd", 1)]));
    }
}
