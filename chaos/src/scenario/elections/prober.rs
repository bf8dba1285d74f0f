//! Clients that come every few milliseconds, whether those before were served or not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stickler_rt::{Moment, Outside, Shutdown};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::identifier::{Door, Identifier};
use crate::rig::client::{Answer, Client, VisitError};

/// Every so often a new session and a known one.
const PERIOD: Duration = Duration::from_millis(5);
/// Requests in flight; a node that answers nothing must not use up this machine.
const MOST_IN_FLIGHT: usize = 2000;

/// What a probe was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It began a session.
    New,
    /// It was a request of this session.
    Known(Identifier),
}

/// One request and what came of it.
#[derive(Debug)]
pub(super) struct Probe {
    pub kind: Kind,
    pub began: Moment,
    pub ended: Moment,
    pub answer: Result<Answer, VisitError>,
}

impl Probe {
    /// The answer, if a backend gave it. A new session whose identifier was held back was not served.
    pub(super) fn served(&self) -> Option<&Answer> {
        self.answer.as_ref().ok().filter(|answer| answer.is_served())
    }

    /// Why it was not served.
    pub(super) fn failure(&self) -> String {
        match &self.answer {
            Ok(answer) => format!("{} {}", answer.status, answer.error.clone().unwrap_or_default()),
            Err(error) => error.to_string(),
        }
    }
}

/// What all probes of one prober came to.
#[derive(Debug, Default)]
pub(super) struct Probed {
    pub probes: Vec<Probe>,
    /// The longest that the prober itself was late by: this machine had no time for it, and so it may have
    /// had none for a node.
    pub late: Duration,
}

/// Sends until it is stopped.
pub(super) struct Prober {
    stop: Shutdown,
    running: JoinHandle<Result<Probed, JoinError>>,
}

/// Idle connections to one node. The next probe takes one, or makes one.
#[derive(Clone, Default)]
struct Idle(Arc<Mutex<Vec<Client>>>);

impl Prober {
    /// Starts to send to these nodes in turn.
    pub(super) fn start(
        outside: &Outside,
        nodes: Vec<SocketAddr>,
        known: Vec<Identifier>,
        name: String,
    ) -> Self {
        let stop = Shutdown::new();
        let running = tokio::spawn(run(outside.clone(), nodes, known, name, stop.clone()));
        Self { stop, running }
    }

    /// Sends no more, and waits for the answers.
    pub(super) async fn stop(self) -> Result<Probed, JoinError> {
        self.stop.trigger();
        self.running.await?
    }
}

async fn run(
    outside: Outside,
    nodes: Vec<SocketAddr>,
    known: Vec<Identifier>,
    name: String,
    stop: Shutdown,
) -> Result<Probed, JoinError> {
    let idle: Vec<Idle> = nodes.iter().map(|_| Idle::default()).collect();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_flight = JoinSet::new();
    let mut probed = Probed::default();
    let mut last = outside.clock.now();
    for number in 0_usize.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.wait() => break,
        }
        let now = outside.clock.now();
        probed.late = probed.late.max(now.since(last + PERIOD));
        last = now;
        while let Some(probe) = in_flight.try_join_next() {
            probed.probes.push(probe?);
        }
        if in_flight.len() >= MOST_IN_FLIGHT {
            continue;
        }
        let at = number % nodes.len();
        let new = Door::ALL[number / nodes.len() % Door::ALL.len()];
        let value = (new == Door::Header).then(|| format!("{name}-{number}"));
        let first = first_request(outside.clone(), nodes[at], idle[at].clone(), new, value);
        in_flight.spawn(first);
        if let Some(identifier) = known.get(number % known.len().max(1)) {
            in_flight.spawn(known_request(outside.clone(), nodes[at], idle[at].clone(), identifier.clone()));
        }
    }
    while let Some(probe) = in_flight.join_next().await {
        probed.probes.push(probe?);
    }
    Ok(probed)
}

async fn first_request(
    outside: Outside,
    node: SocketAddr,
    idle: Idle,
    door: Door,
    value: Option<String>,
) -> Probe {
    let mut client = idle.take(&outside, node);
    let began = outside.clock.now();
    let mut answer = client.visit_door(door, value.as_deref()).await;
    let ended = outside.clock.now();
    if let Ok(answer) = &mut answer
        && answer.is_served()
        && value.is_none()
        && answer.revealed.is_none()
    {
        answer.status = 0;
        answer.error = Some("identifier held back".to_owned());
    }
    idle.give(client);
    Probe { kind: Kind::New, began, ended, answer }
}

async fn known_request(outside: Outside, node: SocketAddr, idle: Idle, identifier: Identifier) -> Probe {
    let mut client = idle.take(&outside, node);
    let began = outside.clock.now();
    let answer = client.visit(&identifier).await;
    let ended = outside.clock.now();
    idle.give(client);
    Probe { kind: Kind::Known(identifier), began, ended, answer }
}

impl Idle {
    fn take(&self, outside: &Outside, node: SocketAddr) -> Client {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Client::new(outside, node))
    }

    fn give(&self, client: Client) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }
}
