//! What the rig asks of a node's admin API.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;

use stickler_proto::admin::admin_client::AdminClient;
use stickler_proto::admin::{
    AddBackendRequest, Affinity, ApplyDocumentRequest, Backend, ChangeJobRequest, HandOverRequest, Job,
    ListAffinitiesRequest, ListBackendsRequest, ListJobsRequest, ListKeysRequest, ListSessionsRequest,
    MoveSessionRequest, Removal, RemoveBackendRequest, RotateKeyRequest, Session, SessionRule,
    SetBackendAdminRequest, ShowDocumentRequest, ShowSessionRequest, StartJobRequest, StatusReply,
    StatusRequest, UnbindSessionRequest, UnbindSessionsRequest,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the list of a node's sessions.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// A node did not do what was asked of it: the message is its own. Look into its log.
#[derive(Debug, thiserror::Error)]
#[error("the node at {address} says {code:?}: {message}")]
pub(crate) struct AdminError {
    address: AdminPlace,
    code: Code,
    message: String,
}

impl AdminError {
    /// Whether it is certain that nothing has happened and nothing will: the node has said so. What broke on
    /// the way may have happened.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self.code,
            Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound | Code::ResourceExhausted
        )
    }
}

/// Where a node accepts operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminPlace {
    /// At an address.
    Tcp(SocketAddr),
    /// At a file.
    Unix(PathBuf),
}

/// As it stands in a node file.
impl fmt::Display for AdminPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The sessions of one node's replica, by the key that backends are told, too.
pub(crate) type Listed = HashMap<String, Session>;

/// The admin API of one node. Connects when it is first used, and again when that broke.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    address: AdminPlace,
    client: AdminClient<Channel>,
}

