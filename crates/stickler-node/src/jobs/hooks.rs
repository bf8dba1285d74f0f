//! Has an application told that a session is about to move, before it does.

use std::time::Duration;

use serde_json::json;
use stickler_core::hook::Hook;
use stickler_core::ids::{BackendId, Epoch, JobId};
use stickler_core::state::SessionKey;
use stickler_proxy::hook::{Told, tell};
use stickler_raft::Cluster;

/// How long the application may take: requests of the session are held meanwhile.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the application was told and has agreed.
pub(super) async fn told(
    cluster: &Cluster,
    hook: &str,
    job: JobId,
    (session, epoch): (SessionKey, Epoch),
    backend: BackendId,
) -> bool {
    let Ok(hook) = Hook::read(hook) else { return false };
    let (address, from) = {
        let view = cluster.view();
        let Some(record) = view.catalog.backends.get(&backend) else { return false };
        (hook.address.unwrap_or(record.address), record.name.clone())
    };
    let handle = session.key.to_string();
    let body = json!({ "job": job.0, "session": handle, "epoch": epoch.0, "backend": from }).to_string();
    let told = Told { path: hook.path, idempotency_key: format!("{job}-{handle}-{epoch}"), body };
    tell(&*cluster.outside().network, address, told, TIMEOUT).await
}
