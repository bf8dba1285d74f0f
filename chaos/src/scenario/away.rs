//! A node is away while sessions begin and move.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rand::Rng;
use stickler_rt::{Outside, Shutdown};

use super::routing::{ask_in_turn, begin_sessions, report_witness, route};
use super::{Scenario, ScenarioError, Stage};
use crate::identifier::Identifier;
use crate::load::Ask;
use crate::oracle::ledger::Ledger;
use crate::report::Report;
use crate::rig::client::{Answer, Client};
use crate::rig::{NODES, Rig, RigError};
use crate::statistics::seconds;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "away",
    proves: "a node that was dead while sessions began and moved routes each right once it is back, from the log",
    rounds: 1,
    lasts: None,
    limit: Duration::from_secs(300),
    run: |stage| Box::pin(run(stage)),
};

/// Sessions that exist before the node dies.
const BEFORE: usize = 2_400;
/// Sessions that begin while it is away.
const MEANWHILE: usize = 10_000;
/// Sessions that move while it is away.
const MOVED: usize = 500;
/// The backend whose sessions move. It comes back before the node does, so that routing by an old view would
/// succeed, and be seen.
const LEFT: &str = "web-4";
/// Clients that ask the returning node for moved sessions before it is ready.
const EAGER: usize = 4;
/// Pause between two tries to reach a node that is not up yet.
const EAGER_PAUSE: Duration = Duration::from_millis(2);

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut rig = Rig::start(stage, 4).await?;
    let mut ledger = Ledger::default();
    for round in 0..stage.rounds {
        let absence = Absence::begin(stage, &mut rig, round, &mut ledger, &mut report).await?;
        absence.end(stage, &mut rig, &mut ledger, &mut report).await?;
        let received = snapshots(&rig.data_directory(absence.node))?;
        report.bar("snapshots on the node's disk", received, "0: caught up by the log", received == 0);
    }
    report_witness(&rig, &mut report);
    Ok(report)
}

/// A node that was killed, and what has happened since.
pub(super) struct Absence {
    /// The node's place among the nodes.
    pub(super) node: usize,
    /// Sessions that have moved since.
    moved: Vec<Identifier>,
}

impl Absence {
    /// Kills a follower, lets sessions begin, and moves some of those that it knows.
    pub(super) async fn begin(
        stage: &Stage,
        rig: &mut Rig,
        round: u32,
        ledger: &mut Ledger,
        report: &mut Report,
    ) -> Result<Self, ScenarioError> {
        ledger.may_leave_none();
        begin_sessions(stage, rig.addresses(), &format!("before-{round}"), BEFORE, ledger, report).await?;
        let leader = rig.settle().await?;
        let node = (leader + stage.seed.child(&format!("node {round}")).rng().random_range(1..NODES)) % NODES;
        let known: BTreeSet<Identifier> = ledger.identifiers().into_iter().collect();
        rig.kill(&[node]).await?;

        let survivors = rig.addresses_without(node);
        begin_sessions(stage, survivors.clone(), &format!("meanwhile-{round}"), MEANWHILE, ledger, report)
            .await?;
        let moved = move_sessions(stage, rig, leader, &survivors, &known, ledger, report).await?;
        Ok(Self { node, moved })
    }

