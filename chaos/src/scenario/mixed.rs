//! Every fault and every workload at once, written down and judged.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use stickler_rt::Shutdown;
use tokio::task::JoinSet;

use super::{Scenario, ScenarioError, Stage};
use crate::fault::{self, Fault, Field, Lane, play_lane, watch_processes};
use crate::history::event::{Event, Listed, Replica};
use crate::history::recorder::Recorder;
use crate::history::{Bar, EVENTS, FORMAT, History, RunFile};
use crate::identifier::Door;
use crate::oracle::ledger::name_of;
use crate::oracle::verdict::judge;
use crate::report::Report;
use crate::rig::network::NetworkKind;
use crate::rig::network::namespaces::client_source;
use crate::rig::plan::Layout;
use crate::rig::{NODES, Rig, RigError, Setting};
use crate::workload::{Board, Caller, Crowd, Held, Scene, Wanted, Workload, look_at};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "mixed",
    proves: "every fault and every workload at once: every promise, judged on the recorded history",
    rounds: 1,
    lasts: Some(Duration::from_secs(300)),
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

const BACKENDS: usize = 4;

const CROWD: Crowd = Crowd { shoppers: 40, racers: 2, sources: 6, sockets: 6 };

/// Longest wait for one node's answer: longer than a node itself holds a request.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long the workload goes on after the last fault is over.
const QUIET: Duration = Duration::from_secs(5);

/// Callers that ask for every session in the end.
const LAST_CALLERS: usize = 8;

/// Sessions in one line of the history.
const LISTED: usize = 500;

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let recorder =
        Recorder::begin(&stage.directory.join(EVENTS), &stage.outside.clock).map_err(RigError::from)?;
    let setting = Setting {
        layout: match stage.network {
            NetworkKind::Links => Layout::Links,
            NetworkKind::Namespaces => Layout::Namespaces,
        },
        breakable: true,
        recorder: Some(recorder.clone()),
        ..Setting::plain(BACKENDS)
    };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let faults = chosen(stage, &rig)?;
    let mut about = about(stage, &mut rig, &faults).await?;
    about.write(&stage.directory).map_err(RigError::from)?;

    let scene = Scene {
        outside: stage.outside.clone(),
        recorder: recorder.clone(),
        nodes: (1..).zip(rig.addresses()).collect(),
        board: Arc::new(Board::default()),
        seed: stage.seed.child("workload"),
        stop: Shutdown::new(),
        patience: PATIENCE,
    };
    let watching = Shutdown::new();
    let mut observers = JoinSet::new();
    for (node, admin) in (1..).zip(rig.admins()) {
        observers.spawn(look_at(node, admin, recorder.clone(), watching.clone()));
    }
    let source: fn(u8) -> Ipv4Addr = match stage.network {
        NetworkKind::Links => |number| Ipv4Addr::new(127, 1, 0, number),
        NetworkKind::Namespaces => client_source,
    };
    let workload = Workload::start(&scene, CROWD, source, &rig.admins(), &about.backends);
    let field = Field::new(rig, recorder.clone(), Shutdown::new());
    let unready = break_things(stage, &field, &faults).await?;
    bar(
        &mut about,
        "nodes that are not ready after the last fault",
        &unready.into_iter().collect::<Vec<_>>(),
    );
    tokio::time::sleep(QUIET).await;
    let panicked = workload.stop().await;
    bar(&mut about, "parts of the workload that failed", &vec!["a panic".to_owned(); panicked]);

    ask_for_all(&scene).await?;
    watching.trigger();
    while observers.join_next().await.is_some() {}
    // A cluster that never comes to rest gets its verdict all the same.
    let unlisted = list_replicas(&field, &recorder).await.err().map(|error| error.to_string());
    bar(&mut about, "replicas that could not be compared", &unlisted.into_iter().collect::<Vec<_>>());
    bar(&mut about, "nodes that ended by themselves or did not recover", &field.failures());
    recorder.finish().map_err(RigError::from)?;
    about.write(&stage.directory).map_err(RigError::from)?;
    let history = History::read(&stage.directory).map_err(|error| ScenarioError::Scene(error.to_string()))?;
    Ok(Report::of(&history, &judge(&history)))
}

