//! What `dev` asks of a node's admin API.

use std::net::SocketAddr;
use std::time::Duration;

use stickler_proto::admin::admin_client::AdminClient;
use stickler_proto::admin::{
    ApplyDocumentRequest, Backend, ListBackendsRequest, ShowDocumentRequest, StatusReply, StatusRequest,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a node did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// Nothing answers there, or no leader could be asked: try again, and look into the node's log.
    #[error("the node at {address} can't answer now: {message}")]
    Unreachable {
        /// The node's admin address.
        address: SocketAddr,
        /// What failed.
        message: String,
    },
    /// The cluster refuses; the message says why.
    #[error("refused by the node at {address}: {message}")]
    Refused {
        /// The node's admin address.
        address: SocketAddr,
        /// Why.
        message: String,
    },
}

/// The admin API of one node.
pub(super) struct Admin {
    address: SocketAddr,
    client: AdminClient<Channel>,
}

impl Admin {
    /// The admin API at this address. Connects when it is first used, and again when that broke.
    pub fn at(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("a socket address makes a valid URL")
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT);
        Self { address, client: AdminClient::new(endpoint.connect_lazy()) }
    }

    /// The node, and what it knows of the others.
    pub async fn status(&mut self) -> Result<StatusReply, AdminError> {
        let reply = self.client.status(StatusRequest {}).await;
        reply.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// The backends, with the cluster's verdict on each.
    pub async fn backends(&mut self) -> Result<Vec<Backend>, AdminError> {
        let reply = self.client.list_backends(ListBackendsRequest {}).await;
        reply.map(|reply| reply.into_inner().backends).map_err(|status| self.error(&status))
    }

    /// Makes this text the cluster document. Doing it again changes nothing, so that it can be tried again
    /// when the outcome is unknown.
    pub async fn apply(&mut self, text: &str, file_name: &str) -> Result<(), AdminError> {
        let shown = self.client.show_document(ShowDocumentRequest {}).await;
        let shown = shown.map_err(|status| self.error(&status))?.into_inner();
        if shown.text == text {
            return Ok(());
        }
        let request = ApplyDocumentRequest {
            text: text.to_owned(),
            file_name: file_name.to_owned(),
            expected_revision: shown.revision,
        };
        self.client.apply_document(request).await.map_err(|status| self.error(&status))?;
        Ok(())
    }

    fn error(&self, status: &Status) -> AdminError {
        let address = self.address;
        let message = status.message().to_owned();
        match status.code() {
            Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound | Code::Unimplemented => {
                AdminError::Refused { address, message }
            }
            _ => AdminError::Unreachable { address, message },
        }
    }
}
