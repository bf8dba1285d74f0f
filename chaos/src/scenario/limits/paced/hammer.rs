//! Clients without cookies, all at one address, who ask again and again.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use stickler_rt::{Moment, Shutdown};
use tokio::task::JoinSet;

use super::super::{Front, failure};
use super::{COOKIE, DOOR};
use crate::rig::NODES;
use crate::rig::client::{Answer, VisitError};

/// How many there are.
const CALLERS: usize = 48;
/// Pause of each between two requests: the machine has others to serve.
const PAUSE: Duration = Duration::from_millis(40);
/// How clients are told that their address has begun too many sessions.
const TOO_MANY: &str = "too-many-new-sessions";
/// The longest that anybody is told to wait, in seconds: until all of the rate is there again.
const LONGEST: u64 = 10;
/// What the nodes answer when nothing can be bound, or nobody knows whether it was.
const LEADERLESS: [&str; 2] = ["503 no-quorum", "503 unknown-outcome"];

/// One first request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The node's place among the nodes.
    pub(super) place: usize,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) outcome: Outcome,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It began a session.
    Begun,
    /// It was refused by its rate, in the words that the documentation has for it.
    ToldToWait,
    /// Neither.
    Otherwise(String),
}

impl Asked {
    /// Whether it was refused for want of a leader.
    pub(super) fn lacked_a_leader(&self) -> bool {
        matches!(&self.outcome, Outcome::Otherwise(how) if LEADERLESS.contains(&how.as_str()))
    }
}

/// Has all of them ask until they are told to stop.
pub(super) fn start(front: &Front, stop: &Shutdown) -> JoinSet<Vec<Asked>> {
    (0..CALLERS).map(|caller| hammer(front.clone(), caller, stop.clone())).collect()
}

async fn hammer(front: Front, caller: usize, stop: Shutdown) -> Vec<Asked> {
    let mut clients = front.clients();
    let mut all = Vec::new();
    while !stop.is_triggered() {
        let place = (caller + all.len()) % NODES;
        let began = front.now();
        let visited = clients[place].ask(DOOR.path_prefix, &[], Some(COOKIE)).await;
        all.push(Asked { place, began, ended: front.now(), outcome: outcome(visited) });
        tokio::time::sleep(PAUSE).await;
    }
    all
}

fn outcome(visited: Result<(Answer, HeaderMap), VisitError>) -> Outcome {
    match visited {
        Ok((answer, _)) if answer.is_served() && answer.revealed.is_some() => Outcome::Begun,
        Ok((answer, headers)) if answer.status == 429 && answer.error.as_deref() == Some(TOO_MANY) => {
            let wait = headers.get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
            match wait {
                Some(1..=LONGEST) => Outcome::ToldToWait,
                _ => Outcome::Otherwise(format!("429 with Retry-After {wait:?}")),
            }
        }
        visited => Outcome::Otherwise(failure(visited.map(|(answer, _)| answer))),
    }
}
