//! Clients whose sessions are in use all the time.

use std::time::Duration;

use stickler_rt::Shutdown;
use tokio::task::JoinSet;

use super::super::Front;
use super::DOOR;
use crate::identifier::SESSION_HEADER;
use crate::rig::client::Answer;
use crate::scenario::ScenarioError;
use crate::scenario::front::{Visited, Visitor};

/// How many there are.
pub(super) const REGULARS: usize = 60;
/// Pause of each between two requests.
const PAUSE: Duration = Duration::from_millis(250);

/// All of them, while they come.
pub(super) struct Regulars {
    coming: JoinSet<Seen>,
}

/// What they were told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) visits: usize,
    /// Their sessions' keys and epochs, as they began.
    pub(super) sessions: Vec<(String, u64)>,
    /// Sessions that were another one later.
    pub(super) changed: Vec<String>,
    /// Requests that no node served.
    pub(super) unserved: Vec<String>,
}

impl Regulars {
    /// Begins their sessions, and has them come until they are told to stop.
    pub(super) async fn begin(front: &Front, stop: &Shutdown) -> Result<Self, ScenarioError> {
        let mut coming = JoinSet::new();
        for number in 0..REGULARS {
            let mut regular = Regular { value: format!("regular-{number}"), visitor: front.visitor(number) };
            let first = regular.visit().await.served;
            let first = first.filter(|answer| answer.key.is_some() && answer.epoch.is_some());
            let first =
                first.ok_or_else(|| ScenarioError::Scene(format!("{} has no session", regular.value)))?;
            coming.spawn(regular.come(first, stop.clone()));
        }
        Ok(Self { coming })
    }

    /// What they were told until they stopped.
    pub(super) async fn end(mut self) -> Result<Seen, ScenarioError> {
        let mut all = Seen::default();
        while let Some(seen) = self.coming.join_next().await {
            let seen = seen?;
            all.visits += seen.visits;
            all.sessions.extend(seen.sessions);
            all.changed.extend(seen.changed);
            all.unserved.extend(seen.unserved);
        }
        Ok(all)
    }
}

struct Regular {
    value: String,
    visitor: Visitor,
}

impl Regular {
    async fn come(mut self, first: Answer, stop: Shutdown) -> Seen {
        let mut seen =
            Seen { sessions: first.key.clone().zip(first.epoch).into_iter().collect(), ..Seen::default() };
        while !stop.is_triggered() {
            tokio::time::sleep(PAUSE).await;
            seen.visits += 1;
            let Visited { served, failures } = self.visit().await;
            match served {
                Some(answer) if (&answer.backend, answer.epoch) == (&first.backend, first.epoch) => {}
                Some(answer) => {
                    let place = |answer: &Answer| format!("{} by epoch {:?}", answer.backend, answer.epoch);
                    let (before, now) = (place(&first), place(&answer));
                    seen.changed.push(format!("{} was at {before}, is at {now}", self.value));
                    // It is a new one from here on, and would be told of again and again.
                    return seen;
                }
                None => seen.unserved.push(format!("{} was not served: {failures:?}", self.value)),
            }
        }
        seen
    }

    async fn visit(&mut self) -> Visited {
        let shown = [(SESSION_HEADER, self.value.clone())];
        self.visitor.visit(DOOR.path_prefix, &shown).await
    }
}
