//! Requests of many callers, one after the other, each with what came of it.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use stickler_rt::{Moment, Shutdown};
use tokio::task::JoinSet;

use super::ScenarioError;
use super::front::{Front, failure};
use crate::identifier::SESSION_HEADER;
use crate::rig::NODES;
use crate::rig::client::{Answer, VisitError};

/// Who asks, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callers {
    /// What their sessions' names begin with.
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) known_as: KnownAs,
    /// How many there are.
    pub(super) count: usize,
    /// Pause of each between two requests.
    pub(super) pause: Duration,
}

/// What a caller says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownAs {
    /// The same, always: it has a session.
    Regular,
    /// Another one each time: every request begins a session.
    Newcomer,
    /// Nothing.
    Nobody,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) caller: usize,
    /// The node's place among the nodes.
    pub(super) node: usize,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) came: Came,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A backend served it.
    Served { backend: String, epoch: u64 },
    /// A backend answered with an error.
    Failed { backend: String, epoch: u64 },
    /// The node refused it, by this status and name, and said when to come again or did not.
    Refused { status: u16, error: String, retry_after: bool },
    /// Neither: the node was not there, or broke off.
    Lost(String),
}

impl Visit {
    pub(super) fn took(&self) -> Duration {
        self.ended.since(self.began)
    }

    /// Whether it was refused by this name.
    pub(super) fn is_refused_by(&self, name: &str) -> bool {
        matches!(&self.came, Came::Refused { error, .. } if error == name)
    }

    /// The backend that answered, whatever it said.
    pub(super) fn backend(&self) -> Option<&str> {
        match &self.came {
            Came::Served { backend, .. } | Came::Failed { backend, .. } => Some(backend),
            Came::Refused { .. } | Came::Lost(_) => None,
        }
    }

    /// The epoch by which it was routed, and the backend that it came to.
    pub(super) fn place(&self) -> Option<(u64, &str)> {
        match &self.came {
            Came::Served { backend, epoch } | Came::Failed { backend, epoch } => Some((*epoch, backend)),
            Came::Refused { .. } | Came::Lost(_) => None,
        }
    }
}

/// Callers who go on until they are told to stop.
pub(super) struct Calling {
    stop: Shutdown,
    callers: JoinSet<Vec<Visit>>,
}

impl Calling {
    pub(super) fn start(front: &Front, callers: Callers) -> Self {
        let stop = Shutdown::new();
        let tasks = (0..callers.count).map(|caller| call(front.clone(), callers, caller, stop.clone()));
        Self { callers: tasks.collect(), stop }
    }

    /// All their requests, of each caller in order.
    pub(super) async fn stop(mut self) -> Result<Vec<Visit>, ScenarioError> {
        self.stop.trigger();
        let mut all = Vec::new();
        while let Some(visits) = self.callers.join_next().await {
            all.extend(visits?);
        }
        Ok(all)
    }
}

async fn call(front: Front, callers: Callers, caller: usize, stop: Shutdown) -> Vec<Visit> {
    let mut clients = front.clients();
    let mut all = Vec::new();
    // Spread over the pause: what comes all at once comes rarely.
    let mut pause = callers.pause.mul_f64(caller as f64 / callers.count.max(1) as f64);
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => return all,
            () = tokio::time::sleep(pause) => {}
        }
        pause = callers.pause;
        let node = (caller + all.len()) % NODES;
        let name = match callers.known_as {
            KnownAs::Regular => Some(format!("{}-{caller}", callers.name)),
            KnownAs::Newcomer => Some(format!("{}-{caller}-{}", callers.name, all.len())),
            KnownAs::Nobody => None,
        };
        let headers: Vec<_> = name.into_iter().map(|name| (SESSION_HEADER, name)).collect();
        let began = front.now();
        let visited = clients[node].ask(callers.path, &headers, None).await;
        all.push(Visit { caller, node, began, ended: front.now(), came: came(visited) });
    }
}

