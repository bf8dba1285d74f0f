//! Jobs: what operators write, checked; what there is, told.

use std::time::Duration;

use stickler_core::document::cluster::Rate;
use stickler_core::hook::Hook;
use stickler_core::ids::{BackendId, Epoch, JobId, PoolId, Revision};
use stickler_core::state::{
    AtDeadline, ChangeJob, Command, Job, JobChange, JobOutcome, JobState, Outcome, StartJob, View, Work,
};
use stickler_core::time::ClusterTime;
use stickler_proto::admin;
use stickler_proto::admin::{
    ChangeJobReply, ChangeJobRequest, ListJobsReply, StartJobReply, StartJobRequest,
};
use stickler_raft::Cluster;
use tonic::Status;

use super::changes::{Audited, propose, unexpected};
use super::connection::Caller;
use super::replies::milliseconds;
use super::sessions::{affinity_named, backend_called};
use crate::by_rule::FASTEST;
use crate::jobs::count;

/// Longest time for which a session's requests are held: they wait no longer than three seconds for anything.
const LONGEST_HOLD: u64 = 2500;

/// Longest time that a job may take: a week.
const LONGEST_JOB: u64 = 7 * 24 * 60 * 60 * 1000;

/// Begins a job, or only counts what it is about.
pub(super) async fn start(
    cluster: &Cluster,
    caller: Caller,
    request: &StartJobRequest,
) -> Result<StartJobReply, Status> {
    let (start, subject) = written(&cluster.view(), request)?;
    let job = as_job(&cluster.view(), &start).ok_or_else(no_such)?;
    let counted = cluster.walk(move |view| count(view, &job)).await;
    let sessions = counted.map_err(|_| Status::unavailable("the sessions could not be gone through"))?;
    if request.dry_run {
        return Ok(StartJobReply { job: 0, sessions, index: 0 });
    }
    let cluster = cluster.clone();
    let change = async move {
        let (index, outcome) = propose(&cluster, Command::StartJob(start)).await?;
        match outcome {
            Outcome::Job(JobOutcome::Done(job)) => {
                Ok((index, StartJobReply { job: job.0, sessions, index: index.0 }))
            }
            other => Err(not_done(&other)),
        }
    };
    Audited { caller, action: "start job", subject }.run(change).await
}

/// Pauses a job, lets it go on, or ends it.
pub(super) async fn change(
    cluster: &Cluster,
    caller: Caller,
    request: &ChangeJobRequest,
) -> Result<ChangeJobReply, Status> {
    let change = match request.change.as_str() {
        "pause" => JobChange::Pause,
        "resume" => JobChange::Resume,
        "cancel" => JobChange::Cancel,
        _ => return Err(Status::invalid_argument("a job is paused, resumed or cancelled")),
    };
    let subject = format!("job {}: {}", request.job, request.change);
    let change = ChangeJob { job: JobId(request.job), expected: Revision(request.expected_revision), change };
    let cluster = cluster.clone();
    let change = async move {
        let (index, outcome) = propose(&cluster, Command::ChangeJob(change)).await?;
        match outcome {
            Outcome::Job(JobOutcome::Done(_)) => Ok((index, ChangeJobReply { index: index.0 })),
            other => Err(not_done(&other)),
        }
    };
    Audited { caller, action: "change job", subject }.run(change).await
}

fn not_done(outcome: &Outcome) -> Status {
    match outcome {
        Outcome::Job(JobOutcome::Changed(job)) => Status::failed_precondition(format!(
            "somebody was faster, or it is over: look at job {job} and try again"
        )),
        Outcome::Job(JobOutcome::Busy(job)) => Status::failed_precondition(format!(
            "job {job} is at work in the same pool: wait for it, or cancel it"
        )),
        Outcome::Job(JobOutcome::Unknown) => no_such(),
        other => unexpected(other),
    }
}

fn no_such() -> Status {
    Status::not_found("there is no such backend, pool or finished job, or they are of different pools")
}

fn written(view: &View, request: &StartJobRequest) -> Result<(StartJob, String), Status> {
    let (work, pool, subject) = work_written(view, request)?;
    let affinity = request.affinity.as_str();
    let affinity = (!affinity.is_empty()).then(|| affinity_named(view, affinity)).transpose()?;
    if !(1..=FASTEST).contains(&request.rate) {
        return Err(Status::invalid_argument(format!("a rate is from 1 to {FASTEST} sessions a second")));
    }
    if !(1..=LONGEST_HOLD).contains(&request.hold_milliseconds) {
        return Err(Status::invalid_argument(format!("requests are held for 1 to {LONGEST_HOLD} ms")));
    }
    if request.deadline_milliseconds.is_some_and(|deadline| deadline == 0 || deadline > LONGEST_JOB) {
        return Err(Status::invalid_argument(
            "a job's deadline lies between a millisecond and a week from now",
        ));
    }
    let at_deadline = match request.at_deadline.as_str() {
        "" | "skip" => AtDeadline::Skip,
        "close" => AtDeadline::Close,
        "move" => AtDeadline::Move,
        _ => {
            return Err(Status::invalid_argument(
                "at its deadline a job skips, closes or moves what is left",
            ));
        }
    };
    let hook = (!request.hook.is_empty()).then(|| request.hook.clone());
    if let Some(hook) = &hook {
        Hook::read(hook).map_err(|bad| Status::invalid_argument(bad.to_string()))?;
    }
    let start = StartJob {
        expected: JobId(request.expected_job),
        work,
        pool,
        affinity,
        rate: Rate { most: request.rate, period: Duration::from_secs(1) },
        hold: Duration::from_millis(request.hold_milliseconds),
        deadline: request.deadline_milliseconds.map(Duration::from_millis),
        at_deadline,
        hook,
    };
    Ok((start, subject))
}

