//! A cap that refuses: a burst of new identifiers, in the middle of which the leader dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::RETRY_AFTER;
use rand::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::observer::Observer;
use super::{Absence, BY_HEADER, Front, failure};
use crate::identifier::{self, Identifier, SESSION_HEADER};
use crate::oracle::ledger::{Ledger, Observed};
use crate::report::Report;
use crate::rig::client::{Answer, Client};
use crate::rig::document::Door;
use crate::rig::{NODES, Rig};
use crate::scenario::routing::{ask_in_turn, route};
use crate::scenario::{ScenarioError, Stage};

pub(super) const DOOR: Door<'static> = Door {
    name: "capped",
    path_prefix: identifier::Door::Header.path(),
    options: "idle_timeout = \"2h\"\nmax_sessions = 500\nwhen_full = \"refuse\"",
    methods: BY_HEADER,
};

/// As the door says.
const CAP: usize = 500;
/// New identifiers.
const BURST: usize = 1_500;
/// Clients at once.
const CALLERS: usize = 64;
/// The leader dies when so many sessions were served.
const KILLED_AT: std::ops::Range<usize> = 150..350;
/// Of those that were refused, so many ask every node again in the end.
const ASK_AGAIN: usize = 30;
/// How clients are told that there is no room.
const FULL: &str = "affinity-full";
/// How long a client tries until it is told one thing or the other.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause of a client before it goes to the next node.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

pub(super) async fn play(
    stage: &Stage,
    rig: &mut Rig,
    round: u32,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let door = format!("round {round}, capped");
    let leader = rig.settle().await?;
    let enough = stage.seed.child("capped").rng().random_range(KILLED_AT);
    let observer = Observer::start(rig, DOOR.name);
    let front = Front::of(stage, rig);
    let burst = Arc::new(Burst { front, claimed: AtomicUsize::new(0), served: watch::Sender::new(0) });
    let mut served = burst.served.subscribe();
    let mut callers: JoinSet<Vec<Outcome>> = (0..CALLERS).map(|_| Arc::clone(&burst).call()).collect();
    drop(burst);
    // If the burst ends before, the bars say what is missing.
    let _ = served.wait_for(|served| *served >= enough).await;
    let in_the_middle = *served.borrow();
    Absence::of(rig, leader).await?;
    let mut outcomes = Vec::new();
    while let Some(of_one) = callers.join_next().await {
        outcomes.extend(of_one?);
    }
    rig.settle().await?;
    report.bar(
        format!("{door}: served when the leader was killed"),
        in_the_middle,
        format!("fewer than {CAP}"),
        in_the_middle < CAP,
    );
    let watched = observer.stop().await?;
    watched.judge(&door, CAP as u64, report);
    judge(stage, rig, &door, &outcomes, report).await
}

/// What an identifier's client was told in the end.
struct Outcome {
    identifier: Identifier,
    told: Told,
    /// Requests that told it nothing.
    repeats: usize,
}

enum Told {
    Served(Answer),
    /// Without room, and whether in the words that the documentation has for it.
    Refused(bool),
    Nothing(String),
}

/// New identifiers, one after the other, by clients who come all at once.
struct Burst {
    front: Front,
    claimed: AtomicUsize,
    served: watch::Sender<usize>,
}

impl Burst {
    async fn call(self: Arc<Self>) -> Vec<Outcome> {
        let mut clients = self.front.clients();
        let mut outcomes = Vec::new();
        loop {
            let number = self.claimed.fetch_add(1, Ordering::Relaxed);
            if number >= BURST {
                return outcomes;
            }
            let identifier = Identifier::new(identifier::Door::Header, format!("burst-{number}"));
            let outcome = self.ask(&mut clients, number, identifier).await;
            if matches!(outcome.told, Told::Served(_)) {
                self.served.send_modify(|served| *served += 1);
            }
            outcomes.push(outcome);
        }
    }

    /// Asks one node after the other until one says yes or no.
    async fn ask(&self, clients: &mut [Client], first: usize, identifier: Identifier) -> Outcome {
        let deadline = self.front.now() + PATIENCE;
        let mut repeats = 0;
        loop {
            let client = &mut clients[(first + repeats) % NODES];
            let told = ask(client, &identifier).await;
            match told {
                Told::Nothing(_) if self.front.now() < deadline => repeats += 1,
                told => return Outcome { identifier, told, repeats },
            }
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

async fn ask(client: &mut Client, identifier: &Identifier) -> Told {
    let shown = [(SESSION_HEADER, identifier.value.to_string())];
    match client.ask(DOOR.path_prefix, &shown, None).await {
        Ok((answer, _)) if answer.is_served() => Told::Served(answer),
        Ok((answer, headers)) if answer.error.as_deref() == Some(FULL) => {
            Told::Refused(answer.status == 503 && headers.contains_key(RETRY_AFTER))
        }
        visited => Told::Nothing(failure(visited.map(|(answer, _)| answer))),
    }
}

async fn judge(
    stage: &Stage,
    rig: &mut Rig,
    door: &str,
    outcomes: &[Outcome],
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let mut ledger = Ledger::default();
    let (mut refused, mut otherwise) = (Vec::new(), 0);
    for Outcome { identifier, told, .. } in outcomes {
        match told {
            Told::Served(answer) => match ledger.observe(identifier, answer) {
                Ok(Observed::New) => {}
                odd => report.fault(format!("{door}: {identifier} began, {odd:?}")),
            },
            Told::Refused(as_documented) => {
                refused.push(identifier);
                otherwise += usize::from(!as_documented);
            }
            Told::Nothing(last) => report.fault(format!("{door}: {identifier} was told nothing: {last}")),
        }
    }
    report.bar(format!("{door}: served"), ledger.len(), format!("{CAP}"), ledger.len() == CAP);
    let rest = BURST - CAP;
    report.bar(format!("{door}: refused"), refused.len(), format!("{rest}"), refused.len() == rest);
    let what = format!("{door}: refused otherwise than by 503 {FULL} with Retry-After");
    report.bar(what, otherwise, "0", otherwise == 0);
    let repeats: usize = outcomes.iter().map(|outcome| outcome.repeats).sum();
    report.figure(format!("{door}: requests that had to be repeated at another node"), repeats);

    let mut lists = rig.sessions().await?;
    for listed in &mut lists {
        listed.retain(|_, session| session.affinity == DOOR.name);
    }
    let found: Vec<usize> = lists.iter().map(|listed| listed.len()).collect();
    let held = found.iter().all(|listed| *listed == CAP);
    report.bar(format!("{door}: sessions in the end"), format!("{found:?}"), format!("{CAP} each"), held);
    for first in 0..NODES {
        let asks = ask_in_turn(&ledger, &rig.addresses(), first);
        route(stage, asks, &lists, &mut ledger, report).await;
    }
    let again = &refused[..refused.len().min(ASK_AGAIN)];
    let let_in = ask_again(&Front::of(stage, rig), again).await;
    report.bar(format!("{door}: let in though it was full"), let_in, "0", let_in == 0);
    Ok(())
}

/// Has those that were refused ask every node once more; how many were not refused.
async fn ask_again(front: &Front, refused: &[&Identifier]) -> usize {
    let mut let_in = 0;
    for mut client in front.clients() {
        for identifier in refused {
            let_in += usize::from(!matches!(ask(&mut client, identifier).await, Told::Refused(true)));
        }
    }
    let_in
}
