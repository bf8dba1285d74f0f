//! Clients who had a session before their address was hammering.

use std::fmt;
use std::time::Duration;

use stickler_rt::{Moment, Shutdown};
use tokio::task::JoinSet;

use super::super::{Front, failure};
use super::{COOKIE, DOOR};
use crate::rig::NODES;
use crate::rig::client::Client;
use crate::scenario::ScenarioError;

/// How many there are.
const CLIENTS: usize = 24;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(100);

/// All of them, while they go on.
pub(super) struct Known {
    going: JoinSet<(usize, Vec<Missed>)>,
}

/// A request of theirs that was not served as before.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    /// The node's place among the nodes.
    pub(super) place: usize,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) how: How,
}

/// What came of it instead.
#[derive(Clone, Debug)]
pub(super) enum How {
    /// No backend answered.
    NotServed(String),
    /// It was another session.
    Elsewhere(String),
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (How::NotServed(how) | How::Elsewhere(how)) = &self.how;
        write!(f, "{how}, through node {}", self.place + 1)
    }
}

impl Known {
    /// Begins their sessions, and has them go on until they are told to stop.
    pub(super) async fn begin(front: &Front, stop: &Shutdown) -> Result<Self, ScenarioError> {
        let mut going = JoinSet::new();
        for number in 0..CLIENTS {
            let mut clients = front.clients();
            // At addresses of their own: what the common one may begin is still to be had.
            let elsewhere = [("x-forwarded-for", format!("10.1.0.{number}"))];
            let first = clients[number % NODES].ask(DOOR.path_prefix, &elsewhere, Some(COOKIE)).await;
            let token = first.as_ref().ok().and_then(|(answer, _)| answer.revealed.clone());
            let (Ok((first, _)), Some(token)) = (first, token) else {
                return Err(ScenarioError::Scene(format!("client {number} got no session")));
            };
            let place = (first.backend, first.epoch);
            going.spawn(go_on(front.clone(), clients, token, place, number, stop.clone()));
        }
        Ok(Self { going })
    }

    /// How many requests they made, and which of them went wrong.
    pub(super) async fn end(mut self) -> Result<(usize, Vec<Missed>), ScenarioError> {
        let mut all = (0, Vec::new());
        while let Some(of_one) = self.going.join_next().await {
            let (visits, missed) = of_one?;
            all.0 += visits;
            all.1.extend(missed);
        }
        Ok(all)
    }
}

async fn go_on(
    front: Front,
    mut clients: Vec<Client>,
    token: String,
    first: (String, Option<u64>),
    number: usize,
    stop: Shutdown,
) -> (usize, Vec<Missed>) {
    let shown = [("cookie", format!("{COOKIE}={token}"))];
    let (mut visits, mut missed) = (0, Vec::new());
    while !stop.is_triggered() {
        let place = (number + visits) % NODES;
        visits += 1;
        let began = front.now();
        let visited = clients[place].ask(DOOR.path_prefix, &shown, Some(COOKIE)).await;
        let ended = front.now();
        let how = match visited {
            Ok((answer, _)) if answer.is_served() => {
                let now = (answer.backend, answer.epoch);
                (now != first).then(|| How::Elsewhere(format!("client {number}: {first:?}, then {now:?}")))
            }
            visited => {
                let failure = failure(visited.map(|(answer, _)| answer));
                Some(How::NotServed(format!("client {number}: {failure}")))
            }
        };
        missed.extend(how.map(|how| Missed { place, began, ended, how }));
        tokio::time::sleep(PAUSE).await;
    }
    (visits, missed)
}
