//! The sealing keys of Stickler's cookie, as this node's replica has them. Nothing in here shows a secret.

use stickler_core::affinity::sealing::SealingKeyId;
use stickler_core::ids::LogIndex;
use stickler_core::state::{MAX_SEALING_KEYS, Outcome, RotateOutcome, View};
use stickler_core::time::ClusterTime;
use stickler_proto::admin::{ListKeysReply, RotateKeyReply, RotateKeyRequest, SealingKey};
use stickler_raft::Cluster;
use tonic::Status;

use super::changes::{Audited, propose, unexpected};
use super::connection::Caller;
use super::replies::{milliseconds, time};

/// The ring as it is at this cluster time and this stable index.
pub(super) fn list(view: &View, now: ClusterTime, stable: LogIndex) -> ListKeysReply {
    let ring = &view.catalog.ring;
    let sealing = ring.sealing(stable).map(|key| key.added_at);
    let keys = ring.keys().iter().map(|key| SealingKey {
        id: key.id.0,
        age_milliseconds: milliseconds(now.since(key.added)),
        state: match sealing {
            Some(sealing) if key.added_at == sealing => "sealing",
            Some(sealing) if key.added_at > sealing => "not-yet-sealing",
            _ => "opening",
        }
        .to_owned(),
        opens_milliseconds: key
            .opens_until(view.catalog.overlap())
            .map(|until| milliseconds(until.since(now))),
        added_index: key.added_at.0,
    });
    ListKeysReply { keys: keys.collect() }
}

/// Adds a key.
pub(super) async fn rotate(
    cluster: &Cluster,
    caller: Caller,
    request: &RotateKeyRequest,
) -> Result<RotateKeyReply, Status> {
    let expected = SealingKeyId(request.expected_key);
    let subject = format!("after key {expected}");
    let cluster = cluster.clone();
    let change = async move {
        let rotation =
            cluster.rotation(expected).map_err(|error| Status::failed_precondition(error.to_string()))?;
        let (index, outcome) = propose(&cluster, rotation).await?;
        match outcome {
            Outcome::Rotate(RotateOutcome::Rotated(key)) => {
                Ok((index, RotateKeyReply { key: key.0, index: index.0 }))
            }
            Outcome::Rotate(RotateOutcome::Changed(newest)) => Err(Status::failed_precondition(format!(
                "the newest key is {newest} by now: look at the keys again with `key list`"
            ))),
            Outcome::Rotate(RotateOutcome::Full(until)) => Err(full(until.since(time(&cluster)))),
            other => Err(unexpected(&other)),
        }
    };
    Audited { caller, action: "rotate sealing key", subject }.run(change).await
}

fn full(left: std::time::Duration) -> Status {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Status::failed_precondition(format!(
        "there are {MAX_SEALING_KEYS} keys, as many as there can be: the oldest opens tokens for {seconds} s more, \
         then another can be added; a shorter `sealing.overlap` in the cluster document takes it out earlier"
    ))
}
