//! The admin service: what an operator can ask of a cluster through this node. A change goes to the leader
//! by itself; what is shown is this node's replica.

mod affinities;
mod backends;
mod by_rule;
mod changes;
mod conflicts;
mod connection;
mod explain;
mod jobs;
mod keys;
mod listener;
mod pools;
mod replies;
mod session_changes;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use stickler_core::lease::Footing;
use stickler_proto::admin::admin_server::{Admin, AdminServer};
use stickler_proto::admin::{
    AddBackendRequest, ApplyDocumentReply, ApplyDocumentRequest, AwaitReceiptRequest, ChangeJobReply,
    ChangeJobRequest, ChangePoolReply, ExplainReply, ExplainRequest, HandOverReply, HandOverRequest,
    ListAffinitiesReply, ListAffinitiesRequest, ListBackendsReply, ListBackendsRequest, ListConflictsReply,
    ListConflictsRequest, ListHeaviestKeysReply, ListHeaviestKeysRequest, ListJobsReply, ListJobsRequest,
    ListKeysReply, ListKeysRequest, ListMembersReply, ListMembersRequest, ListSessionsReply,
    ListSessionsRequest, MoveSessionReply, MoveSessionRequest, MoveSessionsRequest, Receipt,
    RemoveBackendRequest, RotateKeyReply, RotateKeyRequest, Session, SessionsProgress, SetBackendAdminReply,
    SetBackendAdminRequest, ShowDocumentReply, ShowDocumentRequest, ShowSessionRequest, StartJobReply,
    StartJobRequest, StatusReply, StatusRequest, UnbindSessionReply, UnbindSessionRequest,
    UnbindSessionsRequest,
};
use stickler_proxy::request::Proxy;
use stickler_raft::Cluster;
use stickler_rt::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

pub use connection::Caller;
pub use listener::{AdminListener, BindError};

use crate::by_rule::Stopped;
use crate::readiness::Readiness;

/// Largest request, in bytes: a cluster document may have 1 MiB.
const LARGEST_REQUEST: usize = 2 * 1024 * 1024;

/// Calls at once on one connection.
const CALLS: u32 = 64;

/// Lists of sessions that are made at once: each is a thread, and holds memory back that the table frees.
const LISTINGS: usize = 4;

/// Rules that are carried out at once.
const JOBS: usize = 2;

/// How long a call that is under way may go on after the node was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Answers operators. Clones are the same service.
#[derive(Clone)]
pub struct AdminService {
    cluster: Cluster,
    proxy: Proxy,
    readiness: Readiness,
    listings: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
}

impl AdminService {
    /// The admin service of the node whose consensus is `cluster` and whose data plane is `proxy`.
    #[must_use]
    pub fn new(cluster: Cluster, proxy: Proxy, readiness: Readiness) -> Self {
        let (listings, jobs) = (Arc::new(Semaphore::new(LISTINGS)), Arc::new(Semaphore::new(JOBS)));
        Self { cluster, proxy, readiness, listings, jobs }
    }

    /// Serves on `listener` until `shutdown`; calls under way then have two seconds to end.
    ///
    /// # Errors
    /// When the server itself fails, which ends it; a broken connection does not.
    pub async fn serve(
        self,
        listener: AdminListener,
        shutdown: Shutdown,
    ) -> Result<(), tonic::transport::Error> {
        let service = AdminServer::new(self).max_decoding_message_size(LARGEST_REQUEST);
        let serving = tonic::transport::Server::builder()
            .max_concurrent_streams(Some(CALLS))
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .add_service(service)
            .serve_with_incoming_shutdown(listener.into_connections(), shutdown.wait_owned());
        tokio::select! {
            biased;
            served = serving => served,
            () = async {
                shutdown.wait().await;
                tokio::time::sleep(GRACE).await;
            } => Ok(()),
        }
    }
}