fn came(visited: Result<(Answer, HeaderMap), VisitError>) -> Came {
    match visited {
        Ok((Answer { status: 200, backend, epoch, .. }, _)) if !backend.is_empty() => {
            Came::Served { backend, epoch: epoch.unwrap_or(0) }
        }
        Ok((Answer { backend, epoch, error: None, .. }, _)) if !backend.is_empty() => {
            Came::Failed { backend, epoch: epoch.unwrap_or(0) }
        }
        Ok((Answer { status, error: Some(error), .. }, headers)) => {
            Came::Refused { status, error, retry_after: headers.contains_key(RETRY_AFTER) }
        }
        visited => Came::Lost(failure(visited.map(|(answer, _)| answer))),
    }
}

/// Callers whose answers came by an epoch after a later one, or by one epoch from two backends; and the most moves of one.
pub(super) fn moves(visits: &[Visit]) -> (Vec<String>, usize) {
    let mut places: std::collections::BTreeMap<usize, std::collections::BTreeMap<u64, &str>> =
        std::collections::BTreeMap::new();
    let mut faults = Vec::new();
    for visit in visits {
        let Some((epoch, backend)) = visit.place() else { continue };
        let places = places.entry(visit.caller).or_default();
        if places.keys().next_back().is_some_and(|last| epoch < *last) {
            faults.push(format!("caller {} was answered by epoch {epoch} after a later one", visit.caller));
        }
        let at = places.entry(epoch).or_insert(backend);
        if *at != backend {
            faults.push(format!("caller {}: epoch {epoch} at {at} and at {backend}", visit.caller));
        }
    }
    let most = places.values().map(|places| places.len().saturating_sub(1)).max().unwrap_or(0);
    (faults, most)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request that began and ended at these milliseconds.
    pub(in crate::scenario) fn visit(caller: usize, (from, to): (u64, u64), came: Came) -> Visit {
        let at = |millisecond| Moment(Duration::from_millis(millisecond));
        Visit { caller, node: 0, began: at(from), ended: at(to), came }
    }

    pub(in crate::scenario) fn served(backend: &str, epoch: u64) -> Came {
        Came::Served { backend: backend.to_owned(), epoch }
    }

    pub(in crate::scenario) fn refused(status: u16, error: &str, retry_after: bool) -> Came {
        Came::Refused { status, error: error.to_owned(), retry_after }
    }

    #[test]
    fn an_epoch_after_a_later_one_and_one_at_two_backends_are_faults_and_a_move_is_none() {
        let of = |caller, came| visit(caller, (0, 1), came);
        let fine = [
            of(1, served("a", 1)),
            of(1, served("b", 2)),
            of(2, served("a", 9)),
            of(2, Came::Lost(String::new())),
        ];
        assert_eq!(moves(&fine), (Vec::new(), 1));
        let back = [of(1, served("a", 2)), of(1, served("b", 1))];
        assert_eq!(moves(&back).0.len(), 1);
        let split = [of(1, served("a", 1)), of(1, Came::Failed { backend: "b".to_owned(), epoch: 1 })];
        assert_eq!(moves(&split).0.len(), 1);
    }

    #[test]
    fn what_a_node_says_itself_is_told_from_what_a_backend_says() {
        let answer = |status, backend: &str, error: Option<&str>| {
            let (backend, error) = (backend.to_owned(), error.map(str::to_owned));
            Ok((Answer { status, backend, error, epoch: Some(3), ..Answer::default() }, HeaderMap::new()))
        };
        assert_eq!(came(answer(200, "a", None)), served("a", 3));
        assert_eq!(came(answer(500, "a", None)), Came::Failed { backend: "a".to_owned(), epoch: 3 });
        assert_eq!(came(answer(503, "", Some("queue-full"))), refused(503, "queue-full", false));
        assert!(matches!(came(answer(502, "", None)), Came::Lost(_)));
    }
}
