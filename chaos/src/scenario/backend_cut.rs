//! Nodes don't reach a healthy backend: first one node, then two.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::front::Front;
use super::routing::report_witness;
use super::users::{self, BY_HEADER, Seen, Users};
use super::verdicts::{Look, Watch, one_index, states};
use super::{Scenario, ScenarioError, Stage, places};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::network::{Condition, End};
use crate::rig::plan::Layout;
use crate::rig::{NODES, Rig, RigError, Setting};
use crate::statistics::milliseconds;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "backend-cut",
    proves: "one node that does not reach a backend moves nobody; two of three do, at one log index on all nodes",
    rounds: 4,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Backends of the pool.
const BACKENDS: usize = 3;
/// Nodes that don't reach the backend and are no majority.
const FEW: usize = 1;
/// Nodes that don't reach it and are one.
const MANY: usize = 2;
/// Sessions, all of them in use in every round.
const SESSIONS: usize = 90;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(400);
/// Longest wait of a client for one node: what is dropped on the way to the backend is not answered.
const PATIENCE: Duration = Duration::from_secs(1);
/// Requests before anything is cut.
const BEFORE: Duration = Duration::from_secs(1);
/// How long the ways are cut: three checks that time out take three seconds and a bit.
const CUT: Duration = Duration::from_secs(6);
/// Requests after the ways are open again.
const AFTER: Duration = Duration::from_secs(2);

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

/// What is cut in one step of a round.
struct Cut<'a> {
    label: String,
    backend: usize,
    name: &'a str,
    /// The places of the nodes that don't reach it.
    nodes: BTreeSet<usize>,
    condition: Condition,
}

/// What was seen of it.
struct Endured {
    before: Listed,
    /// Every node's replica afterwards.
    after: Vec<Listed>,
    seen: Seen,
    looks: Vec<Look>,
    /// From the cut until all nodes had the backend down, where that was waited for.
    down: Option<Duration>,
}

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut random = stage.seed.child("cuts").rng();
    let document = Document::of(&[DOOR]);
    let mut rig =
        Rig::start_with(stage, &Setting { document, layout: Layout::Links, ..Setting::plain(BACKENDS) })
            .await?;
    let names = rig.backend_names();
    let front = Front::of(stage, &rig).with_patience(PATIENCE);
    users::begin(&front, DOOR.path_prefix, clients()).await?;
    let mut backend = random.random_range(0..BACKENDS);
    for round in 1..=stage.rounds {
        // Another one than before: that one has no sessions any more.
        backend = (backend + random.random_range(1..BACKENDS)) % BACKENDS;
        // Nobody is told, and everybody is.
        let condition = if round % 2 == 1 { Condition::Dropped } else { Condition::Cut };
        for count in [FEW, MANY] {
            let nodes = draw(count, &mut random);
            let label = format!("round {round}, {count} of {NODES} nodes, {condition:?}");
            let cut = Cut { label, backend, name: &names[backend], nodes, condition };
            let users = Users::start(&front, DOOR.path_prefix, clients(), PAUSE);
            let endured = endure(stage, &mut rig, &cut, users, count == MANY).await?;
            if count == MANY {
                judge_majority(&cut, &endured, &mut report);
            } else {
                judge_minority(&cut, &endured, &mut report);
            }
        }
    }
    report_witness(&rig, &mut report);
    Ok(report)
}

fn clients() -> impl ExactSizeIterator<Item = String> {
    (0..SESSIONS).map(|number| format!("client-{number}"))
}

fn draw(count: usize, random: &mut StdRng) -> BTreeSet<usize> {
    let first = random.random_range(0..NODES);
    (first..first + count).map(|place| place % NODES).collect()
}

/// Cuts the ways under load, and opens them again. Where the backend is to go down, this waits until all of its sessions
/// have left it.
async fn endure(
    stage: &Stage,
    rig: &mut Rig,
    cut: &Cut<'_>,
    users: Users,
    goes_down: bool,
) -> Result<Endured, ScenarioError> {
    rig.settle().await?;
    let before = rig.sessions().await?.swap_remove(0);
    tokio::time::sleep(BEFORE).await;
    let mut watch = Watch::start(rig, &stage.outside.clock, cut.name);
    watch.until_all("up").await?;
    let began = rig.now();
    set_ways(rig, cut, cut.condition)?;
    let mut down = None;
    if goes_down {
        down = Some(watch.until_all("down").await?.since(began));
        rig.until("all sessions have left the backend", async |rig| left(rig, cut.name).await).await?;
    }
    tokio::time::sleep(CUT).await;
    set_ways(rig, cut, Condition::Open)?;
    watch.until_all("up").await?;
    tokio::time::sleep(AFTER).await;
    let (seen, looks) = (users.stop().await?, watch.stop().await?);
    rig.settle().await?;
    Ok(Endured { before, after: rig.sessions().await?, seen, looks, down })
}

