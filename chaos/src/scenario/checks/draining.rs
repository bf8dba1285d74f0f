//! A backend that drains itself: its check answers with a status that says so.

use std::time::Duration;

use rand::Rng;
use stickler_proto::admin::Backend;

use super::{BACKENDS, DOOR, INTERVAL, LATE, Scene, judge_clients, judge_stayed};
use crate::report::Report;
use crate::rig::backend::Pace;
use crate::rig::document::Document;
use crate::scenario::routing::report_witness;
use crate::scenario::verdicts::{Look, Sight, Watch};
use crate::scenario::visits::{Callers, Calling, KnownAs, Visit};
use crate::scenario::{ScenarioError, Stage, places};
use crate::statistics::milliseconds;

/// How long new sessions come while it drains itself.
const DRAINS: Duration = Duration::from_secs(4);
/// How long they come when it wants to stay after all.
const TAKES: Duration = Duration::from_secs(2);

const TAKING: &str = "up";
const DRAINING: &str = "up, and drains itself";

/// Clients without sessions.
const fn newcomers(name: &'static str) -> Callers {
    Callers {
        name,
        path: DOOR.path_prefix,
        known_as: KnownAs::Newcomer,
        count: 24,
        pause: Duration::from_millis(100),
    }
}

pub(super) async fn play(stage: &Stage, label: &str, report: &mut Report) -> Result<(), ScenarioError> {
    let mut scene = Scene::set(stage, Document::of(&[DOOR]).with_check("drain_status = 404")).await?;
    let draining = stage.seed.child("backend").rng().random_range(0..BACKENDS);
    let name = scene.rig.backend_names().swap_remove(draining);
    let mut watch = Watch::start_at(&mut scene.rig, &stage.outside.clock, sight(&name));
    watch.until_all(TAKING).await?;

    let began = scene.rig.now();
    scene.rig.set_backend_pace(draining, Pace::Draining);
    let known = watch.until_all(DRAINING).await?.since(began);
    judge_time(&format!("{label}: time until all nodes know that {name} drains itself"), known, report);
    let away = Calling::start(&scene.front, newcomers("away"));
    tokio::time::sleep(DRAINS).await;
    judge_new(&format!("{label}, meanwhile"), &name, &away.stop().await?, false, report);

    let began = scene.rig.now();
    scene.rig.set_backend_pace(draining, Pace::Usual);
    let known = watch.until_all(TAKING).await?.since(began);
    judge_time(&format!("{label}: time until all nodes know that {name} does not any more"), known, report);
    let back = Calling::start(&scene.front, newcomers("back"));
    tokio::time::sleep(TAKES).await;
    judge_new(&format!("{label}, afterwards"), &name, &back.stop().await?, true, report);

    judge_looks(label, &watch.stop().await?, report);
    let seen = scene.users.stop().await?;
    scene.rig.settle().await?;
    let bound = places::on(&scene.before, &name).len();
    report.bar(format!("{label}: sessions in use on {name}"), bound, "some", bound > 0);
    judge_stayed(label, &scene.before, &scene.rig.sessions().await?, report);
    judge_clients(label, &seen, 0, 0, report);
    report_witness(&scene.rig, report);
    Ok(())
}

fn sight(backend: &str) -> Sight {
    let says = |name: &str, backends: &[Backend]| match backends.iter().find(|backend| backend.name == name) {
        None => "removed".to_owned(),
        Some(backend) if backend.health == "up" => {
            if backend.drains_itself {
                DRAINING.to_owned()
            } else {
                TAKING.to_owned()
            }
        }
        Some(backend) => backend.health.clone(),
    };
    Sight { says, ..Sight::health_of(backend) }
}

/// What a backend says of itself needs no second check.
fn judge_time(what: &str, took: Duration, report: &mut Report) {
    let most = INTERVAL + LATE;
    report.bar(what, milliseconds(took), format!("{} at most", milliseconds(most)), took <= most);
}

/// New sessions begin on it, or not one of them does; none is refused.
fn judge_new(label: &str, name: &str, visits: &[Visit], takes: bool, report: &mut Report) {
    let answered = || visits.iter().filter_map(Visit::backend);
    let at_it = answered().filter(|backend| *backend == name).count();
    report.bar(
        format!("{label}: new sessions on {name}, of {}", visits.len()),
        at_it,
        if takes { "some" } else { "0" },
        (at_it > 0) == takes && !visits.is_empty(),
    );
    let refused = visits.len() - answered().count();
    report.bar(format!("{label}: new sessions that no backend answered"), refused, "0", refused == 0);
}

/// No node took it for down because of what it said.
fn judge_looks(label: &str, looks: &[Look], report: &mut Report) {
    let other = looks.iter().filter(|look| look.says != TAKING && look.says != DRAINING).count();
    let what = format!("{label}: looks at nodes that did not have it up, of {}", looks.len());
    report.bar(what, other, "0", other == 0 && !looks.is_empty());
}

#[cfg(test)]
mod tests {
    use super::super::super::visits::tests::{served, visit};
    use super::*;

    fn held(backends: &[&str], takes: bool) -> bool {
        let visits: Vec<_> = backends.iter().map(|backend| visit(0, (0, 1), served(backend, 1))).collect();
        let mut report = Report::default();
        judge_new("r", "web-1", &visits, takes, &mut report);
        report.held()
    }

    #[test]
    fn one_new_session_on_a_backend_that_wants_to_leave_is_a_failure_and_so_is_none_afterwards() {
        assert!(held(&["web-2", "web-3"], false));
        assert!(!held(&["web-2", "web-1"], false));
        assert!(held(&["web-2", "web-1"], true));
        assert!(!held(&["web-2", "web-3"], true));
    }

    #[test]
    fn what_a_node_says_of_a_backend_tells_one_that_drains_itself_from_one_that_is_down() {
        let backend = |health: &str, drains_itself| Backend {
            name: "web-1".to_owned(),
            health: health.to_owned(),
            drains_itself,
            ..Backend::default()
        };
        let Sight { of, says, .. } = sight("web-1");
        assert_eq!(says(&of, &[backend("up", false)]), TAKING);
        assert_eq!(says(&of, &[backend("up", true)]), DRAINING);
        assert_eq!(says(&of, &[backend("down", true)]), "down");
    }
}