impl Admin {
    /// The admin API at this address.
    pub(crate) fn at(address: AdminPlace) -> Self {
        let endpoint = |authority: &str| {
            Endpoint::from_shared(format!("http://{authority}"))
                .expect("a socket address makes a valid URL")
                .connect_timeout(TIMEOUT)
        };
        let channel = match address.clone() {
            AdminPlace::Tcp(address) => endpoint(&address.to_string()).connect_lazy(),
            AdminPlace::Unix(path) => {
                endpoint("node").connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                }))
            }
        };
        Self { address, client: AdminClient::new(channel) }
    }

    /// The node, and what it knows of the others.
    pub(crate) async fn status(&mut self) -> Result<StatusReply, AdminError> {
        let reply = self.client.status(within(TIMEOUT, StatusRequest {})).await;
        reply.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Has this node lead.
    pub(crate) async fn hand_over(&mut self, to: u64) -> Result<(), AdminError> {
        let handed_over = self.client.hand_over(within(TIMEOUT, HandOverRequest { to })).await;
        handed_over.map(drop).map_err(|status| self.error(&status))
    }

    /// Adds a key that seals Stickler's cookie, unless somebody else has added one meanwhile: its number.
    pub(crate) async fn rotate_key(&mut self) -> Result<u32, AdminError> {
        let listed = self.client.list_keys(within(TIMEOUT, ListKeysRequest {})).await;
        let keys = listed.map_err(|status| self.error(&status))?.into_inner().keys;
        let expected_key = keys.iter().map(|key| key.id).max().unwrap_or(0);
        let reply = self.client.rotate_key(within(TIMEOUT, RotateKeyRequest { expected_key })).await;
        reply.map(|reply| reply.into_inner().key).map_err(|status| self.error(&status))
    }

    /// The backends, with the cluster's verdict on each.
    pub(crate) async fn backends(&mut self) -> Result<Vec<Backend>, AdminError> {
        let reply =
            self.client.list_backends(within(TIMEOUT, ListBackendsRequest { all_nodes: false })).await;
        reply.map(|reply| reply.into_inner().backends).map_err(|status| self.error(&status))
    }

    /// For each backend the nodes that have ejected it, of those nodes that this one hears.
    pub(crate) async fn ejections(&mut self) -> Result<Vec<(String, Vec<u64>)>, AdminError> {
        let reply = self.client.list_backends(within(TIMEOUT, ListBackendsRequest { all_nodes: true })).await;
        let backends = reply.map_err(|status| self.error(&status))?.into_inner().backends;
        Ok(backends.into_iter().map(|backend| (backend.name, backend.ejected_by)).collect())
    }

    /// The affinity of this name, with what this node's replica counts of it.
    pub(crate) async fn affinity(&mut self, name: &str) -> Result<Affinity, AdminError> {
        let reply = self.client.list_affinities(within(TIMEOUT, ListAffinitiesRequest {})).await;
        let affinities = reply.map_err(|status| self.error(&status))?.into_inner().affinities;
        let found = affinities.into_iter().find(|affinity| affinity.name == name);
        found.ok_or_else(|| self.error(&Status::not_found(format!("no affinity {name}"))))
    }

    /// Makes this text the cluster document. Doing it again changes nothing.
    pub(crate) async fn apply(&mut self, text: &str) -> Result<(), AdminError> {
        self.apply_removing(text, None).await.map(drop)
    }

    /// The same; backends that it names no more leave, with their sessions staying for so long at the most. The log
    /// index of the change; none when nothing had to change.
    pub(crate) async fn apply_removing(
        &mut self,
        text: &str,
        deadline: Option<Duration>,
    ) -> Result<Option<u64>, AdminError> {
        let shown = self.client.show_document(within(TIMEOUT, ShowDocumentRequest {})).await;
        let shown = shown.map_err(|status| self.error(&status))?.into_inner();
        if shown.text == text {
            return Ok(None);
        }
        let request = ApplyDocumentRequest {
            text: text.to_owned(),
            file_name: "cluster.toml".to_owned(),
            expected_revision: shown.revision,
            removal: deadline.map(leaving_within),
        };
        let reply = self.client.apply_document(within(TIMEOUT, request)).await;
        reply.map(|reply| Some(reply.into_inner().index)).map_err(|status| self.error(&status))
    }

    /// Adds a backend to this pool. The log index of that.
    pub(crate) async fn add_backend(
        &mut self,
        pool: &str,
        name: &str,
        address: SocketAddr,
    ) -> Result<u64, AdminError> {
        let (pool, name, address) = (pool.to_owned(), name.to_owned(), address.to_string());
        let request = AddBackendRequest { pool, name, address, ..AddBackendRequest::default() };
        let reply = self.client.add_backend(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().index).map_err(|status| self.error(&status))
    }

    /// Has a backend leave this pool, with its sessions staying for so long at the most. The log index of that.
    pub(crate) async fn remove_backend(
        &mut self,
        pool: &str,
        name: &str,
        deadline: Duration,
    ) -> Result<u64, AdminError> {
        let (pool, name) = (pool.to_owned(), name.to_owned());
        let request = RemoveBackendRequest { pool, name, removal: Some(leaving_within(deadline)) };
        let reply = self.client.remove_backend(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().index).map_err(|status| self.error(&status))
    }

    /// Sets the backend of this name ready, to drain (without a deadline), or in maint. The log index of the
    /// change.
    pub(crate) async fn set_backend(&mut self, name: &str, admin: &str) -> Result<u64, AdminError> {
        let backend = self.backend(name).await?;
        let request = SetBackendAdminRequest {
            id: backend.id,
            admin: admin.to_owned(),
            drain_milliseconds: None,
            expected_revision: backend.revision,
        };
        let reply = self.client.set_backend_admin(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().index).map_err(|status| self.error(&status))
    }

    /// One session, by its key.
    pub(crate) async fn show_session(&mut self, affinity: &str, key: &str) -> Result<Session, AdminError> {
        let request = ShowSessionRequest {
            affinity: affinity.to_owned(),
            key: key.to_owned(),
            identifier: String::new(),
        };
        let reply = self.client.show_session(within(TIMEOUT, request)).await;
        reply.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Ends a session, unless it has another epoch by now. The log index of that.
    pub(crate) async fn unbind(&mut self, affinity: &str, key: &str, epoch: u64) -> Result<u64, AdminError> {
        let request = UnbindSessionRequest {
            affinity: affinity.to_owned(),
            key: key.to_owned(),
            expected_epoch: epoch,
        };
        let reply = self.client.unbind_session(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().index).map_err(|status| self.error(&status))
    }

    /// Moves a session to the backend of this name, unless it has another epoch by now. The log index of that.
    pub(crate) async fn move_session(
        &mut self,
        (affinity, key, epoch): (&str, &str, u64),
        to: &str,
    ) -> Result<u64, AdminError> {
        let to = self.backend(to).await?.id;
        let (affinity, key) = (affinity.to_owned(), key.to_owned());
        let request = MoveSessionRequest { affinity, key, expected_epoch: epoch, to };
        let reply = self.client.move_session(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().index).map_err(|status| self.error(&status))
    }

    /// Ends all sessions of this affinity on the backend of this name, so many in a second; hangs up when that takes
    /// too long. How many that were.
    pub(crate) async fn unbind_by_rule(
        &mut self,
        affinity: &str,
        backend: &str,
        rate: u32,
    ) -> Result<u64, AdminError> {
        let backend = self.backend(backend).await?.id;
        let rule = SessionRule { affinity: affinity.to_owned(), backend, older_than_milliseconds: None };
        let request = UnbindSessionsRequest { rule: Some(rule), rate, dry_run: false };
        let reply = self.client.unbind_sessions(within(TIMEOUT, request)).await;
        let mut progress = reply.map_err(|status| self.error(&status))?.into_inner();
        let mut done = None;
        while let Some(report) = progress.message().await.map_err(|status| self.error(&status))? {
            done = report.receipt.map(|_| report.done);
        }
        done.ok_or_else(|| self.error(&Status::unknown("the node has gone before the end")))
    }

    /// Begins a job: its number.
    pub(crate) async fn start_job(&mut self, request: StartJobRequest) -> Result<u64, AdminError> {
        let reply = self.client.start_job(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().job).map_err(|status| self.error(&status))
    }

    /// Pauses, resumes or cancels a job, as it is by now.
    pub(crate) async fn change_job(&mut self, job: u64, change: &str) -> Result<u64, AdminError> {
        let known = self.jobs().await?.into_iter().find(|known| known.id == job);
        let known = known.ok_or_else(|| self.error(&Status::not_found(format!("no job {job}"))))?;
        let request = ChangeJobRequest { job, expected_revision: known.revision, change: change.to_owned() };
        let reply = self.client.change_job(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().index).map_err(|status| self.error(&status))
    }

    /// The jobs that go on, and the last ones that are over.
    pub(crate) async fn jobs(&mut self) -> Result<Vec<Job>, AdminError> {
        let reply = self.client.list_jobs(within(TIMEOUT, ListJobsRequest {})).await;
        reply.map(|reply| reply.into_inner().jobs).map_err(|status| self.error(&status))
    }

    /// The backend of this name.
    pub(crate) async fn backend(&mut self, name: &str) -> Result<Backend, AdminError> {
        let backends = self.backends().await?;
        let found = backends.into_iter().find(|backend| backend.name == name);
        found.ok_or_else(|| self.error(&Status::not_found(format!("no backend {name}"))))
    }

    /// Some of the sessions that this node's replica holds.
    pub(crate) async fn some_sessions(&mut self, limit: u64) -> Result<Vec<Session>, AdminError> {
        let request = ListSessionsRequest { affinity: String::new(), backend: 0, limit, local: true };
        let reply = self.client.list_sessions(within(TIMEOUT, request)).await;
        let mut chunks = reply.map_err(|status| self.error(&status))?.into_inner();
        let mut listed = Vec::new();
        while let Some(chunk) = chunks.message().await.map_err(|status| self.error(&status))? {
            listed.extend(chunk.sessions);
        }
        Ok(listed)
    }

    /// All sessions that this node's replica holds.
    pub(crate) async fn sessions(&mut self) -> Result<Listed, AdminError> {
        let request = ListSessionsRequest { affinity: String::new(), backend: 0, limit: 0, local: true };
        let reply = self.client.list_sessions(within(LIST_TIMEOUT, request)).await;
        let mut chunks = reply.map_err(|status| self.error(&status))?.into_inner();
        let mut listed = Listed::new();
        while let Some(chunk) = chunks.message().await.map_err(|status| self.error(&status))? {
            listed.extend(chunk.sessions.into_iter().map(|session| (session.key.clone(), session)));
        }
        Ok(listed)
    }

    fn error(&self, status: &Status) -> AdminError {
        AdminError {
            address: self.address.clone(),
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

fn leaving_within(deadline: Duration) -> Removal {
    let drain_milliseconds = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    Removal { force: false, drain_milliseconds: Some(drain_milliseconds) }
}

fn within<T>(timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}
