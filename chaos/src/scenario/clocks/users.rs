//! Clients whose sessions are in use all the time: some often, some just often enough.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stickler_rt::{Outside, Shutdown};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;

use crate::identifier::{Door, Identifier};
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::client::{Answer, Client, VisitError};
use crate::scenario::ScenarioError;

/// Clients with sessions in use. Dropping this ends them.
pub(super) struct Users {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    outside: Outside,
    nodes: Vec<std::net::SocketAddr>,
    stop: Shutdown,
    /// Held for writing while nobody may ask.
    open: Arc<RwLock<()>>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ledger: Ledger,
    visits: usize,
    faults: Vec<String>,
}

impl Users {
    /// So many clients for each of these pauses between two requests, each with a session that has begun.
    pub(super) async fn start(
        outside: &Outside,
        nodes: Vec<std::net::SocketAddr>,
        pauses: &[Duration],
        of_each: usize,
    ) -> Result<Self, ScenarioError> {
        let shared = Arc::new(Shared {
            outside: outside.clone(),
            nodes,
            stop: Shutdown::new(),
            open: Arc::default(),
            seen: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..pauses.len() * of_each {
            let mut user = User::new(&shared, number);
            user.visit().await;
            tasks.spawn(user.go_on(pauses[number % pauses.len()]));
        }
        let begun = shared.seen().ledger.len();
        if begun < tasks.len() {
            return Err(ScenarioError::Scene(format!("{begun} of {} sessions have begun", tasks.len())));
        }
        Ok(Self { shared, tasks })
    }

    /// Nobody asks for anything until what this returns is dropped.
    pub(super) async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.shared.open).write_owned().await
    }

    /// Ends them, and says how it went.
    pub(super) async fn judge(mut self, report: &mut Report) -> Result<(), ScenarioError> {
        self.shared.stop.trigger();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        let seen = self.shared.seen();
        report.figure("sessions in use", seen.ledger.len());
        report.bar("their requests", seen.visits, "some", seen.visits > seen.ledger.len());
        report.bar(
            "sessions in use that ended, moved or were refused",
            seen.faults.len(),
            "0",
            seen.faults.is_empty(),
        );
        report.faults(&seen.faults);
        Ok(())
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct User {
    shared: Arc<Shared>,
    clients: Vec<Client>,
    /// What its session is called here, however the value changes.
    identifier: Identifier,
    value: Option<String>,
    turn: usize,
}

impl User {
    fn new(shared: &Arc<Shared>, number: usize) -> Self {
        let door = Door::ALL[number % Door::ALL.len()];
        let clients = shared.nodes.iter().map(|node| Client::new(&shared.outside, *node));
        let identifier = Identifier::new(door, format!("user-{number}"));
        Self {
            clients: clients.collect(),
            shared: Arc::clone(shared),
            value: door.is_by_header().then(|| identifier.value.to_string()),
            identifier,
            turn: number,
        }
    }

    async fn go_on(mut self, pause: Duration) {
        loop {
            tokio::select! {
                biased;
                () = self.shared.stop.wait() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let open = Arc::clone(&self.shared.open).read_owned().await;
            self.visit().await;
            drop(open);
        }
    }

    /// One request through the next node.
    async fn visit(&mut self) {
        self.turn += 1;
        let place = self.turn % self.clients.len();
        let visited = self.clients[place].visit_door(self.identifier.door, self.value.as_deref()).await;
        if let Ok(Answer { revealed: Some(revealed), .. }) = &visited {
            self.value = Some(revealed.clone());
        }
        self.note(visited);
    }

    fn note(&self, visited: Result<Answer, VisitError>) {
        let mut seen = self.shared.seen();
        seen.visits += 1;
        let fault = match visited {
            Ok(answer) if answer.is_served() => {
                let observed = seen.ledger.observe(&self.identifier, &answer);
                observed.err().map(|fault| fault.to_string())
            }
            Ok(answer) => Some(format!("{}: {} {:?}", self.identifier, answer.status, answer.error)),
            Err(error) => Some(format!("{}: {error}", self.identifier)),
        };
        seen.faults.extend(fault);
    }
}