impl AdminService {
    /// Leave to make a list out of the table.
    fn listing(&self) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.listings)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted(format!("{LISTINGS} lists are being made already")))
    }

    /// Carries a rule out, beside the call, and tells how far it has come.
    fn carry_out(&self, order: by_rule::Order) -> Result<Response<ProgressStream>, Status> {
        if self.cluster.standing().footing != Footing::Leased {
            return Err(Status::unavailable(Stopped::NoLease.to_string()));
        }
        let permit = Arc::clone(&self.jobs)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted(format!("{JOBS} rules are being carried out already")))?;
        let (progress, stream) = mpsc::channel(PROGRESS);
        let cluster = self.cluster.clone();
        tokio::spawn(async move {
            order.run(cluster, progress).await;
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// How far a rule has come.
type ProgressStream = ReceiverStream<Result<SessionsProgress, Status>>;

/// Messages that may wait for a slow reader; it misses those beyond, but for the last.
const PROGRESS: usize = 16;

fn caller<T>(request: &Request<T>) -> Caller {
    request.extensions().get().cloned().unwrap_or(Caller::Unknown)
}

#[tonic::async_trait]
impl Admin for AdminService {
    type ListSessionsStream = ReceiverStream<Result<ListSessionsReply, Status>>;
    type UnbindSessionsStream = ProgressStream;
    type MoveSessionsStream = ProgressStream;

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let status = self.cluster.status().await;
        Ok(Response::new(replies::status(&self.cluster, &status, &self.readiness.now())))
    }

    async fn list_members(
        &self,
        _request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersReply>, Status> {
        let leader = self.cluster.status().await.leader;
        Ok(Response::new(replies::members(&self.cluster.members(), leader)))
    }

    async fn hand_over(&self, request: Request<HandOverRequest>) -> Result<Response<HandOverReply>, Status> {
        let caller = caller(&request);
        changes::hand_over(&self.cluster, caller, request.get_ref()).await.map(Response::new)
    }

    async fn add_backend(
        &self,
        request: Request<AddBackendRequest>,
    ) -> Result<Response<ChangePoolReply>, Status> {
        let caller = caller(&request);
        pools::add_backend(&self.cluster, caller, request.into_inner()).await.map(Response::new)
    }

    async fn remove_backend(
        &self,
        request: Request<RemoveBackendRequest>,
    ) -> Result<Response<ChangePoolReply>, Status> {
        let caller = caller(&request);
        pools::remove_backend(&self.cluster, caller, request.into_inner()).await.map(Response::new)
    }

    async fn apply_document(
        &self,
        request: Request<ApplyDocumentRequest>,
    ) -> Result<Response<ApplyDocumentReply>, Status> {
        let caller = caller(&request);
        changes::apply_document(&self.cluster, caller, request.into_inner()).await.map(Response::new)
    }

    async fn show_document(
        &self,
        _request: Request<ShowDocumentRequest>,
    ) -> Result<Response<ShowDocumentReply>, Status> {
        Ok(Response::new(replies::document(&self.cluster.view().catalog)))
    }

    async fn list_backends(
        &self,
        request: Request<ListBackendsRequest>,
    ) -> Result<Response<ListBackendsReply>, Status> {
        let all_nodes = request.get_ref().all_nodes;
        Ok(Response::new(backends::list(&self.cluster, &self.proxy, all_nodes).await))
    }

    async fn set_backend_admin(
        &self,
        request: Request<SetBackendAdminRequest>,
    ) -> Result<Response<SetBackendAdminReply>, Status> {
        let caller = caller(&request);
        changes::set_admin(&self.cluster, caller, request.get_ref()).await.map(Response::new)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<Self::ListSessionsStream>, Status> {
        let permit = self.listing()?;
        let listing = sessions::Listing::new(&self.cluster, request.get_ref())?;
        let (chunks, stream) = mpsc::channel(2);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            listing.run(&runtime, &chunks);
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn show_session(&self, request: Request<ShowSessionRequest>) -> Result<Response<Session>, Status> {
        let now = replies::time(&self.cluster);
        sessions::show(&self.cluster.view(), self.cluster.secrets(), now, request.get_ref())
            .map(Response::new)
    }

    async fn list_conflicts(
        &self,
        _request: Request<ListConflictsRequest>,
    ) -> Result<Response<ListConflictsReply>, Status> {
        let now = replies::time(&self.cluster);
        Ok(Response::new(conflicts::list(&self.cluster.view(), now)))
    }

    async fn list_affinities(
        &self,
        _request: Request<ListAffinitiesRequest>,
    ) -> Result<Response<ListAffinitiesReply>, Status> {
        let permit = self.listing()?;
        let (cluster, proxy) = (self.cluster.clone(), self.proxy.clone());
        let listing = tokio::task::spawn_blocking(move || {
            let listed = affinities::list(&cluster, &proxy);
            drop(permit);
            listed
        });
        listing.await.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }

    async fn list_heaviest_keys(
        &self,
        request: Request<ListHeaviestKeysRequest>,
    ) -> Result<Response<ListHeaviestKeysReply>, Status> {
        affinities::heaviest(&self.cluster, &self.proxy, request.get_ref()).map(Response::new)
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainReply>, Status> {
        explain::explain(&self.cluster, request.get_ref()).map(Response::new)
    }

    async fn unbind_session(
        &self,
        request: Request<UnbindSessionRequest>,
    ) -> Result<Response<UnbindSessionReply>, Status> {
        let caller = caller(&request);
        session_changes::unbind(&self.cluster, caller, request.get_ref()).await.map(Response::new)
    }

    async fn move_session(
        &self,
        request: Request<MoveSessionRequest>,
    ) -> Result<Response<MoveSessionReply>, Status> {
        let caller = caller(&request);
        session_changes::move_session(&self.cluster, caller, request.get_ref()).await.map(Response::new)
    }

    async fn unbind_sessions(
        &self,
        request: Request<UnbindSessionsRequest>,
    ) -> Result<Response<ProgressStream>, Status> {
        let caller = caller(&request);
        self.carry_out(by_rule::Order::unbind(&self.cluster.view(), caller, request.get_ref())?)
    }

    async fn move_sessions(
        &self,
        request: Request<MoveSessionsRequest>,
    ) -> Result<Response<ProgressStream>, Status> {
        let caller = caller(&request);
        self.carry_out(by_rule::Order::move_away(&self.cluster.view(), caller, request.get_ref())?)
    }

    async fn await_receipt(
        &self,
        request: Request<AwaitReceiptRequest>,
    ) -> Result<Response<Receipt>, Status> {
        session_changes::await_receipt(&self.cluster, request.get_ref()).await.map(Response::new)
    }

    async fn start_job(&self, request: Request<StartJobRequest>) -> Result<Response<StartJobReply>, Status> {
        let caller = caller(&request);
        jobs::start(&self.cluster, caller, request.get_ref()).await.map(Response::new)
    }

    async fn list_jobs(&self, _request: Request<ListJobsRequest>) -> Result<Response<ListJobsReply>, Status> {
        let permit = self.listing()?;
        let (cluster, now) = (self.cluster.clone(), replies::time(&self.cluster));
        let listing = tokio::task::spawn_blocking(move || {
            let listed = jobs::list(&cluster.view(), now);
            drop(permit);
            listed
        });
        listing.await.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }

    async fn change_job(
        &self,
        request: Request<ChangeJobRequest>,
    ) -> Result<Response<ChangeJobReply>, Status> {
        let caller = caller(&request);
        jobs::change(&self.cluster, caller, request.get_ref()).await.map(Response::new)
    }

    async fn list_keys(&self, _request: Request<ListKeysRequest>) -> Result<Response<ListKeysReply>, Status> {
        let (now, stable) = (replies::time(&self.cluster), self.cluster.standing().stable);
        Ok(Response::new(keys::list(&self.cluster.view(), now, stable)))
    }

    async fn rotate_key(
        &self,
        request: Request<RotateKeyRequest>,
    ) -> Result<Response<RotateKeyReply>, Status> {
        let caller = caller(&request);
        keys::rotate(&self.cluster, caller, request.get_ref()).await.map(Response::new)
    }
}
