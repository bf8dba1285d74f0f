//! A check that looks for words, and asks as a host and with a header without which it would not be told them.

use std::time::Duration;

use rand::Rng;

use super::{
    BACKENDS, DOOR, FALL, FOR_GOOD, INTERVAL, LATE, RISE, Scene, judge_clients, judge_left, judge_stayed,
};
use crate::report::Report;
use crate::rig::backend::Pace;
use crate::rig::document::Document;
use crate::rig::health::{ASKED_AS, ASKED_WITH, WORDS};
use crate::scenario::routing::report_witness;
use crate::scenario::verdicts::Watch;
use crate::scenario::{ScenarioError, Stage, places};
use crate::statistics::milliseconds;

/// A backend loses its words for a while, and nothing else.
pub(super) async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let (name, value) = ASKED_WITH;
    let check = format!("body = \"{WORDS}\"\nhost = \"{ASKED_AS}\"\nheaders = [\"{name}: {value}\"]");
    // Its backends are up, so that their pages have said the words: checks came as the host and with the header.
    let mut scene = Scene::set(stage, Document::of(&[DOOR]).with_check(&check)).await?;
    let wordless = stage.seed.child("backend").rng().random_range(0..BACKENDS);
    let name = scene.rig.backend_names().swap_remove(wordless);
    let mut watch = Watch::start(&mut scene.rig, &stage.outside.clock, &name);
    watch.until_all("up").await?;

    let began = scene.rig.now();
    scene.rig.set_backend_pace(wordless, Pace::Wordless);
    let down = watch.until_all("down").await?.since(began);
    judge_time(
        &format!("{label}: time without its words until {name} is down on all nodes"),
        FALL,
        down,
        report,
    );
    let gone = scene.left(&name).await?;
    judge_left(&format!("{label}, without its words"), &name, &scene.before, &gone, report);

    let began = scene.rig.now();
    scene.rig.set_backend_pace(wordless, Pace::Usual);
    let up = watch.until_all("up").await?.since(began);
    judge_time(&format!("{label}: time with its words until {name} is up on all nodes"), RISE, up, report);
    watch.stop().await?;
    let new = scene.begin_more(&name).await?;
    report.bar(format!("{label}: new sessions on {name} afterwards"), new, "some", new > 0);
    tokio::time::sleep(FOR_GOOD).await;
    scene.rig.settle().await?;
    let lists = scene.rig.sessions().await?;
    judge_stayed(&format!("{label}, with its words again"), &gone[0], &lists, report);

    let moves = places::on(&scene.before, &name).len();
    judge_clients(label, &scene.users.stop().await?, moves, 1, report);
    report_witness(&scene.rig, report);
    Ok(())
}

/// The verdict came with so many checks in a row, no earlier, and no later than a busy machine explains.
fn judge_time(what: &str, checks: u32, took: Duration, report: &mut Report) {
    // The first of them comes at once at the earliest, and the others an interval later each, a tenth less at the least.
    let (least, most) = (Duration::from_millis(450) * (checks - 1), INTERVAL * checks + LATE);
    report.bar(
        what,
        milliseconds(took),
        format!("{} to {}", milliseconds(least), milliseconds(most)),
        (least..=most).contains(&took),
    );
}