/// The faults that the user wants and the network allows.
fn chosen(stage: &Stage, rig: &Rig) -> Result<Vec<Fault>, ScenarioError> {
    let wanted = |fault: &&Fault| {
        let named = stage.faults.iter().any(|name| name == fault.name);
        (named || stage.faults.is_empty()) && (!fault.needs_links || rig.network().can_be_slow())
    };
    let faults: Vec<Fault> = fault::ALL.iter().filter(wanted).copied().collect();
    if faults.is_empty() {
        return Err(ScenarioError::Scene("none of these faults can be done on this network".to_owned()));
    }
    Ok(faults)
}

async fn about(stage: &Stage, rig: &mut Rig, faults: &[Fault]) -> Result<RunFile, ScenarioError> {
    let status = rig.admin(0).status().await.map_err(RigError::from)?;
    Ok(RunFile {
        format: FORMAT,
        scenario: SCENARIO.name.to_owned(),
        version: format!("stickler {}", status.version),
        seed: stage.seed_number,
        duration: stage.duration.as_secs(),
        network: stage.network.name().to_owned(),
        nodes: (1..=NODES as u64).collect(),
        backends: rig.backend_names(),
        windows: faults.iter().map(Fault::window).collect(),
        ..RunFile::default()
    })
}

/// Does faults for the run's duration, and waits until the cluster has recovered from all of them.
async fn break_things(
    stage: &Stage,
    field: &Field,
    faults: &[Fault],
) -> Result<Option<String>, ScenarioError> {
    let lanes = Lane::ALL.map(|lane| {
        let faults: Vec<Fault> = faults.iter().filter(|fault| fault.lane == lane).copied().collect();
        let random = stage.seed.child(&format!("{lane:?}")).rng();
        async move { play_lane(field, &faults, random).await }
    });
    let end = async {
        tokio::time::sleep(stage.duration).await;
        field.stop.trigger();
        Ok(())
    };
    let all = async { tokio::try_join!(try_join_all(lanes), end) };
    tokio::select! {
        biased;
        failed = watch_processes(field) => failed?,
        done = all => drop(done?),
    }
    Ok(field.until_ready(fault::RECOVERY).await.err())
}

/// Asks for every session that a client holds, through the nodes in turn.
async fn ask_for_all(scene: &Scene) -> Result<(), ScenarioError> {
    let held = scene.board.all();
    let share = held.len().div_ceil(LAST_CALLERS).max(1);
    let mut callers = JoinSet::new();
    for (number, held) in held.chunks(share).enumerate() {
        let mut caller = Caller::new(scene, 1_000_000 + u32::try_from(number).unwrap_or(0), None);
        let held = held.to_vec();
        callers.spawn(async move {
            for (first, Held { door, session, value }) in held.iter().enumerate() {
                let value = Some(value.as_str()).filter(|_| *door != Door::Source);
                caller.visit(Wanted { door: *door, session, value, fresh: false, first }).await;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    Ok(())
}

/// Writes down what every node's replica holds, once all of them have applied everything.
async fn list_replicas(field: &Field, recorder: &Recorder) -> Result<(), ScenarioError> {
    let mut rig = field.rig.lock().await;
    rig.settle().await?;
    for (node, listed) in (1..).zip(rig.sessions().await?) {
        let mut sessions: Vec<Listed> = listed
            .into_iter()
            .map(|(key, session)| Listed {
                key,
                epoch: session.epoch,
                backend: name_of(&session.backend_name).to_owned(),
                cause: session.cause,
            })
            .collect();
        sessions.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        for sessions in sessions.chunks(LISTED) {
            let (at, sessions) = (recorder.now(), sessions.to_vec());
            recorder.write(&Event::Replica(Replica { at, node, sessions }));
        }
    }
    Ok(())
}

fn bar(about: &mut RunFile, what: &str, failures: &[String]) {
    let measured = if failures.is_empty() { "0".to_owned() } else { failures.join("; ") };
    let held = failures.is_empty();
    about.bars.push(Bar { what: what.to_owned(), measured, must: "0".to_owned(), held });
}
