//! What all nodes have their backends do, asked for when an operator wants to know.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::join_all;
use stickler_core::ids::{BackendId, NodeId};
use stickler_core::load::BackendLoad;
use tonic::Status;

use crate::peers::{Lane, Links, Target, body, value};
use crate::store::codec::Kind;

/// How long another node may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// The most backends that are asked about at once.
pub(crate) const MOST_ASKED: usize = 8192;

/// Tells what this node has a backend do. Must not hold the cluster, which holds it.
pub type LoadSource = Box<dyn Fn(BackendId) -> BackendLoad + Send + Sync>;

/// This node's own load, once there is a data plane. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct OwnLoad {
    source: Arc<OnceLock<LoadSource>>,
}

impl OwnLoad {
    /// Has the load told by `source` from now on. Only the first one counts.
    pub(crate) fn tell(&self, source: LoadSource) {
        let _ = self.source.set(source);
    }

    /// The load of these backends; of none while there is no data plane.
    pub(crate) fn of(&self, backends: &[BackendId]) -> Vec<BackendLoad> {
        let source = self.source.get();
        let asked = backends.iter().take(MOST_ASKED);
        source.map_or_else(Vec::new, |source| asked.map(|backend| source(*backend)).collect())
    }
}

/// What these nodes say, those left out that did not answer in time.
pub(crate) async fn ask_all(
    links: &Links,
    targets: Vec<Target>,
    backends: &[BackendId],
) -> BTreeMap<NodeId, Vec<BackendLoad>> {
    let asking = targets.into_iter().map(async |target| {
        let answer = tokio::time::timeout(PATIENCE, ask(links, &target, backends)).await;
        let loads = answer.map_err(|_| Status::deadline_exceeded("too late")).flatten();
        loads
            .inspect_err(|status| tracing::debug!(node = %target.node, %status, "asked for its load"))
            .ok()
            .map(|loads| (target.node, loads))
    });
    join_all(asking).await.into_iter().flatten().collect()
}

async fn ask(links: &Links, target: &Target, backends: &[BackendId]) -> Result<Vec<BackendLoad>, Status> {
    let request = links.request(target, body(Kind::PeerRequest, &backends)?)?;
    let answer = links.client(target, Lane::Bulk).load(request).await?;
    value(Kind::PeerAnswer, answer.get_ref())
}
