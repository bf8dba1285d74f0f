//! What operators do to one session, and the receipts for it (I7).

use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch, LogIndex};
use stickler_core::receipt::{Receipt, Wait};
use stickler_core::state::{
    AdminState, Command, MoveReason, Outcome, Rebind, RebindOutcome, RebindRefusal, SessionKey, Unbind,
    UnbindOutcome, Verdict, View,
};
use stickler_proto::admin::{
    self, AwaitReceiptRequest, MoveSessionReply, MoveSessionRequest, UnbindSessionReply, UnbindSessionRequest,
};
use stickler_raft::Cluster;
use tonic::Status;

use super::changes::{Audited, PATIENCE, propose, unexpected};
use super::connection::Caller;
use super::sessions::{affinity_named, backend_called, key_written};

/// Longest wait for a receipt; whoever wants to wait for longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Ends a session.
pub(super) async fn unbind(
    cluster: &Cluster,
    caller: Caller,
    request: &UnbindSessionRequest,
) -> Result<UnbindSessionReply, Status> {
    let session = named(&cluster.view(), &request.affinity, &request.key)?;
    let subject = format!("{}/{} at epoch {}", request.affinity, session.key, request.expected_epoch);
    let unbind = Unbind { session, epoch: Epoch(request.expected_epoch) };
    let cluster = cluster.clone();
    let change = async move {
        let (index, outcome) = propose(&cluster, Command::Unbind(unbind)).await?;
        match outcome {
            Outcome::Unbind(UnbindOutcome::Unbound) => {
                let receipt = Some(receipt(&cluster, index).await);
                Ok((index, UnbindSessionReply { index: index.0, receipt }))
            }
            Outcome::Unbind(UnbindOutcome::NotBound) => Err(not_bound()),
            Outcome::Unbind(UnbindOutcome::Superseded(epoch)) => Err(superseded(epoch)),
            other => Err(unexpected(&other)),
        }
    };
    Audited { caller, action: "unbind session", subject }.run(change).await
}

/// Moves a session to the backend that is named.
pub(super) async fn move_session(
    cluster: &Cluster,
    caller: Caller,
    request: &MoveSessionRequest,
) -> Result<MoveSessionReply, Status> {
    let to = BackendId(request.to);
    let (session, backend) = {
        let view = cluster.view();
        (named(&view, &request.affinity, &request.key)?, backend_called(&view, to))
    };
    let name = backend.unwrap_or_else(|| format!("backend {to}"));
    let subject =
        format!("{}/{} at epoch {} to {name}", request.affinity, session.key, request.expected_epoch);
    let epoch = Epoch(request.expected_epoch);
    let rebind = Rebind { session, epoch, reason: MoveReason::Operator, candidate: Some(to) };
    let cluster = cluster.clone();
    let change = async move {
        let (index, outcome) = propose(&cluster, Command::Rebind(rebind)).await?;
        match outcome {
            Outcome::Rebind(RebindOutcome::Moved(binding)) => {
                let receipt = Some(receipt(&cluster, index).await);
                Ok((index, MoveSessionReply { index: index.0, epoch: binding.epoch.0, receipt }))
            }
            Outcome::Rebind(RebindOutcome::NotBound) => Err(not_bound()),
            Outcome::Rebind(RebindOutcome::Superseded(binding)) => Err(superseded(binding.epoch)),
            Outcome::Rebind(RebindOutcome::Refused(refusal)) => {
                Err(Status::failed_precondition(refused(&cluster.view(), to, refusal)))
            }
            other => Err(unexpected(&other)),
        }
    };
    Audited { caller, action: "move session", subject }.run(change).await
}

/// Waits for what an earlier change has not waited for.
pub(super) async fn await_receipt(
    cluster: &Cluster,
    request: &AwaitReceiptRequest,
) -> Result<admin::Receipt, Status> {
    let wait = match request.wait.as_str() {
        "leased" => Wait::Leased,
        "all" => Wait::All,
        _ => return Err(Status::invalid_argument("a receipt waits for the leased, or for all")),
    };
    let patience = Duration::from_millis(request.timeout_milliseconds);
    if patience > LONGEST_WAIT {
        return Err(Status::invalid_argument(format!("a receipt waits for {LONGEST_WAIT:?} at most")));
    }
    Ok(written(&cluster.receipt(LogIndex(request.index), wait, patience).await))
}

async fn receipt(cluster: &Cluster, index: LogIndex) -> admin::Receipt {
    written(&cluster.receipt(index, Wait::Leased, PATIENCE).await)
}

/// A receipt in the admin API's words.
pub(super) fn written(receipt: &Receipt) -> admin::Receipt {
    admin::Receipt {
        index: receipt.index.0,
        without_lease: receipt.without_lease.iter().map(|node| node.0).collect(),
        reached: receipt.reached,
        behind: receipt.behind.iter().map(|node| node.0).collect(),
    }
}

fn named(view: &View, affinity: &str, key: &str) -> Result<SessionKey, Status> {
    Ok(SessionKey { affinity: affinity_named(view, affinity)?, key: key_written(key)? })
}

fn not_bound() -> Status {
    Status::not_found(
        "no session has this key (any more); an older identifier of one has no session of its own",
    )
}

fn superseded(epoch: Epoch) -> Status {
    Status::failed_precondition(format!(
        "the session has epoch {epoch} by now: look at it again with `session show`"
    ))
}

/// Why a backend gets no session by hand, as far as this node can tell.
pub(super) fn refused(view: &View, to: BackendId, refusal: RebindRefusal) -> String {
    let name = backend_called(view, to).unwrap_or_else(|| format!("backend {to}"));
    match refusal {
        RebindRefusal::UnknownBackend => {
            format!("there is no {name} (any more): look it up with `backend list`")
        }
        RebindRefusal::AnotherPool => {
            format!("{name} is of another pool than the session, which stays in its own")
        }
        RebindRefusal::AlreadyThere => format!("the session is on {name} already"),
        RebindRefusal::BackendFull => format!("{name} has as many sessions as it may have"),
        RebindRefusal::BackendUnusable | RebindRefusal::NoBackend => {
            format!("{name} takes no sessions: {}", why_unusable(view, to))
        }
        RebindRefusal::ReasonDoesNotHold => refusal.to_string(),
    }
}

fn why_unusable(view: &View, backend: BackendId) -> &'static str {
    let Some(record) = view.catalog.backends.get(&backend) else { return "it was removed" };
    if record.leaving.is_some() {
        return "it was removed, and only keeps what it has";
    }
    match (record.admin, record.health.verdict) {
        (AdminState::Maint, _) => "it is in maint",
        (AdminState::Drain { .. }, _) => "it is drained",
        (AdminState::Ready, Verdict::Down) => "it is down",
        (AdminState::Ready, Verdict::Unknown) => "it was not checked yet",
        (AdminState::Ready, Verdict::Up) if record.weight == 0 => "it has weight 0",
        (AdminState::Ready, Verdict::Up) => "it did not at that moment",
    }
}
