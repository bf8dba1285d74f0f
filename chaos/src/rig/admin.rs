//! What the rig asks of a node's admin API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use stickler_proto::admin::admin_client::AdminClient;
use stickler_proto::admin::{
    ApplyDocumentRequest, Backend, ListBackendsRequest, ListSessionsRequest, Session, SetBackendAdminRequest,
    ShowDocumentRequest, StatusReply, StatusRequest,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the list of a node's sessions.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// A node did not do what was asked of it: the message is its own. Look into its log.
#[derive(Debug, thiserror::Error)]
#[error("the node at {address} says {code:?}: {message}")]
pub(crate) struct AdminError {
    address: SocketAddr,
    code: tonic::Code,
    message: String,
}

/// The sessions of one node's replica, by the key that backends are told, too.
pub(crate) type Listed = HashMap<String, Session>;

/// The admin API of one node. Connects when it is first used, and again when that broke.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    client: AdminClient<Channel>,
}

impl Admin {
    /// The admin API at this address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("a socket address makes a valid URL")
            .connect_timeout(TIMEOUT);
        Self { address, client: AdminClient::new(endpoint.connect_lazy()) }
    }

    /// The node, and what it knows of the others.
    pub(crate) async fn status(&mut self) -> Result<StatusReply, AdminError> {
        let reply = self.client.status(within(TIMEOUT, StatusRequest {})).await;
        reply.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// The backends, with the cluster's verdict on each.
    pub(crate) async fn backends(&mut self) -> Result<Vec<Backend>, AdminError> {
        let reply = self.client.list_backends(within(TIMEOUT, ListBackendsRequest {})).await;
        reply.map(|reply| reply.into_inner().backends).map_err(|status| self.error(&status))
    }

    /// Makes this text the cluster document. Doing it again changes nothing.
    pub(crate) async fn apply(&mut self, text: &str) -> Result<(), AdminError> {
        let shown = self.client.show_document(within(TIMEOUT, ShowDocumentRequest {})).await;
        let shown = shown.map_err(|status| self.error(&status))?.into_inner();
        if shown.text == text {
            return Ok(());
        }
        let request = ApplyDocumentRequest {
            text: text.to_owned(),
            file_name: "cluster.toml".to_owned(),
            expected_revision: shown.revision,
        };
        self.client.apply_document(within(TIMEOUT, request)).await.map_err(|status| self.error(&status))?;
        Ok(())
    }

    /// Sets the backend of this name ready, to drain (without a deadline), or in maint. The log index of the
    /// change.
    pub(crate) async fn set_backend(&mut self, name: &str, admin: &str) -> Result<u64, AdminError> {
        let backends = self.backends().await?;
        let Some(backend) = backends.into_iter().find(|backend| backend.name == name) else {
            return Err(self.error(&Status::not_found(format!("no backend {name}"))));
        };
        let request = SetBackendAdminRequest {
            id: backend.id,
            admin: admin.to_owned(),
            drain_milliseconds: None,
            expected_revision: backend.revision,
        };
        let reply = self.client.set_backend_admin(within(TIMEOUT, request)).await;
        reply.map(|reply| reply.into_inner().index).map_err(|status| self.error(&status))
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
        AdminError { address: self.address, code: status.code(), message: status.message().to_owned() }
    }
}

fn within<T>(timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}
