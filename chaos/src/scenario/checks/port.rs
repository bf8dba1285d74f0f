//! A check that only connects: what the backend would say is nothing to it, and a port that refuses is all.

use std::time::Duration;

use http::StatusCode;
use rand::Rng;
use rand::rngs::StdRng;

use super::{BACKENDS, DOOR, INTERVAL, LATE, RISE, Scene, judge_stayed};
use crate::report::Report;
use crate::rig::admin::Listed;
use crate::rig::backend::Pace;
use crate::rig::client::Client;
use crate::rig::document::Document;
use crate::rig::health;
use crate::scenario::routing::report_witness;
use crate::scenario::verdicts::Watch;
use crate::scenario::{ScenarioError, Stage, places};
use crate::statistics::{Durations, milliseconds};

/// How often a backend dies.
const KILLS: usize = 7;
/// How long a backend says that it is not well: more checks than make it down, if they looked.
const UNWELL: Duration = Duration::from_secs(3);
/// The bar for the median time until all nodes have it down. Checks alone would take three intervals of 500 ms, but a
/// request that is refused has every node check at once.
const MEDIAN: Duration = Duration::from_millis(300);

pub(super) async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let mut scene = Scene::set(stage, Document::of(&[DOOR]).with_connecting_check()).await?;
    let mut random = stage.seed.child("backends").rng();
    be_unwell(stage, &mut scene, random.random_range(0..BACKENDS), label, report).await?;
    let deaths = Deaths::of(stage, &mut scene, &mut random).await?;
    deaths.judge(label, report);
    let seen = scene.users.stop().await?;
    seen.judge(label, report);
    let moved = seen.moves();
    let what = format!("{label}: moves that clients met");
    report.bar(what, moved, format!("{}, once for each death", deaths.moves), moved == deaths.moves);
    report.figure(
        format!("{label}: requests that a node could not serve and another one did"),
        seen.failed.len(),
    );
    report_witness(&scene.rig, report);
    Ok(())
}

/// A backend says that it is not well to whoever asks, and nobody does.
async fn be_unwell(
    stage: &Stage,
    scene: &mut Scene,
    unwell: usize,
    label: &str,
    report: &mut Report,
) -> Result<(), ScenarioError> {
    let (name, address) = scene.rig.backend_places().swap_remove(unwell);
    let mut watch = Watch::start(&mut scene.rig, &stage.outside.clock, &name);
    watch.until_all("up").await?;
    scene.rig.set_backend_pace(unwell, Pace::Unwell);
    let says = Client::new(&stage.outside, address).status_of(health::PATH).await;
    let says = says.map_err(|error| ScenarioError::Scene(format!("{name} says nothing: {error}")))?;
    tokio::time::sleep(UNWELL).await;
    let looks = watch.stop().await?;
    scene.rig.set_backend_pace(unwell, Pace::Usual);
    scene.rig.settle().await?;
    let lists = scene.rig.sessions().await?;

    let what = format!("{label}: what the page of {name} says that no check asks for");
    report.bar(what, says, "503", says == StatusCode::SERVICE_UNAVAILABLE);
    let other = looks.iter().filter(|look| look.says != "up").count();
    report.bar(
        format!("{label}: looks at nodes that did not have it up meanwhile, of {}", looks.len()),
        other,
        "0",
        other == 0 && !looks.is_empty(),
    );
    judge_stayed(&format!("{label}, while it says so"), &scene.before, &lists, report);
    Ok(())
}

/// What came of backends that died and were started again, one after the other.
#[derive(Default)]
struct Deaths {
    down: Durations,
    up: Durations,
    /// Sessions that were on one when it died.
    moves: usize,
    /// The fewest that one had.
    fewest: usize,
    /// Deaths after which other sessions had moved than those.
    astray: Vec<String>,
}

impl Deaths {
    async fn of(stage: &Stage, scene: &mut Scene, random: &mut StdRng) -> Result<Self, ScenarioError> {
        let mut deaths = Self { fewest: usize::MAX, ..Self::default() };
        let names = scene.rig.backend_names();
        let mut killed = random.random_range(0..BACKENDS);
        for _ in 0..KILLS {
            let before = scene.rig.sessions().await?.swap_remove(0);
            let mut watch = Watch::start(&mut scene.rig, &stage.outside.clock, &names[killed]);
            watch.until_all("up").await?;
            let began = scene.rig.now();
            scene.rig.kill_backend(killed).await;
            deaths.down.add(watch.until_all("down").await?.since(began));
            let lists = scene.left(&names[killed]).await?;
            deaths.count(&names[killed], &before, &lists);
            let began = scene.rig.now();
            scene.rig.start_backend(killed).await?;
            deaths.up.add(watch.until_all("up").await?.since(began));
            watch.stop().await?;
            // Another one: nobody comes back to the one that has died last.
            killed = (killed + random.random_range(1..BACKENDS)) % BACKENDS;
        }
        Ok(deaths)
    }

    fn count(&mut self, killed: &str, before: &Listed, lists: &[Listed]) {
        let bound = places::on(before, killed);
        self.moves += bound.len();
        self.fewest = self.fewest.min(bound.len());
        for (node, listed) in (1..).zip(lists) {
            let moved = places::moved(before, listed);
            if moved != bound {
                let (moved, bound) = (moved.len(), bound.len());
                self.astray
                    .push(format!("{moved} sessions moved on node {node}, not the {bound} of {killed}"));
            }
        }
        self.astray.extend(places::apart(lists));
    }

    fn judge(&self, label: &str, report: &mut Report) {
        let what = format!("{label}: fewest sessions on a backend that died, of {KILLS} deaths");
        report.bar(what, self.fewest, "some", self.fewest > 0);
        let median = self.down.median();
        report.bar(
            format!("{label}: median time until it is down on all nodes"),
            milliseconds(median),
            format!("{} at most", milliseconds(MEDIAN)),
            median <= MEDIAN,
        );
        report.figure(format!("{label}: worst time until it is down"), milliseconds(self.down.worst()));
        let (median, most) = (self.up.median(), INTERVAL * RISE + LATE);
        report.bar(
            format!("{label}: median time from its start until it is up on all nodes"),
            milliseconds(median),
            format!("{} at most", milliseconds(most)),
            median <= most,
        );
        let what = format!("{label}: nodes on which others than its sessions had moved by then");
        report.bar(what, self.astray.len(), "0", self.astray.is_empty());
        report.faults(self.astray.iter().map(|astray| format!("{label}: {astray}")));
    }
}
