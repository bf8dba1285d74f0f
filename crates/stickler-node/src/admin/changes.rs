//! Changes that operators ask for: checked here, proposed to the cluster, and noted in the audit log.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use stickler_core::document::check_cluster;
use stickler_core::document::problem::Problems;
use stickler_core::ids::{BackendId, LogIndex, NodeId, Revision};
use stickler_core::state::{Admin, AdminOutcome, ApplyDocument, Command, Outcome, SetAdmin};
use stickler_proto::admin::{
    ApplyDocumentReply, ApplyDocumentRequest, HandOverReply, HandOverRequest, SetBackendAdminReply,
    SetBackendAdminRequest,
};
use stickler_raft::{Cluster, HandOverError, Persistence, ProposeError};
use tonic::Status;

use super::connection::Caller;
use super::sessions::backend_called;

/// Longest wait for the outcome of a change: several elections long.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait until a change that has happened is in this node's own state.
const UNTIL_APPLIED: Duration = Duration::from_secs(1);

/// Longest message of an error, in bytes: it travels in a header.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// Longest life of a drain's deadline: a year.
pub(super) const LONGEST_DRAIN: u64 = 366 * 24 * 60 * 60 * 1000;

/// A change as the audit log tells of it.
pub(super) struct Audited {
    pub(super) caller: Caller,
    pub(super) action: &'static str,
    /// What is changed; never a client's identifier.
    pub(super) subject: String,
}

