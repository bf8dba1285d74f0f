//! A backend is emptied session by session, while its clients go on and the leader dies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use stickler_proto::admin::{Job, StartJobRequest};
use stickler_rt::{Outside, Shutdown};
use tokio::task::JoinSet;

use super::routing::report_witness;
use super::{Scenario, ScenarioError, Stage};
use crate::identifier::SESSION_HEADER;
use crate::report::Report;
use crate::rig::client::{Answer, Client};
use crate::rig::document::{Document, Door};
use crate::rig::{NODES, Rig, RigError, Setting};
use crate::statistics::seconds;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "evacuate",
    proves: "a backend's sessions move at the rate that was asked for, each once and none cut off, through a SIGKILL of the \
             leader",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions on the backend, in each round.
const SESSIONS: usize = 10_000;
/// Of these, clients who go on all the while.
const USERS: usize = 150;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(300);
/// Sessions a second.
const RATE: u32 = 200;
/// How long the leader is away that was killed.
const AWAY: Duration = Duration::from_secs(3);
/// Callers at once who begin the sessions.
const CALLERS: usize = 48;

const DOOR: Door<'static> = Door {
    name: "shop",
    path_prefix: "/",
    options: "",
    methods: "[[affinity.by]]\nmethod = \"header\"\nname = \"X-Session\"",
};

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let setting = Setting { document: Document::of(&[DOOR]), ..Setting::plain(3) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    for round in 1..=stage.rounds {
        play(stage, &mut rig, round, &mut report).await?;
    }
    report_witness(&rig, &mut report);
    Ok(report)
}