fn set_ways(rig: &mut Rig, cut: &Cut<'_>, condition: Condition) -> Result<(), RigError> {
    for node in &cut.nodes {
        rig.set_both_ways(End::Node(*node as u64 + 1), End::Backend(cut.backend), condition)?;
    }
    Ok(())
}

async fn left(rig: &mut Rig, backend: &str) -> Result<(), String> {
    let listed = rig.admin(0).sessions().await.map_err(|error| error.to_string())?;
    match places::on(&listed, backend).len() {
        0 => Ok(()),
        left => Err(format!("{left} are there")),
    }
}

/// Nobody moves, and nobody but those who come through this node to this backend notices.
fn judge_minority(cut: &Cut<'_>, endured: &Endured, report: &mut Report) {
    let label = &cut.label;
    let bound = places::on(&endured.before, cut.name).len();
    report.bar(format!("{label}: sessions on {}", cut.name), bound, "some", bound > 0);
    let felt = judge_failures(cut, &endured.seen, report);
    report.bar(format!("{label}: requests that the cut failed"), felt, "some", felt > 0);
    let not_up = endured.looks.iter().filter(|look| look.says != "up").count();
    let what = format!("{label}: of {} looks, those that had it not up", endured.looks.len());
    report.bar(what, not_up, "0", not_up == 0);
    endured.seen.judge(label, report);
    endured.seen.judge_moves(label, 0, report);
    let moved = |listed: &Listed| places::moved(&endured.before, listed).len();
    let moved: Vec<usize> = endured.after.iter().map(moved).collect();
    let held = moved.iter().all(|moved| *moved == 0);
    report.bar(
        format!("{label}: sessions with another place or epoch, on each node"),
        format!("{moved:?}"),
        "0",
        held,
    );
}

/// Its sessions move and no others, each once, to one place on all nodes at one log index.
fn judge_majority(cut: &Cut<'_>, endured: &Endured, report: &mut Report) {
    let label = &cut.label;
    let Endured { before, after, seen, looks, down } = endured;
    let felt = judge_failures(cut, seen, report);
    report.figure(format!("{label}: requests that the cut failed"), felt);
    if let Some(down) = down {
        report.figure(format!("{label}: until it was down on all nodes"), milliseconds(*down));
    }
    let (index, held) = match one_index(looks, "down") {
        Ok((above, up_to)) => (format!("one above {above}, up to {up_to}"), true),
        Err(apart) => (apart, false),
    };
    report.bar(format!("{label}: log index at which it went down"), index, "one on all nodes", held);
    let (compared, differ) = states(looks);
    report.bar(
        format!("{label}: of {compared} log indexes, those with two states"),
        differ,
        "0",
        differ == 0 && compared > 0,
    );
    seen.judge(label, report);
    seen.judge_moves(label, 1, report);
    let bound = places::on(before, cut.name);
    let moved: Vec<BTreeSet<&str>> = after.iter().map(|listed| places::moved(before, listed)).collect();
    let counts: Vec<usize> = moved.iter().map(BTreeSet::len).collect();
    let held = moved.iter().all(|moved| *moved == bound) && !bound.is_empty();
    let what = format!("{label}: sessions that moved, on each node");
    report.bar(what, format!("{counts:?}"), format!("the {} of {}", bound.len(), cut.name), held);
    let apart = places::apart(after);
    let what = format!("{label}: sessions whose backend, epoch or log index the nodes tell differently");
    report.bar(what, apart.len(), "0", apart.is_empty());
    report.faults(apart);
}

/// Requests that failed on a way that was cut. None may fail elsewhere.
fn judge_failures(cut: &Cut<'_>, seen: &Seen, report: &mut Report) -> usize {
    let (felt, elsewhere): (Vec<_>, Vec<_>) =
        seen.failed.iter().partition(|failed| cut.nodes.contains(&failed.node) && failed.backend == cut.name);
    let label = &cut.label;
    report.bar(
        format!("{label}: requests that failed elsewhere"),
        elsewhere.len(),
        "0",
        elsewhere.is_empty(),
    );
    report.faults(elsewhere.iter().map(|failed| {
        format!("{label}: through node {}, with {}: {}", failed.node + 1, failed.backend, failed.how)
    }));
    felt.len()
}
