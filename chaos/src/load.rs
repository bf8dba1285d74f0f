//! Clients, many at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stickler_rt::{Outside, Shutdown};
use tokio::task::JoinSet;

use crate::identifier::{Door, Identifier};
use crate::rig::client::{Answer, Client, VisitError};
use crate::statistics::Durations;

/// Pause of a caller after it was not served, before it goes to the next node.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Callers that begin one session after the other, through every door in turn.
#[derive(Clone)]
pub(crate) struct NewSessions {
    /// Where connections and time come from.
    pub outside: Outside,
    /// The nodes' public addresses. A caller stays with one until that fails.
    pub nodes: Vec<SocketAddr>,
    /// Callers at once.
    pub callers: usize,
    /// The load ends when so many sessions were acknowledged.
    pub most: usize,
    /// The load ends with this, too.
    pub stop: Shutdown,
    /// Tells the identifiers of this load from those of any other in the run.
    pub name: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Identifiers that were revealed or accepted, and the answers that did it.
    pub acknowledged: Vec<(Identifier, Answer)>,
    /// Requests that a backend answered, and whose identifier the node held back, since its bind was refused.
    pub withheld: usize,
    /// Requests that a node refused.
    pub refused: usize,
    /// Requests without an answer.
    pub broken: usize,
    /// How the first request that was not served ended.
    pub first_failure: Option<String>,
    /// Of the requests that were served.
    pub durations: Durations,
}

impl NewSessions {
    /// Begins sessions until there are enough or it is stopped.
    pub(crate) async fn run(self) -> Made {
        let claimed = Arc::new(AtomicUsize::new(0));
        let mut callers: JoinSet<Made> =
            (0..self.callers).map(|caller| self.clone().call(caller, Arc::clone(&claimed))).collect();
        let mut made = Made::default();
        while let Some(Ok(of_one)) = callers.join_next().await {
            made.acknowledged.extend(of_one.acknowledged);
            made.withheld += of_one.withheld;
            made.refused += of_one.refused;
            made.broken += of_one.broken;
            made.first_failure = made.first_failure.or(of_one.first_failure);
            made.durations.extend(of_one.durations);
        }
        made
    }

    async fn call(self, caller: usize, claimed: Arc<AtomicUsize>) -> Made {
        let mut made = Made::default();
        let mut at = caller % self.nodes.len();
        let mut client = Client::new(&self.outside, self.nodes[at]);
        let mut number = caller;
        while !self.stop.is_triggered() && claimed.fetch_add(1, Ordering::Relaxed) < self.most {
            number += 1;
            let door = Door::ALL[number % Door::ALL.len()];
            let header = format!("{}-{caller}-{number}", self.name);
            let chosen = (door == Door::Header).then_some(header.as_str());
            let began = self.outside.clock.now();
            let visited = client.visit_door(door, chosen).await;
            if let Some((identifier, answer)) = made.take(door, chosen, visited) {
                made.durations.add(self.outside.clock.now().since(began));
                made.acknowledged.push((identifier, answer));
                continue;
            }
            claimed.fetch_sub(1, Ordering::Relaxed);
            // Another node may do better.
            at = (at + 1) % self.nodes.len();
            client = Client::new(&self.outside, self.nodes[at]);
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        made
    }
}

impl Made {
    /// The session that this answer acknowledges, if it does; otherwise counts it.
    fn take(
        &mut self,
        door: Door,
        chosen: Option<&str>,
        visited: Result<Answer, VisitError>,
    ) -> Option<(Identifier, Answer)> {
        let failure = match visited {
            Ok(answer) if answer.is_served() => {
                let value = chosen.map(str::to_owned).or_else(|| answer.revealed.clone());
                self.withheld += usize::from(value.is_none());
                return value.map(|value| (Identifier::new(door, value), answer));
            }
            Ok(answer) => {
                self.refused += 1;
                format!("{door:?}: {} {}", answer.status, answer.error.unwrap_or_default())
            }
            Err(error) => {
                self.broken += 1;
                format!("{door:?}: {error}")
            }
        };
        self.first_failure.get_or_insert(failure);
        None
    }
}

/// A request of a known session through one node.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The session.
    pub identifier: Identifier,
    /// The node's public address.
    pub node: SocketAddr,
}

/// Makes these requests with so many callers at once. The answers come in the order of the requests.
pub(crate) async fn ask_all(
    outside: &Outside,
    asks: Vec<Ask>,
    callers: usize,
) -> Vec<(Ask, Result<Answer, VisitError>)> {
    let share = asks.len().div_ceil(callers.max(1)).max(1);
    let shares: Vec<_> =
        asks.chunks(share).map(|asks| tokio::spawn(ask_in_turn(outside.clone(), asks.to_vec()))).collect();
    let mut answers = Vec::with_capacity(asks.len());
    for share in shares {
        // A caller that panicked would be missed by whoever counts the answers.
        answers.extend(share.await.unwrap_or_default());
    }
    answers
}

async fn ask_in_turn(outside: Outside, asks: Vec<Ask>) -> Vec<(Ask, Result<Answer, VisitError>)> {
    let mut clients: Vec<(SocketAddr, Client)> = Vec::new();
    let mut answers = Vec::with_capacity(asks.len());
    for ask in asks {
        let known = clients.iter().position(|(node, _)| *node == ask.node);
        let place = known.unwrap_or_else(|| {
            clients.push((ask.node, Client::new(&outside, ask.node)));
            clients.len() - 1
        });
        let answer = clients[place].1.visit(&ask.identifier).await;
        answers.push((ask, answer));
    }
    answers
}