fn work_written(view: &View, request: &StartJobRequest) -> Result<(Work, Option<PoolId>, String), Status> {
    let called = |backend| backend_called(view, backend).unwrap_or_else(|| format!("backend {backend}"));
    match request.work.as_str() {
        "evacuate" => {
            let backend = BackendId(request.backend);
            let to = (request.to != 0).then_some(BackendId(request.to));
            Ok((Work::Evacuate { backend, to }, None, format!("evacuate {}", called(backend))))
        }
        "rebalance" => {
            let named = |id: &&PoolId| view.catalog.pool(**id).is_some_and(|pool| pool.name == request.pool);
            let pool = view.catalog.pools.iter().find(named).copied();
            let pool = pool.ok_or_else(|| Status::not_found(format!("there is no pool {}", request.pool)))?;
            let most = if request.most_moves == 0 { u64::MAX } else { request.most_moves };
            Ok((Work::Rebalance { most }, Some(pool), format!("rebalance {}", request.pool)))
        }
        "undo" => {
            let of = JobId(request.undo);
            let job =
                view.jobs.jobs.get(&of).ok_or_else(|| Status::not_found(format!("there is no job {of}")))?;
            if !job.is_over() {
                return Err(Status::failed_precondition(format!("job {of} goes on: cancel it first")));
            }
            Ok((Work::Undo { of, epochs: job.epochs }, None, format!("undo job {of}")))
        }
        _ => Err(Status::invalid_argument("a job's work is evacuate, rebalance or undo")),
    }
}

/// The job as it would be, to count what it is about.
fn as_job(view: &View, start: &StartJob) -> Option<Job> {
    let pool = match start.work {
        Work::Evacuate { backend, .. } => view.catalog.backends.get(&backend)?.pool,
        Work::Rebalance { .. } => start.pool?,
        Work::Undo { of, .. } => view.jobs.jobs.get(&of)?.pool,
    };
    Some(Job {
        work: start.work,
        pool,
        affinity: start.affinity,
        rate: start.rate,
        hold: start.hold,
        deadline: None,
        at_deadline: start.at_deadline,
        hook: None,
        state: JobState::Running,
        revision: Revision(0),
        began: view.time,
        since: view.time,
        announced_before: 0,
        announced: 0,
        moved: 0,
        not_quiet: 0,
        hooks_failed: 0,
        left: 0,
        epochs: (Epoch(0), Epoch(0)),
    })
}

/// All jobs. Of those that go on, what is left is counted: not on the thread that serves calls.
pub(super) fn list(view: &View, now: ClusterTime) -> ListJobsReply {
    let jobs = view.jobs.jobs.iter().map(|(id, job)| {
        let held = view.jobs.announced.values().filter(|announced| announced.job == *id).count() as u64;
        let (work, subject) = told(view, job);
        let per_second = u128::from(job.rate.most) * 1000 / job.rate.period.as_millis().max(1);
        admin::Job {
            id: id.0,
            work: work.to_owned(),
            subject,
            state: state(job.state).to_owned(),
            revision: job.revision.0,
            rate: u32::try_from(per_second.max(1)).unwrap_or(u32::MAX),
            moved: job.moved,
            announced: held,
            not_quiet: job.not_quiet,
            hooks_failed: job.hooks_failed,
            left: if job.is_over() { job.left } else { count(view, job) },
            age_milliseconds: milliseconds(now.since(job.began)),
            deadline_milliseconds: job
                .deadline
                .filter(|_| !job.is_over())
                .map(|deadline| milliseconds(deadline.since(now))),
        }
    });
    ListJobsReply { jobs: jobs.collect() }
}

fn told(view: &View, job: &Job) -> (&'static str, String) {
    let pool = || view.catalog.pool(job.pool).map(|pool| pool.name.clone()).unwrap_or_default();
    match job.work {
        Work::Evacuate { backend, .. } => {
            ("evacuate", backend_called(view, backend).unwrap_or_else(|| format!("backend {backend}")))
        }
        Work::Rebalance { .. } => ("rebalance", pool()),
        Work::Undo { of, .. } => ("undo", format!("job {of}")),
    }
}

const fn state(state: JobState) -> &'static str {
    match state {
        JobState::Running => "running",
        JobState::Paused => "paused",
        JobState::Done => "done",
        JobState::Cancelled => "cancelled",
    }
}
