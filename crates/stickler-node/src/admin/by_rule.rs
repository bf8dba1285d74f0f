//! Sessions ended or moved by a rule: what operators write, checked; how far it has come, as a stream.

use std::time::Duration;

use stickler_core::by_rule::{Deed, Rule, Tally};
use stickler_core::ids::BackendId;
use stickler_core::state::View;
use stickler_proto::admin::{MoveSessionsRequest, SessionRule, SessionsProgress, UnbindSessionsRequest};
use stickler_raft::{Cluster, ProposeError};
use tokio::sync::mpsc;
use tonic::Status;

use super::connection::Caller;
use super::session_changes::{refused, written};
use super::sessions::{affinity_named, backend_called};
use crate::by_rule::{FASTEST, Job, Stopped};

/// Where it is told how far a job has come.
pub(super) type Progress = mpsc::Sender<Result<SessionsProgress, Status>>;

/// A rule that an operator has given, checked.
pub(super) struct Order {
    rule: Rule,
    deed: Deed,
    rate: u32,
    dry_run: bool,
    caller: Caller,
    /// For the audit log.
    subject: String,
}

impl Order {
    pub(super) fn unbind(
        view: &View,
        caller: Caller,
        request: &UnbindSessionsRequest,
    ) -> Result<Self, Status> {
        let (rule, subject) = rule_written(view, request.rule.as_ref())?;
        let (deed, rate) = (Deed::Unbind, rate_written(request.rate)?);
        Ok(Self { rule, deed, rate, dry_run: request.dry_run, caller, subject })
    }

    pub(super) fn move_away(
        view: &View,
        caller: Caller,
        request: &MoveSessionsRequest,
    ) -> Result<Self, Status> {
        let (rule, subject) = rule_written(view, request.rule.as_ref())?;
        let to = BackendId(request.to);
        let pool_of = |backend| view.catalog.backends.get(&backend).map(|record| record.pool);
        match (rule.backend, pool_of(to)) {
            (None, _) => {
                return Err(Status::invalid_argument("sessions are moved away from a backend: name it"));
            }
            (_, None) => return Err(Status::not_found(format!("there is no backend {to}"))),
            (Some(from), _) if from == to => {
                return Err(Status::invalid_argument("sessions are moved to another backend than their own"));
            }
            (Some(from), pool) if pool_of(from) != pool => {
                return Err(Status::failed_precondition(
                    "sessions stay in their pool: the two backends are of different pools",
                ));
            }
            (Some(_), Some(_)) => {}
        }
        let (deed, rate) = (Deed::Move { to }, rate_written(request.rate)?);
        let subject = format!("{subject} to {}", called(view, to));
        Ok(Self { rule, deed, rate, dry_run: request.dry_run, caller, subject })
    }

    /// Carries it out until it is done, stopped, or nobody listens any more.
    pub(super) async fn run(self, cluster: Cluster, progress: Progress) {
        if self.dry_run {
            let counted = Job::count(&cluster, self.rule).await;
            let counted = counted
                .map(|meant| SessionsProgress { meant, ..SessionsProgress::default() })
                .map_err(|stopped| status(&cluster, self.deed, stopped, &Tally::default()));
            // Whoever has hung up does not want to know.
            let _ = progress.send(counted).await;
            return;
        }
        let (tally, ended) = self.carry_out(&cluster, &progress).await;
        let outcome = match &ended {
            Ok(true) => "done".to_owned(),
            Ok(false) => "the operator hung up".to_owned(),
            Err(stopped) => stopped.to_string(),
        };
        let action = if self.deed == Deed::Unbind { "unbind sessions" } else { "move sessions" };
        let Self { caller, subject, .. } = &self;
        let Tally { done, superseded, gone, index, .. } = tally;
        tracing::info!(target: "audit", %caller, action, subject, outcome, done, superseded, gone, %index);
        if let Err(stopped) = ended {
            let _ = progress.send(Err(status(&cluster, self.deed, stopped, &tally))).await;
        }
    }

