//! A client that keeps its connections, and goes to another node when one does not answer.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use stickler_rt::Network;

use super::super::http::{Connection, ExchangeError, describe};
use super::super::plan::NodePlan;

/// Longest wait for one node's answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Answers with a status of 500 and more that the client puts up with before it shows its user an error.
const SERVER_ERRORS: usize = 2;

/// Goes through all nodes in turn, one request each.
///
/// When a node does not answer (the connection is refused or breaks, or the time is up) the request goes to
/// the next one, until each was asked once. When a node answers with an error of its own (5xx), the next one
/// is asked, but only once. That is safe only for requests that may arrive twice.
pub(super) struct RetryingClient {
    network: Arc<dyn Network>,
    nodes: Arc<[NodePlan]>,
    connections: Vec<Option<Connection>>,
    next: usize,
}

/// An answer, and where it came from.
pub(super) struct Answered {
    pub node: u64,
    /// Attempts before this one.
    pub retries: u32,
    pub response: Response<Bytes>,
}

/// What each attempt met with, when none was answered.
pub(super) struct GaveUp {
    pub attempts: String,
    pub retries: u32,
}

impl RetryingClient {
    /// A client that asks the node at this place in the list first.
    pub fn new(network: Arc<dyn Network>, nodes: Arc<[NodePlan]>, first: usize) -> Self {
        let connections = nodes.iter().map(|_| None).collect();
        Self { network, nodes, connections, next: first }
    }

    /// Sends a request to the node whose turn it is, or to those after it.
    pub async fn send(&mut self, request: &Request<Bytes>) -> Result<Answered, GaveUp> {
        let count = self.nodes.len();
        let first = self.next;
        self.next = (first + 1) % count;
        let mut met = String::new();
        let mut server_errors = 0;
        let mut retries = 0;
        for turn in 0..count {
            let index = (first + turn) % count;
            let node = self.nodes[index].id;
            retries = u32::try_from(turn).unwrap_or(u32::MAX);
            match self.attempt(index, request).await {
                Ok(response) if !response.status().is_server_error() => {
                    return Ok(Answered { node, retries, response });
                }
                Ok(response) => {
                    // writing to a String can't fail
                    let _ = write!(met, "node {node}: {}; ", describe(&response));
                    server_errors += 1;
                    if server_errors == SERVER_ERRORS {
                        break;
                    }
                }
                Err(error) => {
                    let _ = write!(met, "node {node}: {error}; ");
                }
            }
        }
        Err(GaveUp { attempts: met.trim_end_matches("; ").to_owned(), retries })
    }

    async fn attempt(
        &mut self,
        index: usize,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, ExchangeError> {
        let result = tokio::time::timeout(TIMEOUT, self.attempt_untimed(index, request)).await;
        result.unwrap_or(Err(ExchangeError::TimedOut(TIMEOUT)))
    }

    /// One try on one node. Like a browser, it takes a new connection when a kept one turns out to be closed.
    async fn attempt_untimed(
        &mut self,
        index: usize,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, ExchangeError> {
        // Taken out, so that a connection whose exchange is given up half-way is not used again.
        let kept = self.connections[index].take().filter(Connection::is_open);
        if let Some(mut connection) = kept
            && let Ok(response) = connection.exchange(request.clone()).await
        {
            self.connections[index] = Some(connection);
            return Ok(response);
        }
        let mut connection = Connection::open(&*self.network, self.nodes[index].public).await?;
        let response = connection.exchange(request.clone()).await?;
        self.connections[index] = Some(connection);
        Ok(response)
    }
}
