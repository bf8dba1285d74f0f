//! Whom a request is from, and how connections begin: by what the current document says of the listener, so
//! that a change of it holds for the next request of every connection.

use std::net::IpAddr;

use stickler_core::client_address::{Greeting, believe, greeting};
use stickler_core::routing::Plan;

use super::steps::Router;
use crate::worker::ClientRequest;

impl Router {
    /// How a new connection begins, by the document alone: a node that can't read the cluster's secrets has no plan, and
    /// still answers why. A listener that is no longer in the document is about to be closed.
    pub(super) fn greeting_at(&self, listener: &str, peer: IpAddr) -> Greeting {
        let view = self.proxy.cluster.view();
        let listeners = view.catalog.document.iter().flat_map(|document| &document.listeners);
        let named = listeners.into_iter().find(|known| known.name == listener);
        named.map_or(Greeting::Refused, |listener| greeting(listener, peer))
    }
}

/// The address of a request's client. What a stranger claims about addresses is taken out of the request, so
/// that neither an affinity nor a backend goes by it.
pub(super) fn believed_source(plan: &Plan, client: &mut ClientRequest) -> IpAddr {
    believe(plan.listener(&client.listener), client.peer.ip(), client.request.headers_mut())
}