    /// Starts the node again. Whatever it serves must be right; once it is ready, it serves everything.
    pub(super) async fn end(
        &self,
        stage: &Stage,
        rig: &mut Rig,
        ledger: &mut Ledger,
        report: &mut Report,
    ) -> Result<(), ScenarioError> {
        let public = rig.addresses()[self.node];
        let began = rig.now();
        rig.restart(self.node)?;
        let stop = Shutdown::new();
        let eager: Vec<_> = (0..EAGER)
            .map(|place| {
                let own = self.moved.iter().skip(place).step_by(EAGER).cloned().collect();
                tokio::spawn(ask_eagerly(stage.outside.clone(), public, own, stop.clone()))
            })
            .collect();
        rig.until("the node is ready", async |rig| {
            if rig.is_ready(self.node).await { Ok(()) } else { Err("not ready".to_owned()) }
        })
        .await?;
        report.figure("from the start until ready", seconds(rig.now().since(began)));

        let through_node = |identifiers: Vec<Identifier>| {
            identifiers.into_iter().map(|identifier| Ask { identifier, node: public }).collect::<Vec<_>>()
        };
        let moved = route(stage, through_node(self.moved.clone()), &[], ledger, report).await;
        report.figure("moved sessions routed right as soon as it was ready", moved.stayed);
        let all = route(stage, through_node(ledger.identifiers()), &[], ledger, report).await;
        let expected = ledger.len();
        report.bar(
            "sessions routed right through the node",
            all.stayed,
            format!("{expected}, all"),
            all.stayed == expected,
        );

        stop.trigger();
        let mut early = 0;
        for eager in eager {
            for (identifier, answer) in eager.await? {
                early += 1;
                if let Err(fault) = ledger.observe(&identifier, &answer) {
                    report.fault(fault);
                }
            }
        }
        report.figure("moved sessions asked for meanwhile and routed right", early);
        rig.settle().await?;
        Ok(())
    }
}

/// Moves sessions that the dead node knows by another backend, and lets that backend come back.
async fn move_sessions(
    stage: &Stage,
    rig: &mut Rig,
    operator: usize,
    survivors: &[SocketAddr],
    known: &BTreeSet<Identifier>,
    ledger: &mut Ledger,
    report: &mut Report,
) -> Result<Vec<Identifier>, ScenarioError> {
    let mut at_left = ask_in_turn(ledger, survivors, 0);
    at_left.retain(|ask| ledger.place(&ask.identifier).is_some_and(|place| place.backend == LEFT));
    // Those that the dead node knows come first.
    at_left.sort_by_key(|ask| !known.contains(&ask.identifier));
    at_left.truncate(MOVED);
    let known_moved = at_left.iter().filter(|ask| known.contains(&ask.identifier)).count();
    if at_left.len() < MOVED {
        return Err(ScenarioError::Scene(format!("{LEFT} has {} sessions of {MOVED} only", at_left.len())));
    }
    let moved: Vec<Identifier> = at_left.iter().map(|ask| ask.identifier.clone()).collect();
    rig.admin(operator).set_backend(LEFT, "maint").await.map_err(RigError::from)?;
    rig.settle().await?;
    ledger.may_leave(LEFT);
    let routed = route(stage, at_left, &[], ledger, report).await;
    ledger.may_leave_none();
    rig.admin(operator).set_backend(LEFT, "ready").await.map_err(RigError::from)?;
    report.bar(
        "sessions moved while the node was away",
        routed.moved,
        MOVED.to_string(),
        routed.moved == MOVED,
    );
    report.figure("of these, known to the node by their old backend", known_moved);
    report.figure("sessions begun while the node was away", MEANWHILE);
    Ok(moved)
}

/// Asks a node that may not even listen yet, again and again, and notes what was served.
async fn ask_eagerly(
    outside: Outside,
    node: SocketAddr,
    identifiers: Vec<Identifier>,
    stop: Shutdown,
) -> Vec<(Identifier, Answer)> {
    let mut client = Client::new(&outside, node);
    let mut served = Vec::new();
    for identifier in identifiers.iter().cycle() {
        if stop.is_triggered() {
            break;
        }
        match client.visit(identifier).await {
            Ok(answer) if answer.is_served() => served.push((identifier.clone(), answer)),
            // Refused, or nothing listens yet.
            _ => tokio::time::sleep(EAGER_PAUSE).await,
        }
    }
    served
}

/// Finished snapshots in a data directory.
pub(super) fn snapshots(data: &Path) -> Result<usize, RigError> {
    match fs::read_dir(data.join("snapshots")) {
        Ok(entries) => {
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            let names = names.collect::<io::Result<Vec<_>>>()?;
            Ok(names.iter().filter(|name| !name.to_string_lossy().ends_with(".tmp")).count())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}
