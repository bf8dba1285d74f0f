//! What `dev` asks of a node's admin API.

use std::net::SocketAddr;

use stickler_proto::admin::{
    ApplyDocumentRequest, Backend, ListBackendsRequest, ShowDocumentRequest, StatusReply, StatusRequest,
};

use crate::admin_client::{Nodes, Purpose};
use crate::failure::Failure;

/// The admin API of one node.
pub(super) struct Admin(Nodes);

impl Admin {
    /// The admin API at this address.
    pub fn at(address: SocketAddr) -> Self {
        Self(Nodes(vec![address.to_string().parse().expect("a socket address is a host and a port")]))
    }

    /// The node, and what it knows of the others.
    pub async fn status(&self) -> Result<StatusReply, Failure> {
        let reply = self.0.ask(Purpose::Look, async |mut stub| stub.status(StatusRequest {}).await).await?;
        Ok(reply.into_inner())
    }

    /// The backends, with the cluster's verdict on each.
    pub async fn backends(&self) -> Result<Vec<Backend>, Failure> {
        let list = self.0.ask(Purpose::Look, async |mut stub| {
            stub.list_backends(ListBackendsRequest { all_nodes: false }).await
        });
        Ok(list.await?.into_inner().backends)
    }

    /// Makes this text the cluster document. Doing it again changes nothing, so that it can be tried again
    /// when the outcome is unknown.
    pub async fn apply(&self, text: &str, file_name: &str) -> Result<(), Failure> {
        let shown = self
            .0
            .ask(Purpose::Look, async |mut stub| stub.show_document(ShowDocumentRequest {}).await)
            .await?
            .into_inner();
        if shown.text == text {
            return Ok(());
        }
        let request = ApplyDocumentRequest {
            text: text.to_owned(),
            file_name: file_name.to_owned(),
            expected_revision: shown.revision,
            removal: None,
        };
        self.0.ask(Purpose::Change, async |mut stub| stub.apply_document(request.clone()).await).await?;
        Ok(())
    }
}
