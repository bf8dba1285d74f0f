//! The same workload and the same checker, with Stickler and with another balancer's replication.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stickler_rt::Shutdown;
use tokio::task::JoinSet;

use crate::history::event::{Event, FaultEvent, Phase};
use crate::history::recorder::Recorder;
use crate::history::{EVENTS, FORMAT, History, RunFile};
use crate::identifier::Door;
use crate::oracle::placement::{Stretch, placements};
use crate::rig::haproxy::Haproxy;
use crate::rig::{NODES, Rig, RigError, Setting};
use crate::scenario::{ScenarioError, Stage};
use crate::workload::{Board, Caller, Held, Scene, Wanted};

/// Backends behind both.
const BACKENDS: usize = 4;
/// Sessions that race, and as many that begin one after the other: so that two nodes whose turns come in step
/// don't hide what a race does.
const RACING: usize = 500;
/// First requests of a session that races.
const AT_ONCE: usize = 6;
/// Sessions that race at the same moment.
const TOGETHER: usize = 4;
/// Callers that begin sessions while a node dies.
const BEGINNING: u32 = 8;
/// How long they begin sessions before a node dies.
const BEFORE: Duration = Duration::from_millis(1500);
/// What asynchronous replication is given before anything is asked, and what a node is given after its start.
const REST: Duration = Duration::from_secs(3);
/// Longest wait for one node's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait until all nodes answer.
const RETURN: Duration = Duration::from_secs(60);

/// One of the systems that are compared.
enum System {
    Stickler(Box<Rig>),
    Haproxy(Haproxy),
}

impl System {
    fn addresses(&self) -> Vec<std::net::SocketAddr> {
        match self {
            Self::Stickler(rig) => rig.addresses(),
            Self::Haproxy(haproxy) => haproxy.addresses.clone(),
        }
    }

    async fn kill(&mut self, nodes: &[usize]) -> Result<(), RigError> {
        match self {
            Self::Stickler(rig) => rig.kill(nodes).await.map(|_| ()),
            Self::Haproxy(haproxy) => haproxy.kill(nodes).await,
        }
    }

    /// HAProxy's tables are in memory alone: there is nothing on a disk to lose.
    fn lose_unsynced(&self, node: usize) -> Result<(), RigError> {
        match self {
            Self::Stickler(rig) => rig.lose_unsynced(node),
            Self::Haproxy(_) => Ok(()),
        }
    }

    fn restart(&mut self, node: usize) -> Result<(), RigError> {
        match self {
            Self::Stickler(rig) => rig.restart(node),
            Self::Haproxy(haproxy) => haproxy.restart(node),
        }
    }

