//! Where clients come: every node's public address, one after the other.

use std::net::SocketAddr;
use std::time::Duration;

use stickler_rt::{Moment, Outside};

use super::Stage;
use crate::rig::Rig;
use crate::rig::client::{Answer, Client, VisitError};

/// Where clients come, whichever door they take.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) outside: Outside,
    pub(super) nodes: Vec<SocketAddr>,
    patience: Option<Duration>,
}

impl Front {
    pub(super) fn of(stage: &Stage, rig: &Rig) -> Self {
        Self { outside: stage.outside.clone(), nodes: rig.addresses(), patience: None }
    }

    /// The same, for clients that wait no longer than this for one node.
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// One client's connections, to each node in turn.
    pub(super) fn clients(&self) -> Vec<Client> {
        let clients = self.nodes.iter().map(|node| Client::new(&self.outside, *node));
        match self.patience {
            Some(patience) => clients.map(|client| client.with_patience(patience)).collect(),
            None => clients.collect(),
        }
    }

    /// A client that comes to this node first, counted round.
    pub(super) fn visitor(&self, first: usize) -> Visitor {
        Visitor { clients: self.clients(), turn: first }
    }

    pub(super) fn now(&self) -> Moment {
        self.outside.clock.now()
    }
}

/// A client that goes on to another node with each request, and asks every node before it gives up.
pub(super) struct Visitor {
    clients: Vec<Client>,
    turn: usize,
}

/// What came of one of its requests.
#[derive(Debug)]
pub(super) struct Visited {
    /// What a backend answered, through whichever node.
    pub(super) served: Option<Answer>,
    /// The nodes that did not serve it before, by their places, and how that ended.
    pub(super) failures: Vec<(usize, String)>,
}

impl Visitor {
    /// One request, through the next node, or else through another.
    pub(super) async fn visit(&mut self, target: &str, headers: &[(&str, String)]) -> Visited {
        let count = self.clients.len();
        let mut failures = Vec::new();
        let first = self.turn;
        self.turn += 1;
        for place in (0..count).map(|further| (first + further) % count) {
            match self.clients[place].ask(target, headers, None).await {
                Ok((answer, _)) if answer.is_served() => return Visited { served: Some(answer), failures },
                visited => failures.push((place, failure(visited.map(|(answer, _)| answer)))),
            }
        }
        Visited { served: None, failures }
    }
}

/// How a request ended that was not served.
pub(super) fn failure(visited: Result<Answer, VisitError>) -> String {
    match visited {
        Ok(answer) => format!("{} {}", answer.status, answer.error.unwrap_or_default()),
        Err(error) => error.to_string(),
    }
}
