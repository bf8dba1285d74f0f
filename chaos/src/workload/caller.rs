//! A client that tries every node, and writes down what came of it.

use std::net::Ipv4Addr;

use super::Scene;
use crate::history::event::{Attempt, Event, Outcome, Visit};
use crate::identifier::Door;
use crate::rig::client::{Answer, Client, VisitError};

/// One client: a connection to each node that it has asked.
pub(crate) struct Caller {
    scene: Scene,
    number: u32,
    clients: Vec<Client>,
}

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// How it is recognised.
    pub door: Door,
    /// The session's name in the history.
    pub session: &'a str,
    /// What the client shows.
    pub value: Option<&'a str>,
    /// The session was not acknowledged before.
    pub fresh: bool,
    /// The place of the node that is asked first.
    pub first: usize,
}

impl Caller {
    /// A client with this number, at this address of the machine or whichever.
    pub(crate) fn new(scene: &Scene, number: u32, source: Option<Ipv4Addr>) -> Self {
        let clients = scene.nodes.iter().map(|(_, address)| {
            let client = Client::new(&scene.outside, *address).with_patience(scene.patience);
            match source {
                Some(source) => client.from(source),
                None => client,
            }
        });
        Self { clients: clients.collect(), scene: scene.clone(), number }
    }

    /// Asks one node after the other, each once, until a backend answers.
    pub(crate) async fn visit(&mut self, wanted: Wanted<'_>) -> Option<Answer> {
        let mut attempts = Vec::with_capacity(1);
        let mut served = None;
        for turn in 0..self.clients.len() {
            let place = (wanted.first + turn) % self.clients.len();
            let began = self.scene.recorder.now();
            let visited = self.clients[place].visit_door(wanted.door, wanted.value).await;
            let ended = self.scene.recorder.now();
            attempts.push(Attempt {
                node: self.scene.nodes[place].0,
                began,
                ended,
                outcome: outcome(&visited),
            });
            served = visited.ok().filter(Answer::is_served);
            if served.is_some() {
                break;
            }
        }
        self.scene.recorder.write(&Event::Visit(Visit {
            client: self.number,
            door: wanted.door,
            session: wanted.session.to_owned(),
            fresh: wanted.fresh,
            attempts,
        }));
        served
    }

    /// Ends all connections, as a browser does after a while.
    pub(crate) fn disconnect(&mut self) {
        self.clients.iter_mut().for_each(Client::disconnect);
    }
}

pub(super) fn outcome(visited: &Result<Answer, VisitError>) -> Outcome {
    match visited {
        Ok(answer) if answer.is_served() => Outcome::Served {
            backend: answer.backend.clone(),
            epoch: answer.epoch,
            key: answer.key.clone(),
            revealed: answer.revealed.clone(),
        },
        Ok(answer) => Outcome::Refused {
            status: answer.status,
            error: answer.error.clone().unwrap_or_default(),
            revealed: answer.revealed.clone(),
        },
        Err(error @ VisitError::Connect(_)) => Outcome::Unsent { why: error.to_string() },
        Err(error) => Outcome::Unknown { why: error.to_string() },
    }
}
