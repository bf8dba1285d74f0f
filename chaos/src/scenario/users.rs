//! Clients that are known by a header and go on all the while, from node to node, and what they were told.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_rt::Shutdown;
use tokio::task::JoinSet;

use super::ScenarioError;
use super::front::{Front, Visited, Visitor, failure};
use crate::identifier::SESSION_HEADER;
use crate::report::Report;

/// The methods of a door whose clients are known by a header.
pub(super) const BY_HEADER: &str = "[[affinity.by]]\nmethod = \"header\"\nname = \"X-Session\"";

/// Callers at once who begin sessions.
const CALLERS: usize = 48;

/// Begins a session for each of these clients, with many callers at once. Every one must be served at once.
pub(super) async fn begin(
    front: &Front,
    path: &'static str,
    names: impl IntoIterator<Item = String>,
) -> Result<(), ScenarioError> {
    let mut shares: Vec<Vec<String>> = vec![Vec::new(); CALLERS];
    for (number, name) in names.into_iter().enumerate() {
        shares[number % CALLERS].push(name);
    }
    let mut callers = JoinSet::new();
    for (caller, names) in shares.into_iter().enumerate() {
        let mut clients = front.clients();
        let mut client = clients.swap_remove(caller % clients.len());
        callers.spawn(async move {
            for name in names {
                match client.ask(path, &[(SESSION_HEADER, name)], None).await {
                    Ok((answer, _)) if answer.is_served() => {}
                    visited => return Err(failure(visited.map(|(answer, _)| answer))),
                }
            }
            Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done?.map_err(ScenarioError::Scene)?;
    }
    Ok(())
}

/// Clients who go on until they are told to stop. Dropping this ends them.
pub(super) struct Users {
    stop: Shutdown,
    coming: JoinSet<Seen>,
}

/// What they were told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    visits: usize,
    /// For each client the epochs by which it was served, and by which backends.
    places: Vec<BTreeMap<u64, String>>,
    /// Requests that no node served, answers by an epoch after a later one, and epochs at two backends.
    faults: Vec<String>,
    /// Requests that one node did not serve, whatever another one did then.
    pub(super) failed: Vec<Failed>,
    unserved: usize,
}

/// A request that a node did not serve.
#[derive(Debug)]
pub(super) struct Failed {
    /// The node's place among the nodes.
    pub(super) node: usize,
    /// The backend that served the client before; none when none did.
    pub(super) backend: String,
    pub(super) how: String,
}

impl Users {
    /// Has a client of each of these names come, with this pause between two requests.
    pub(super) fn start(
        front: &Front,
        path: &'static str,
        names: impl ExactSizeIterator<Item = String>,
        pause: Duration,
    ) -> Self {
        let stop = Shutdown::new();
        let count = names.len().max(1) as f64;
        let mut coming = JoinSet::new();
        for (number, name) in names.enumerate() {
            let user = User { name, path, visitor: front.visitor(number), seen: Seen::default() };
            // Spread over the pause: what comes all at once comes rarely.
            let first = pause.mul_f64(number as f64 / count);
            coming.spawn(user.go_on(first, pause, stop.clone()));
        }
        Self { stop, coming }
    }

    /// What they were told until they stopped.
    pub(super) async fn stop(mut self) -> Result<Seen, ScenarioError> {
        self.stop.trigger();
        let mut all = Seen::default();
        while let Some(seen) = self.coming.join_next().await {
            let seen = seen?;
            all.visits += seen.visits;
            all.places.extend(seen.places);
            all.faults.extend(seen.faults);
            all.failed.extend(seen.failed);
            all.unserved += seen.unserved;
        }
        Ok(all)
    }
}

struct User {
    name: String,
    path: &'static str,
    visitor: Visitor,
    seen: Seen,
}

impl User {
    async fn go_on(mut self, first: Duration, pause: Duration, stop: Shutdown) -> Seen {
        let mut places = BTreeMap::new();
        let mut wait = first;
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => break,
                () = tokio::time::sleep(wait) => {}
            }
            wait = pause;
            self.visit(&mut places).await;
        }
        self.seen.places.push(places);
        self.seen
    }

    async fn visit(&mut self, places: &mut BTreeMap<u64, String>) {
        let Self { name, path, visitor, seen } = self;
        let Visited { served, failures } = visitor.visit(path, &[(SESSION_HEADER, name.clone())]).await;
        seen.visits += 1;
        let last = places.last_key_value();
        let backend = last.map_or("", |(_, backend)| backend.as_str());
        let failed = |(node, how)| Failed { node, backend: backend.to_owned(), how };
        match served {
            Some(answer) => {
                let epoch = answer.epoch.unwrap_or(0);
                let back = last.filter(|(last, _)| epoch < **last);
                let back = back.map(|_| format!("{name} was served by epoch {epoch} after a later one"));
                seen.faults.extend(back);
                seen.failed.extend(failures.into_iter().map(failed));
                let split = places.get(&epoch).filter(|backend| **backend != answer.backend);
                let split = split
                    .map(|backend| format!("{name}: epoch {epoch} at {backend} and at {}", answer.backend));
                seen.faults.extend(split);
                places.insert(epoch, answer.backend);
            }
            None => {
                seen.unserved += 1;
                seen.faults.push(format!("{name} was not served: {failures:?}"));
                seen.failed.extend(failures.into_iter().map(failed));
            }
        }
    }
}

impl Seen {
    /// Nobody was left without an answer, served by an epoch after a later one, or by one epoch at two backends.
    pub(super) fn judge(&self, label: &str, report: &mut Report) {
        report.figure(format!("{label}: requests of clients meanwhile"), self.visits);
        report.bar(format!("{label}: requests that no node served"), self.unserved, "0", self.unserved == 0);
        report.faults(self.faults.iter().map(|fault| format!("{label}: {fault}")));
    }

    /// Nobody moved more often than this.
    pub(super) fn judge_moves(&self, label: &str, most: usize, report: &mut Report) {
        let moves = |places: &BTreeMap<u64, String>| places.len().saturating_sub(1);
        let moved = self.places.iter().map(moves).max().unwrap_or(0);
        let what = format!("{label}: most moves of a client");
        report.bar(what, moved, format!("{most} at most"), moved <= most);
    }

    /// All moves of all clients.
    pub(super) fn moves(&self) -> usize {
        self.places.iter().map(|places| places.len().saturating_sub(1)).sum()
    }

    /// Clients who moved at all.
    pub(super) fn moved(&self) -> usize {
        self.places.iter().filter(|places| places.len() > 1).count()
    }
}
