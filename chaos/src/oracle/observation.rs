//! What clients were told about sessions.

use std::collections::BTreeMap;

use super::span::Span;
use crate::history::History;
use crate::history::event::Outcome;
use crate::identifier::Door;

/// An answer that a backend gave to a request of a session that is bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation<'a> {
    /// Its session.
    pub session: &'a str,
    /// How it is recognised.
    pub door: Door,
    /// The node that was asked.
    pub node: u64,
    /// When the attempt began, and when its answer was there.
    pub span: Span,
    /// The backend that answered.
    pub backend: &'a str,
    /// The binding's epoch.
    pub epoch: u64,
    /// The session's key, if the backend was told.
    pub key: Option<&'a str>,
    /// The answer revealed an identifier.
    pub revealed: bool,
}

/// Every session with its observations, in the order in which they ended.
pub(crate) fn by_session(history: &History) -> BTreeMap<&str, Vec<Observation<'_>>> {
    let mut sessions: BTreeMap<&str, Vec<Observation<'_>>> = BTreeMap::new();
    for visit in &history.visits {
        for attempt in &visit.attempts {
            let Outcome::Served { backend, epoch: Some(epoch), key, revealed } = &attempt.outcome else {
                continue;
            };
            sessions.entry(&visit.session).or_default().push(Observation {
                session: &visit.session,
                door: visit.door,
                node: attempt.node,
                span: Span { from: attempt.began, until: attempt.ended },
                backend,
                epoch: *epoch,
                key: key.as_deref(),
                revealed: revealed.is_some(),
            });
        }
    }
    for observations in sessions.values_mut() {
        observations.sort_by_key(|observation| observation.span.until);
    }
    sessions
}