    /// What was done, and whether that is all.
    async fn carry_out(&self, cluster: &Cluster, progress: &Progress) -> (Tally, Result<bool, Stopped>) {
        let mut job = match Job::begin(cluster, self.rule, self.deed, self.rate).await {
            Ok(job) => job,
            Err(stopped) => return (Tally::default(), Err(stopped)),
        };
        let ended = drive(&mut job, progress).await;
        let tally = *job.tally();
        if ended == Ok(true) {
            let last = SessionsProgress { receipt: Some(written(&job.receipt().await)), ..counts(&job) };
            let _ = progress.send(Ok(last)).await;
        }
        (tally, ended)
    }
}

/// Goes on until all is done, or somebody hangs up.
async fn drive(job: &mut Job, progress: &Progress) -> Result<bool, Stopped> {
    loop {
        if matches!(progress.try_send(Ok(counts(job))), Err(mpsc::error::TrySendError::Closed(_))) {
            return Ok(false);
        }
        let sessions = tokio::select! {
            biased;
            () = progress.closed() => return Ok(false),
            sessions = job.next() => sessions?,
        };
        if sessions.is_empty() {
            return Ok(true);
        }
        // Not given up halfway: what was proposed is counted.
        job.carry_out(&sessions).await?;
    }
}

fn counts(job: &Job) -> SessionsProgress {
    let Tally { done, superseded, gone, index, .. } = *job.tally();
    SessionsProgress { meant: job.meant(), done, superseded, gone, index: index.0, receipt: None }
}

fn rule_written(view: &View, rule: Option<&SessionRule>) -> Result<(Rule, String), Status> {
    let rule = rule.cloned().unwrap_or_default();
    let affinity = (!rule.affinity.is_empty()).then(|| affinity_named(view, &rule.affinity)).transpose()?;
    let backend = (rule.backend != 0).then_some(BackendId(rule.backend));
    let older_than = rule.older_than_milliseconds.map(Duration::from_millis);
    if affinity.is_none() && backend.is_none() && older_than.is_none() {
        return Err(Status::invalid_argument("a rule names an affinity, a backend or an age"));
    }
    let parts = [
        affinity.map(|_| format!("of {}", rule.affinity)),
        backend.map(|backend| format!("on {}", called(view, backend))),
        older_than.map(|age| format!("older than {age:?}")),
    ];
    let subject = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Ok((Rule { affinity, backend, older_than }, subject))
}

fn rate_written(rate: u32) -> Result<u32, Status> {
    if (1..=FASTEST).contains(&rate) {
        Ok(rate)
    } else {
        Err(Status::invalid_argument(format!("a rate is from 1 to {FASTEST} sessions a second")))
    }
}

fn called(view: &View, backend: BackendId) -> String {
    backend_called(view, backend).unwrap_or_else(|| format!("backend {backend}"))
}

/// Why a job has ended early, and what it has done by then.
fn status(cluster: &Cluster, deed: Deed, stopped: Stopped, tally: &Tally) -> Status {
    let why = match (stopped, deed) {
        (Stopped::Refused(refusal), Deed::Move { to }) => refused(&cluster.view(), to, refusal),
        (stopped, _) => stopped.to_string(),
    };
    let done = match (tally.done, deed) {
        (0, _) => String::new(),
        (done, Deed::Unbind) => {
            format!("; {done} sessions have ended by then: the same again ends the others")
        }
        (done, Deed::Move { .. }) => {
            format!("; {done} sessions have moved by then: the same again moves the others")
        }
    };
    let message = format!("{why}{done}");
    match stopped {
        // Whatever the reason is, it is not that nothing has happened.
        _ if tally.done > 0 => Status::unknown(message),
        Stopped::NoLease | Stopped::Propose(ProposeError::Unavailable) => Status::unavailable(message),
        Stopped::Propose(ProposeError::Overloaded) => Status::resource_exhausted(message),
        Stopped::Refused(_) | Stopped::TooManyMarks => Status::failed_precondition(message),
        Stopped::Behind | Stopped::Propose(_) | Stopped::Walk => Status::unknown(message),
    }
}