impl Audited {
    /// Carries the change out and notes what came of it. It goes on when the operator hangs up meanwhile,
    /// so that what was done is always noted.
    pub(super) async fn run<T: Send + 'static>(
        self,
        change: impl Future<Output = Result<(LogIndex, T), Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let noted = tokio::spawn(async move {
            let Self { caller, action, subject } = self;
            match change.await {
                Ok((index, done)) => {
                    tracing::info!(target: "audit", %caller, action, subject, outcome = "done", %index);
                    Ok(done)
                }
                Err(status) => {
                    let (outcome, reason) = (status.code(), first_line(status.message()));
                    tracing::info!(target: "audit", %caller, action, subject, ?outcome, reason);
                    Err(status)
                }
            }
        });
        noted.await.unwrap_or_else(|_| Err(Status::unknown("the node is stopping")))
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// Hands leadership to the node that is wanted, or to any other than the present leader.
pub(super) async fn hand_over(
    cluster: &Cluster,
    caller: Caller,
    request: &HandOverRequest,
) -> Result<HandOverReply, Status> {
    let to = (request.to != 0).then_some(NodeId(request.to));
    let subject = to.map_or_else(|| "to any node".to_owned(), |to| format!("to node {to}"));
    let cluster = cluster.clone();
    let change = async move {
        let leader = cluster.hand_over(to).await.map_err(|error| not_handed_over(&error))?;
        Ok((LogIndex(cluster.view().applied.0), HandOverReply { leader: leader.0 }))
    };
    Audited { caller, action: "hand over leadership", subject }.run(change).await
}

fn not_handed_over(error: &HandOverError) -> Status {
    let message = error.to_string();
    match error {
        HandOverError::NoLeader => Status::unavailable(message),
        HandOverError::OnlyVoter | HandOverError::NotTaken(_) => Status::failed_precondition(message),
        HandOverError::NotAVoter(_) => Status::not_found(message),
        HandOverError::Unknown => Status::unknown(message),
    }
}

/// Checks a document and replaces the cluster's with it.
pub(super) async fn apply_document(
    cluster: &Cluster,
    caller: Caller,
    request: ApplyDocumentRequest,
) -> Result<ApplyDocumentReply, Status> {
    let expected = Revision(request.expected_revision);
    let subject = format!("{} on revision {expected}", named(&request.file_name));
    let removal = super::pools::removal(request.removal)?;
    let cluster = cluster.clone();
    let change = async move {
        let document = check_cluster(named(&request.file_name), &request.text)
            .map_err(|problems| Status::invalid_argument(all(&problems)))?;
        let command = Command::ApplyDocument(Box::new(ApplyDocument { document, expected, removal }));
        let (index, revision) = admin_outcome(propose(&cluster, command).await?, "the cluster document")?;
        Ok((index, ApplyDocumentReply { revision: revision.0, index: index.0 }))
    };
    Audited { caller, action: "apply document", subject }.run(change).await
}

fn named(file_name: &str) -> &str {
    if file_name.is_empty() { "cluster.toml" } else { file_name }
}

/// All problems, as far as they fit into a message.
pub(super) fn all(problems: &Problems) -> String {
    let mut text = String::new();
    for (kept, problem) in problems.as_slice().iter().enumerate() {
        let line = format!("{}{problem}", if kept > 0 { "\n" } else { "" });
        if text.len() + line.len() > LONGEST_MESSAGE {
            let more = problems.as_slice().len() - kept + problems.left_out();
            return format!("{text}\nand {more} more");
        }
        text.push_str(&line);
    }
    match problems.left_out() {
        0 => text,
        more => format!("{text}\nand {more} more"),
    }
}

/// Sets a backend's admin state.
pub(super) async fn set_admin(
    cluster: &Cluster,
    caller: Caller,
    request: &SetBackendAdminRequest,
) -> Result<SetBackendAdminReply, Status> {
    let admin = admin_written(request)?;
    let backend = BackendId(request.id);
    let subject = match backend_called(&cluster.view(), backend) {
        Some(name) => format!("{name} to {admin:?}"),
        None => format!("backend {backend} to {admin:?}"),
    };
    let set = SetAdmin { backend, admin, expected: Revision(request.expected_revision) };
    let cluster = cluster.clone();
    let change = async move {
        let (index, revision) =
            admin_outcome(propose(&cluster, Command::SetAdmin(set)).await?, "the backend")?;
        Ok((index, SetBackendAdminReply { revision: revision.0, index: index.0 }))
    };
    Audited { caller, action: "set backend admin", subject }.run(change).await
}

fn admin_written(request: &SetBackendAdminRequest) -> Result<Admin, Status> {
    let deadline = request.drain_milliseconds;
    match (request.admin.as_str(), deadline) {
        ("drain", Some(deadline)) if deadline == 0 || deadline > LONGEST_DRAIN => {
            Err(Status::invalid_argument("a drain's deadline lies between a millisecond and a year from now"))
        }
        ("drain", deadline) => Ok(Admin::Drain { deadline }),
        ("ready", None) => Ok(Admin::Ready),
        ("maint", None) => Ok(Admin::Maint),
        ("ready" | "maint", Some(_)) => Err(Status::invalid_argument("only a drain has a deadline")),
        _ => Err(Status::invalid_argument("an admin state is ready, drain or maint")),
    }
}

/// Proposes a change, and waits until this node has applied it: who looks through the same node sees what was changed.
pub(super) async fn propose(cluster: &Cluster, command: Command) -> Result<(LogIndex, Outcome), Status> {
    let answer = cluster.propose(command, PATIENCE, Persistence::Report).await.map_err(no_answer)?;
    let mut changes = cluster.changes();
    let applied = async { while cluster.view().applied < answer.index && changes.changed().await.is_ok() {} };
    // It has happened, whether this node hears of it or not.
    let _ = tokio::time::timeout(UNTIL_APPLIED, applied).await;
    Ok((answer.index, answer.outcome))
}

pub(super) fn no_answer(error: ProposeError) -> Status {
    let message = error.to_string();
    match error {
        ProposeError::Unavailable => Status::unavailable(message),
        ProposeError::Overloaded => Status::resource_exhausted(message),
        ProposeError::Unknown => Status::unknown(message),
        // The proposal may have been on its way to the leader already.
        ProposeError::Stopped => Status::unknown("the node is stopping: it may have happened, or may still"),
    }
}

/// Where a change of a revisioned thing was committed, and the thing's revision since.
pub(super) fn admin_outcome(
    (index, outcome): (LogIndex, Outcome),
    what: &'static str,
) -> Result<(LogIndex, Revision), Status> {
    match outcome {
        Outcome::Admin(AdminOutcome::Done(revision)) => Ok((index, revision)),
        Outcome::Admin(AdminOutcome::Changed(revision)) => Err(Status::failed_precondition(format!(
            "{what} has revision {revision} by now: somebody changed it; look at it and try again"
        ))),
        Outcome::Admin(AdminOutcome::Unknown) => Err(Status::not_found(format!(
            "there is no such thing as {what} that was named: look it up with `backend list`"
        ))),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(outcome: &dyn fmt::Debug) -> Status {
    tracing::error!(?outcome, "the cluster answered another question than was asked");
    Status::internal("the cluster answered another question than was asked")
}
