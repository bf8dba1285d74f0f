//! What a backend says to its checks: by words, by a port alone, by a status with which it drains itself, and by
//! coming back, which gives it little at first.

mod draining;
mod port;
mod shares;
mod slow_start;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use super::front::Front;
use super::users::{self, BY_HEADER, Seen, Users};
use super::{Scenario, ScenarioError, Stage, places};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::document::{Document, Door, NEVER_IDLE};
use crate::rig::{Rig, RigError, Setting};
use shares::Balance;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "checks",
    proves: "a backend is down without its words, or its port, and takes nothing new while it says so itself; one that comes up gets \
             its share of what is new little by little, and a node that is started again does not begin anew",
    rounds: 2,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

const BACKENDS: usize = 3;
/// Clients with sessions in use, over all backends.
const CLIENTS: usize = 90;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(300);
/// New sessions when a backend takes some again.
const NEW: usize = 90;
/// How long the clients go on when all is well again: time for everybody to ask several times.
const FOR_GOOD: Duration = Duration::from_secs(2);
/// How much later than their checks say nodes may agree: on a machine that is busy.
const LATE: Duration = Duration::from_secs(1);
/// The longest from one check of the rig's documents to the next: half a second, and a tenth of that.
const INTERVAL: Duration = Duration::from_millis(550);
/// Checks in a row that make a backend down, and up again: the defaults.
const FALL: u32 = 3;
const RISE: u32 = 2;

const DOOR: Door<'static> = Door { name: "shop", path_prefix: "/", options: NEVER_IDLE, methods: BY_HEADER };

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    for round in 1..=stage.rounds {
        let of_part = |part: &str| {
            // Each part has a check of its own, and so a cluster of its own.
            let label = format!("round {round}, {part}");
            (stage.apart(&label), label)
        };
        let (stage, label) = of_part("words");
        Box::pin(words::play(&stage, &label, &mut report)).await?;
        let (stage, label) = of_part("port");
        Box::pin(port::play(&stage, &label, &mut report)).await?;
        let (stage, label) = of_part("draining");
        Box::pin(draining::play(&stage, &label, &mut report)).await?;
        let balance = if round % 2 == 1 { Balance::TwoChoices } else { Balance::Rendezvous };
        let (stage, label) = of_part("slow-start");
        Box::pin(slow_start::play(&stage, &label, balance, &mut report)).await?;
    }
    Ok(report)
}

/// A cluster whose clients have sessions in use on all backends.
struct Scene {
    rig: Rig,
    front: Front,
    users: Users,
    /// Where all sessions are.
    before: Listed,
}

impl Scene {
    async fn set(stage: &Stage, document: Document) -> Result<Self, ScenarioError> {
        let setting = Setting { document, ..Setting::plain(BACKENDS) };
        let mut rig = Rig::start_with(stage, &setting).await?;
        let front = Front::of(stage, &rig);
        let names = || (0..CLIENTS).map(|number| format!("client-{number}"));
        users::begin(&front, DOOR.path_prefix, names()).await?;
        rig.settle().await?;
        let before = rig.sessions().await?.swap_remove(0);
        let users = Users::start(&front, DOOR.path_prefix, names(), PAUSE);
        Ok(Self { rig, front, users, before })
    }

    /// Waits until no session is on the backend: each leaves it with its next request. Where the sessions are then, on
    /// every node.
    async fn left(&mut self, backend: &str) -> Result<Vec<Listed>, ScenarioError> {
        self.rig
            .until("no session is on the backend any more", async |rig| {
                let backend = rig.admin(0).backend(backend).await.map_err(|error| error.to_string())?;
                if backend.sessions == 0 { Ok(()) } else { Err(format!("{} are", backend.sessions)) }
            })
            .await?;
        self.rig.settle().await?;
        Ok(self.rig.sessions().await?)
    }

    /// Begins sessions of further clients, through all nodes. How many of them the backend got.
    async fn begin_more(&mut self, backend: &str) -> Result<usize, ScenarioError> {
        let on_it = async |rig: &mut Rig| rig.admin(0).backend(backend).await.map_err(RigError::from);
        let before = on_it(&mut self.rig).await?.sessions;
        let names = (0..NEW).map(|number| format!("later-{number}"));
        users::begin(&self.front, DOOR.path_prefix, names).await?;
        self.rig.settle().await?;
        let after = on_it(&mut self.rig).await?.sessions;
        Ok(usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX))
    }
}

/// Those sessions have moved that were on the backend, and no others, on every node: to one place, by one epoch.
fn judge_left(label: &str, backend: &str, before: &Listed, lists: &[Listed], report: &mut Report) {
    let bound = places::on(before, backend);
    let moved: Vec<_> = lists.iter().map(|listed| places::moved(before, listed)).collect();
    let held = !bound.is_empty() && moved.iter().all(|moved| *moved == bound);
    report.bar(
        format!("{label}: sessions that have moved on each node"),
        format!("{:?}", moved.iter().map(BTreeSet::len).collect::<Vec<_>>()),
        format!("{}, those of {backend}", bound.len()),
        held,
    );
    judge_apart(label, lists, report);
}

/// Nobody has moved, on any node.
fn judge_stayed(label: &str, before: &Listed, lists: &[Listed], report: &mut Report) {
    let moved: Vec<_> = lists.iter().map(|listed| places::moved(before, listed).len()).collect();
    let held = moved.iter().all(|moved| *moved == 0);
    report.bar(
        format!("{label}: sessions that have moved on each node"),
        format!("{moved:?}"),
        format!("0 of {}", before.len()),
        held && !before.is_empty(),
    );
    judge_apart(label, lists, report);
}

fn judge_apart(label: &str, lists: &[Listed], report: &mut Report) {
    let apart = places::apart(lists);
    report.faults(apart.iter().map(|apart| format!("{label}: {apart}")));
}

/// No client was refused anything, by whichever node; all of them moved so often together, and none more often than this.
fn judge_clients(label: &str, seen: &Seen, moves: usize, most: usize, report: &mut Report) {
    seen.judge(label, report);
    let failed = seen.failed.len();
    report.bar(format!("{label}: requests that failed at any node"), failed, "0", failed == 0);
    report.faults(
        seen.failed.iter().map(|failed| format!("{label}: through node {}: {}", failed.node + 1, failed.how)),
    );
    seen.judge_moves(label, most, report);
    let moved = seen.moves();
    report.bar(format!("{label}: moves that clients met"), moved, moves.to_string(), moved == moves);
}
