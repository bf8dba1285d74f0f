//! Connections to all nodes that many clients share, so that thousands of clients need few of them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::rig::backend::ITEMS;
use crate::rig::client::{Answer, Client, VisitError};
use crate::scenario::front::{Front, failure};

/// What came of a request.
#[derive(Debug)]
pub(super) struct Asked {
    /// What a backend answered, through whichever node, and how many things it says are in the cart.
    pub(super) served: Option<(Answer, u64)>,
    /// The nodes that did not serve it before.
    pub(super) failures: Vec<Failure>,
}

/// A request that a node did not serve.
#[derive(Debug)]
pub(super) struct Failure {
    /// The node's place among the nodes.
    pub(super) node: usize,
    pub(super) how: String,
    /// A backend may have done what was asked for all the same.
    pub(super) may_be_done: bool,
    /// It said that no leader had been heard of for too long, whatever the backends do.
    pub(super) for_want_of_a_leader: bool,
}

/// The names of such refusals.
const WITHOUT_LEADER: [&str; 2] = ["no-quorum", "catching-up"];

/// The connections that nobody uses just now, for each node.
pub(super) struct Connections {
    front: Front,
    idle: Vec<Mutex<VecDeque<Client>>>,
}

impl Connections {
    pub(super) fn to(front: Front) -> Self {
        let idle = front.nodes.iter().map(|_| Mutex::default()).collect();
        Self { front, idle }
    }

    /// One request, through this node, counted round, or else through another.
    pub(super) async fn ask(&self, first: usize, target: &str, headers: &[(&str, String)]) -> Asked {
        let count = self.idle.len();
        let mut failures = Vec::new();
        for node in (0..count).map(|further| (first + further) % count) {
            let mut client = self.take(node);
            let asked = client.ask(target, headers, None).await;
            self.give_back(node, client);
            let may_be_done = match asked {
                Ok((answer, headers)) if answer.is_served() => {
                    let items = headers.get(ITEMS).and_then(|items| items.to_str().ok()?.parse().ok());
                    return Asked { served: Some((answer, items.unwrap_or(0))), failures };
                }
                Ok((ref answer, _)) => answer.status != 503,
                Err(VisitError::Connect(_)) => false,
                Err(_) => true,
            };
            let refused = asked.as_ref().ok().and_then(|(answer, _)| answer.error.as_deref());
            let for_want_of_a_leader = refused.is_some_and(|name| WITHOUT_LEADER.contains(&name));
            let how = failure(asked.map(|(answer, _)| answer));
            failures.push(Failure { node, how, may_be_done, for_want_of_a_leader });
        }
        Asked { served: None, failures }
    }

    fn take(&self, node: usize) -> Client {
        let idle = self.idle[node].lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        idle.unwrap_or_else(|| Client::new(&self.front.outside, self.front.nodes[node]))
    }

    /// To the end: the one that was idle for longest is used next, so that no node ends one for being idle.
    fn give_back(&self, node: usize, client: Client) {
        self.idle[node].lock().unwrap_or_else(PoisonError::into_inner).push_back(client);
    }
}