async fn play(stage: &Stage, rig: &mut Rig, round: u32, report: &mut Report) -> Result<(), ScenarioError> {
    let label = format!("round {round}");
    let names = rig.backend_names();
    let (from, others) = names.split_first().expect("three backends");
    for (name, admin) in [(from, "ready")].into_iter().chain(others.iter().map(|other| (other, "maint"))) {
        rig.admin(0).set_backend(name, admin).await.map_err(RigError::from)?;
    }
    rig.settle().await?;
    begin(&stage.outside, &rig.addresses(), round).await?;
    for other in others {
        rig.admin(0).set_backend(other, "ready").await.map_err(RigError::from)?;
    }
    let leader = rig.settle().await?;
    let before = rig.sessions().await?;
    let on_it = before[0].values().filter(|session| session.backend_name.ends_with(from.as_str())).count();
    report.bar(format!("{label}: sessions on {from}"), on_it, SESSIONS.to_string(), on_it == SESSIONS);

    let stop = Shutdown::new();
    let users = users(&stage.outside, &rig.addresses(), round, &stop);
    let began = rig.now();
    let asked = (leader + 1) % NODES;
    let job = start(rig, asked, from).await?;
    rig.until("a third has moved", async |rig| moved(rig, asked, job, SESSIONS as u64 / 3).await).await?;
    rig.kill(&[leader]).await?;
    tokio::time::sleep(AWAY).await;
    rig.restart(leader)?;
    let done = loop {
        let found = find(rig, asked, job).await.map_err(ScenarioError::Scene)?;
        if found.state == "done" {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let took = rig.now().since(began);
    stop.trigger();
    let seen = seen(users).await?;
    rig.settle().await?;

    let expected = Duration::from_secs(SESSIONS as u64) / RATE;
    let fits = took.as_secs_f64() / expected.as_secs_f64();
    report.bar(
        format!("{label}: time"),
        seconds(took),
        format!("{} within 5 %", seconds(expected)),
        (0.95..=1.05).contains(&fits),
    );
    report.bar(
        format!("{label}: moved, by the job"),
        done.moved,
        SESSIONS.to_string(),
        done.moved == SESSIONS as u64,
    );
    report.figure(format!("{label}: announced moves taken back"), done.not_quiet);
    judge_lists(rig, from, &before[0], &label, report).await?;
    report.figure(format!("{label}: requests of clients meanwhile"), seen.visits);
    report.bar(
        format!("{label}: requests that no node served"),
        seen.unserved.len(),
        "0",
        seen.unserved.is_empty(),
    );
    report.faults(seen.unserved);
    let twice = seen.places.iter().filter(|places| **places > 2).count();
    report.bar(format!("{label}: clients who moved twice"), twice, "0", twice == 0);
    Ok(())
}

/// Every session is on another backend, by one epoch that came from the job, on every node.
async fn judge_lists(
    rig: &mut Rig,
    from: &str,
    before: &crate::rig::admin::Listed,
    label: &str,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    for (node, listed) in (1..).zip(rig.sessions().await?) {
        let left = listed.values().filter(|session| session.backend_name.ends_with(from)).count();
        let once = before.iter().filter(|(key, session)| {
            !session.backend_name.ends_with(from)
                || listed
                    .get(*key)
                    .is_some_and(|now| now.cause == "moved: by a job" && now.epoch > session.epoch)
        });
        let once = once.count();
        report.bar(
            format!("{label}: left there, and where they should be, on node {node}"),
            format!("{left} and {once}"),
            format!("0 and {}", before.len()),
            (left, once) == (0, before.len()),
        );
    }
    Ok(())
}

async fn start(rig: &mut Rig, asked: usize, from: &str) -> Result<u64, ScenarioError> {
    let backends = rig.admin(asked).backends().await.map_err(RigError::from)?;
    let backend = backends.iter().find(|backend| backend.name == from).map_or(0, |backend| backend.id);
    let newest = rig.admin(asked).jobs().await.map_err(RigError::from)?.last().map_or(0, |job| job.id);
    let request = StartJobRequest {
        work: "evacuate".to_owned(),
        backend,
        rate: RATE,
        hold_milliseconds: 2000,
        expected_job: newest,
        ..StartJobRequest::default()
    };
    Ok(rig.admin(asked).start_job(request).await.map_err(RigError::from)?)
}

async fn find(rig: &mut Rig, asked: usize, job: u64) -> Result<Job, String> {
    let jobs = rig.admin(asked).jobs().await.map_err(|error| error.to_string())?;
    jobs.into_iter().find(|found| found.id == job).ok_or_else(|| "the job is gone".to_owned())
}

async fn moved(rig: &mut Rig, asked: usize, job: u64, enough: u64) -> Result<(), String> {
    let moved = find(rig, asked, job).await?.moved;
    if moved >= enough { Ok(()) } else { Err(format!("{moved} have moved")) }
}

fn called(round: u32, number: usize) -> String {
    format!("client-{round}-{number}")
}

/// Begins all sessions, with as many callers at once as there are.
async fn begin(outside: &Outside, nodes: &[SocketAddr], round: u32) -> Result<(), ScenarioError> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let mut client = Client::new(outside, nodes[caller % nodes.len()]);
        callers.spawn(async move {
            for number in (caller..SESSIONS).step_by(CALLERS) {
                let header = [(SESSION_HEADER, called(round, number))];
                let served = client.ask(DOOR.path_prefix, &header, None).await;
                if !served.as_ref().is_ok_and(|(answer, _)| answer.is_served()) {
                    return Err(format!("{served:?}"));
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

/// What a client who went on was told.
#[derive(Debug, Default)]
struct Seen {
    visits: usize,
    /// Epochs by which each client was served, how many.
    places: Vec<usize>,
    unserved: Vec<String>,
}

/// Clients of the first sessions, who go from node to node.
fn users(outside: &Outside, nodes: &[SocketAddr], round: u32, stop: &Shutdown) -> JoinSet<Seen> {
    let mut users = JoinSet::new();
    for number in 0..USERS {
        let clients: Vec<Client> = nodes.iter().map(|node| Client::new(outside, *node)).collect();
        users.spawn(go_on(called(round, number), clients, number, stop.clone()));
    }
    users
}

async fn go_on(value: String, mut clients: Vec<Client>, first: usize, stop: Shutdown) -> Seen {
    let mut seen = Seen::default();
    let mut epochs: BTreeMap<u64, String> = BTreeMap::new();
    let mut turn = first;
    while !stop.is_triggered() {
        tokio::time::sleep(PAUSE).await;
        turn += 1;
        seen.visits += 1;
        match ask(&value, &mut clients, turn).await {
            Ok(answer) => {
                let epoch = answer.epoch.unwrap_or(0);
                if epochs.last_key_value().is_some_and(|(last, _)| epoch < *last) {
                    seen.unserved.push(format!("{value} was served by epoch {epoch} after a later one"));
                }
                epochs.insert(epoch, answer.backend);
            }
            Err(failures) => seen.unserved.push(format!("{value} was not served: {failures:?}")),
        }
    }
    seen.places.push(epochs.len());
    seen
}

/// One request, through the next node, or else through another.
async fn ask(value: &str, clients: &mut [Client], turn: usize) -> Result<Answer, Vec<String>> {
    let header = [(SESSION_HEADER, value.to_owned())];
    let mut failures = Vec::new();
    let count = clients.len();
    for place in 0..count {
        match clients[(turn + place) % count].ask(DOOR.path_prefix, &header, None).await {
            Ok((answer, _)) if answer.is_served() => return Ok(answer),
            Ok((answer, _)) => {
                failures.push(format!("{} {}", answer.status, answer.error.unwrap_or_default()))
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(failures)
}

async fn seen(mut users: JoinSet<Seen>) -> Result<Seen, ScenarioError> {
    let mut all = Seen::default();
    while let Some(seen) = users.join_next().await {
        let seen = seen?;
        all.visits += seen.visits;
        all.places.extend(seen.places);
        all.unserved.extend(seen.unserved);
    }
    Ok(all)
}
