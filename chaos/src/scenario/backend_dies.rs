//! A backend's process is killed, again and again.

use std::time::Duration;

use rand::Rng;

use super::front::Front;
use super::users::{BY_HEADER, Users};
use super::verdicts::Watch;
use super::{Scenario, ScenarioError, Stage};
use crate::report::Report;
use crate::rig::document::{Document, Door};
use crate::rig::{Rig, RigError, Setting};
use crate::statistics::{Durations, milliseconds};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "backend-dies",
    proves: "a killed backend is down on all nodes soon after, by the requests that it refuses; its clients see no error",
    rounds: 30,
    lasts: None,
    limit: Duration::from_secs(600),
    run: |stage| Box::pin(run(stage)),
};

/// Backends of the pool.
const BACKENDS: usize = 3;
/// Clients who go on all the while: some 120 requests a second over all nodes and backends.
const USERS: usize = 60;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(500);
/// Traffic before each kill, so that no round begins with connections still to be made.
const BEFORE: Duration = Duration::from_millis(700);
/// The bar for the median time until all nodes have it down. Checks alone would take three intervals of 500 ms.
const MEDIAN: Duration = Duration::from_millis(300);

const DOOR: Door<'static> = Door {
    name: "shop",
    path_prefix: "/",
    // Whoever had to leave comes back: the next one to die has clients, too.
    options: "idle_timeout = \"2h\"\nwhen_back = \"return\"",
    methods: BY_HEADER,
};

async fn run(stage: &Stage) -> Result<Report, ScenarioError> {
    let mut report = Report::default();
    let mut random = stage.seed.child("backends").rng();
    let document = Document::of(&[DOOR]);
    let setting = Setting { backends_apart: true, document, ..Setting::plain(BACKENDS) };
    let mut rig = Rig::start_with(stage, &setting).await?;
    let names = rig.backend_names();
    let (mut down, mut up) = (Durations::default(), Durations::default());
    let mut fewest = u64::MAX;
    let users = (0..USERS).map(|number| format!("client-{number}"));
    let users = Users::start(&Front::of(stage, &rig), DOOR.path_prefix, users, PAUSE);
    for _ in 0..stage.rounds {
        rig.settle().await?;
        tokio::time::sleep(BEFORE).await;
        let backend = random.random_range(0..BACKENDS);
        let mut watch = Watch::start(&mut rig, &stage.outside.clock, &names[backend]);
        watch.until_all("up").await?;
        fewest = fewest.min(sessions(&mut rig, &names[backend]).await?);
        let killed = rig.now();
        rig.kill_backend(backend).await;
        down.add(watch.until_all("down").await?.since(killed));
        let started = rig.now();
        rig.start_backend(backend).await?;
        up.add(watch.until_all("up").await?.since(started));
        watch.stop().await?;
    }
    let seen = users.stop().await?;
    report.figure("backends killed", stage.rounds);
    report.bar("fewest sessions that one of them had", fewest, "some", fewest > 0);
    let median = down.median();
    report.bar(
        "median time until it is down on all nodes",
        milliseconds(median),
        format!("{} at most", milliseconds(MEDIAN)),
        median <= MEDIAN,
    );
    report.figure("90th percentile", milliseconds(down.quantile(0.9)));
    report.figure("worst", milliseconds(down.worst()));
    report.figure("median time from its start until it is up on all nodes", milliseconds(up.median()));
    report.figure("requests that a node could not serve and another one did", seen.failed.len());
    seen.judge("all rounds", &mut report);
    Ok(report)
}

async fn sessions(rig: &mut Rig, backend: &str) -> Result<u64, ScenarioError> {
    let backends = rig.admin(0).backends().await.map_err(RigError::from)?;
    Ok(backends.iter().find(|found| found.name == backend).map_or(0, |found| found.sessions))
}