    async fn returned(&mut self, stage: &Stage) -> Result<(), RigError> {
        match self {
            Self::Stickler(rig) => rig.settle().await.map(|_| ()),
            Self::Haproxy(haproxy) => {
                let answers = async {
                    while !haproxy.answers(stage).await {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                let seen = "a node that does not answer".to_owned();
                let never = RigError::Never { within: RETURN, what: "HAProxy answers", seen };
                tokio::time::timeout(RETURN, answers).await.map_err(|_| never)
            }
        }
    }
}

/// What was measured of one system.
struct Measured {
    version: String,
    stretches: Vec<Stretch>,
}

/// Runs both, and gives the table. Whether Stickler split and moved no session.
pub(crate) async fn compare(stage: &Stage) -> Result<(String, bool), ScenarioError> {
    let mut measured = Vec::new();
    for name in ["stickler", "haproxy"] {
        let directory = stage.directory.join(name);
        std::fs::create_dir_all(&directory).map_err(RigError::from)?;
        let stage = Stage { directory, ..stage.clone() };
        let (system, version) = start(&stage, name).await?;
        measured.push(measure(&stage, system, version).await?);
    }
    let held =
        measured[0].stretches.iter().all(|stretch| stretch.split.is_empty() && stretch.moved.is_empty());
    Ok((table(&measured), held))
}

async fn start(stage: &Stage, name: &str) -> Result<(System, String), ScenarioError> {
    if name == "haproxy" {
        let haproxy = Haproxy::start(stage, BACKENDS).await?;
        let version = haproxy.version.clone();
        return Ok((System::Haproxy(haproxy), version));
    }
    let setting = Setting { breakable: true, ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let status = rig.admin(0).status().await.map_err(RigError::from)?;
    Ok((System::Stickler(Box::new(rig)), format!("Stickler {}", status.version)))
}

async fn measure(stage: &Stage, mut system: System, version: String) -> Result<Measured, ScenarioError> {
    system.returned(stage).await?;
    let recorder =
        Recorder::begin(&stage.directory.join(EVENTS), &stage.outside.clock).map_err(RigError::from)?;
    let scene = Scene {
        outside: stage.outside.clone(),
        recorder: recorder.clone(),
        nodes: (1..).zip(system.addresses()).collect(),
        board: Arc::new(Board::default()),
        seed: stage.seed.child("workload"),
        stop: Shutdown::new(),
        patience: PATIENCE,
    };
    race(&scene).await?;
    begin_sessions(&scene).await;
    tokio::time::sleep(REST).await;
    ask_every_node(&scene).await?;

    fault_while_sessions_begin(stage, &mut system, &scene, "kill", &[0]).await?;
    let all: Vec<usize> = (0..NODES).collect();
    fault_while_sessions_begin(stage, &mut system, &scene, "power-cut-all", &all).await?;
    recorder.finish().map_err(RigError::from)?;
    let run = RunFile {
        format: FORMAT,
        scenario: "compare".to_owned(),
        version: version.clone(),
        seed: stage.seed_number,
        nodes: (1..=NODES as u64).collect(),
        ..RunFile::default()
    };
    run.write(&stage.directory).map_err(RigError::from)?;
    let history = History::read(&stage.directory).map_err(|error| ScenarioError::Scene(error.to_string()))?;
    Ok(Measured { version, stretches: placements(&history) })
}

/// Sessions whose first requests come at the same moment through all nodes.
async fn race(scene: &Scene) -> Result<(), ScenarioError> {
    let mut races = JoinSet::new();
    for place in 0..TOGETHER {
        let scene = scene.clone();
        races.spawn(async move {
            let mut random = scene.seed.child(&format!("race {place}")).rng();
            let mut callers: Vec<Caller> = (0..AT_ONCE).map(|_| Caller::new(&scene, 1, None)).collect();
            for number in (place..RACING).step_by(TOGETHER) {
                let session = format!("race-{number}");
                let requests = callers.iter_mut().enumerate().map(|(place, caller)| {
                    let value = Some(session.as_str());
                    let first = place % NODES;
                    caller.visit(Wanted { door: Door::Header, session: &session, value, fresh: true, first })
                });
                join_all(requests).await;
                scene.board.put(Held { door: Door::Header, value: session.clone(), session }, &mut random);
            }
        });
    }
    while let Some(ended) = races.join_next().await {
        ended?;
    }
    Ok(())
}

/// As many sessions that begin one after the other: half by cookie, half by header.
async fn begin_sessions(scene: &Scene) {
    let mut caller = Caller::new(scene, 2, None);
    for number in 0..RACING {
        begin_one(scene, &mut caller, &format!("calm-{number}"), number).await;
    }
}

async fn begin_one(scene: &Scene, caller: &mut Caller, session: &str, number: usize) {
    let mut random = scene.seed.child(session).rng();
    let door = if number.is_multiple_of(2) { Door::Own } else { Door::Header };
    let value = door.is_by_header().then_some(session);
    let answer = caller.visit(Wanted { door, session, value, fresh: true, first: number % NODES }).await;
    let held = answer.and_then(|answer| answer.revealed).or_else(|| value.map(str::to_owned));
    if let Some(value) = held {
        scene.board.put(Held { door, session: session.to_owned(), value }, &mut random);
    }
}

/// Asks for every session once through each node.
async fn ask_every_node(scene: &Scene) -> Result<(), ScenarioError> {
    let held = scene.board.all();
    let mut callers = JoinSet::new();
    let share = held.len().div_ceil(BEGINNING as usize).max(1);
    for (number, share) in (3..).zip(held.chunks(share)) {
        let (scene, share) = (scene.clone(), share.to_vec());
        callers.spawn(async move {
            let mut caller = Caller::new(&scene, number, None);
            for Held { door, session, value } in &share {
                for first in 0..NODES {
                    let value = Some(value.as_str());
                    caller.visit(Wanted { door: *door, session, value, fresh: false, first }).await;
                }
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    Ok(())
}

/// Nodes lose their power while sessions begin; the others are asked at once, all of them after the return.
async fn fault_while_sessions_begin(
    stage: &Stage,
    system: &mut System,
    scene: &Scene,
    name: &str,
    nodes: &[usize],
) -> Result<(), ScenarioError> {
    let stop = Shutdown::new();
    let mut beginning = JoinSet::new();
    for number in 0..BEGINNING {
        let (scene, stop, name) = (scene.clone(), stop.clone(), name.to_owned());
        beginning.spawn(async move {
            let mut caller = Caller::new(&scene, 100 + number, None);
            for turn in 0.. {
                if stop.is_triggered() {
                    break;
                }
                let session = format!("{name}-{number}-{turn}");
                begin_one(&scene, &mut caller, &session, turn + number as usize).await;
            }
        });
    }
    tokio::time::sleep(BEFORE).await;
    let fault = |phase| {
        let (name, detail, at) = (name.to_owned(), format!("{nodes:?}"), scene.recorder.now());
        let number = u32::try_from(nodes.len()).unwrap_or(0);
        scene.recorder.write(&Event::Fault(FaultEvent { number, name, phase, at, detail, effects: vec![] }));
    };
    fault(Phase::Begun);
    system.kill(nodes).await?;
    for node in nodes {
        system.lose_unsynced(*node)?;
    }
    stop.trigger();
    while let Some(ended) = beginning.join_next().await {
        ended?;
    }
    if nodes.len() < NODES {
        // The survivors serve what the dead node has just begun, or they don't.
        ask_every_node(scene).await?;
    }
    for node in nodes {
        system.restart(*node)?;
    }
    fault(Phase::Healed);
    system.returned(stage).await?;
    fault(Phase::Over);
    ask_every_node(scene).await?;
    tokio::time::sleep(REST).await;
    ask_every_node(scene).await
}

fn table(measured: &[Measured]) -> String {
    let mut table = String::from("\n");
    let row = |table: &mut String, what: &str, cells: Vec<String>| {
        let _ = write!(table, "  {what:46}");
        for cell in cells {
            let _ = write!(table, "  {cell:>24}");
        }
        table.push('\n');
    };
    let short = |version: &str| version.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    row(&mut table, "", measured.iter().map(|system| short(&system.version)).collect());
    let of = |count: usize, all: usize| format!("{count} of {all}");
    let cells = |cell: &dyn Fn(&[Stretch]) -> String| {
        measured.iter().map(|system| cell(&system.stretches)).collect::<Vec<_>>()
    };
    let split = |stretches: &[Stretch]| of(stretches[0].split.len(), RACING);
    row(&mut table, "racing sessions that were split", cells(&split));
    for (place, what) in [
        (0, "sessions moved with nothing happening"),
        (1, "sessions moved after a node was killed"),
        (2, "sessions moved after a power cut of all nodes"),
    ] {
        let moved = |stretches: &[Stretch]| {
            stretches.get(place).map_or_else(String::new, |it| of(it.moved.len(), it.asked.len()))
        };
        row(&mut table, what, cells(&moved));
    }
    for (place, what) in [(1, "requests without an answer around the kill"), (2, "and around the power cut")]
    {
        let errors =
            |stretches: &[Stretch]| stretches.get(place).map_or_else(String::new, |it| it.errors.to_string());
        row(&mut table, what, cells(&errors));
    }
    table
}
