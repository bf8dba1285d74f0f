//! Clients who come once, one after the other, each with a session of its own.

use std::time::Duration;

use stickler_rt::Moment;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::super::Front;
use super::DOOR;
use crate::identifier::SESSION_HEADER;
use crate::scenario::front::Visited;

/// How many come.
pub(super) const NEWCOMERS: usize = 800;
/// One comes after the other at this pace: each has its place for three and a half seconds.
const PACE: Duration = Duration::from_millis(25);

/// A newcomer's only visit.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) began: Moment,
    pub(super) ended: Moment,
    /// Its session's key, if it was served.
    pub(super) key: Option<String>,
    /// How its requests ended that were not, and at which node.
    pub(super) failures: Vec<(usize, String)>,
}

/// Lets all of them come, and says how many have.
pub(super) async fn come(front: Front, come: watch::Sender<usize>) -> Vec<Arrival> {
    let mut pace = tokio::time::interval(PACE);
    // Who is late is not made up for: a crowd would put the regulars to a harder test than is meant.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut visits = JoinSet::new();
    for number in 0..NEWCOMERS {
        pace.tick().await;
        visits.spawn(visit(front.clone(), number));
        come.send_replace(number + 1);
    }
    visits.join_all().await
}

/// Asks one node after the other, each once, until a backend answers.
async fn visit(front: Front, number: usize) -> Arrival {
    let shown = [(SESSION_HEADER, format!("newcomer-{number}"))];
    let mut visitor = front.visitor(number);
    let began = front.now();
    let Visited { served, failures } = visitor.visit(DOOR.path_prefix, &shown).await;
    Arrival { began, ended: front.now(), key: served.and_then(|answer| answer.key), failures }
}
