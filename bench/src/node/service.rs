//! The node's side of `proto/node.proto`.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_core::lease::Footing;
use stickler_core::state::{AdminOutcome, ApplyDocument, Command, Outcome};
use stickler_raft::{Cluster, Persistence};
use stickler_rt::Outside;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::binder::Binder;
use crate::api::node::node_server::Node;
use crate::api::node::{
    ApplyReply, ApplyRequest, BindReply, BindRequest, CompactReply, CompactRequest, Latency, LoadReply,
    LoadRequest, StatusReply, StatusRequest,
};
use crate::callers::{Sessions, Window, drive};
use crate::document::{checked, reports};
use crate::figures::Measured;

/// Longest wait for a change of the document, and for a snapshot.
const PATIENCE: Duration = Duration::from_secs(20);

/// One node, as the benchmark sees it.
pub struct NodeService {
    cluster: Cluster,
    outside: Outside,
    /// Made with the first bind.
    binder: OnceLock<Binder>,
}

impl NodeService {
    pub fn new(cluster: Cluster, outside: Outside) -> Self {
        Self { cluster, outside, binder: OnceLock::new() }
    }

    fn binder(&self) -> Result<&Binder, Status> {
        if let Some(binder) = self.binder.get() {
            return Ok(binder);
        }
        let binder = Binder::new(&self.cluster);
        let binder = binder.ok_or_else(|| Status::failed_precondition("no document was applied"))?;
        Ok(self.binder.get_or_init(|| binder))
    }

    async fn propose(&self, command: Command) -> Result<Outcome, Status> {
        let answer = self.cluster.propose(command, PATIENCE, Persistence::Retry).await;
        answer.map(|answer| answer.outcome).map_err(|error| Status::unavailable(error.to_string()))
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn bind(&self, request: Request<BindRequest>) -> Result<Response<BindReply>, Status> {
        let key: [u8; 16] = request
            .into_inner()
            .key
            .try_into()
            .map_err(|_| Status::invalid_argument("a key has 16 bytes"))?;
        let bound = self.binder()?.bind(u128::from_be_bytes(key)).await;
        let (backend, epoch) = bound.map_err(Status::unavailable)?;
        Ok(Response::new(BindReply { backend, epoch }))
    }

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyReply>, Status> {
        let document = checked(&request.into_inner().text)
            .map_err(|failure| Status::invalid_argument(failure.to_string()))?;
        let expected = self.cluster.view().catalog.revision;
        let apply = Command::ApplyDocument(Box::new(ApplyDocument {
            document,
            expected,
            removal: stickler_core::state::Removal::Now,
        }));
        let outcome = self.propose(apply).await?;
        let Outcome::Admin(AdminOutcome::Done(revision)) = outcome else {
            return Err(Status::failed_precondition(format!("the document was answered by {outcome:?}")));
        };
        let mut catalog = self.cluster.catalog();
        catalog
            .wait_for(|catalog| catalog.revision >= revision)
            .await
            .map_err(|_| Status::unavailable("the node is stopping"))?;
        let applied = Arc::clone(&catalog.borrow());
        let voters: Vec<NodeId> = applied.voters.iter().copied().collect();
        for report in reports(&applied, &voters) {
            self.propose(report).await?;
        }
        Ok(Response::new(ApplyReply {}))
    }

    async fn load(&self, request: Request<LoadRequest>) -> Result<Response<LoadReply>, Status> {
        let LoadRequest { callers, warm_up_milliseconds, milliseconds, first, sessions, again } =
            request.into_inner();
        let window = Window {
            warm_up: Duration::from_millis(warm_up_milliseconds),
            measured: Duration::from_millis(milliseconds),
        };
        let operations = vec![self.binder()?.clone(); callers as usize];
        let sessions = Sessions::new(first, sessions, again);
        let (done, ended) = oneshot::channel();
        // Requests of clients live on a worker's thread, apart from consensus.
        let main = Box::new(move || -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async move {
                let _ = done.send(drive(operations, sessions, window).await);
            })
        });
        self.outside
            .spawner
            .spawn_worker("callers", main)
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let measured = ended.await.map_err(|_| Status::internal("the callers' thread has ended"))?;
        Ok(Response::new(reply(&measured)))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let status = self.cluster.status().await;
        Ok(Response::new(StatusReply {
            term: status.term,
            leader: status.leader.map_or(0, |leader| leader.0),
            applied: status.applied.0,
            committed: status.committed.0,
            sessions: self.cluster.view().table.len() as u64,
            leased: status.standing.footing == Footing::Leased,
        }))
    }

    async fn compact(&self, _: Request<CompactRequest>) -> Result<Response<CompactReply>, Status> {
        let compacted = self.cluster.compact(PATIENCE).await;
        compacted.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(CompactReply {}))
    }
}

fn reply(measured: &Measured) -> LoadReply {
    let latencies = measured.latencies.occurred();
    LoadReply {
        microseconds: (measured.seconds * 1e6) as u64,
        done: measured.done,
        failed: measured.failed,
        first_failure: measured.first_failure.clone().unwrap_or_default(),
        latencies: latencies.map(|(microseconds, count)| Latency { microseconds, count }).collect(),
    }
}
