//! I5 on open WebSockets: one of an ended epoch is closed after the affinity's grace.

use std::collections::BTreeMap;

use super::circumstances::Circumstances;
use super::observation::Observation;
use super::span::Span;
use super::verdict::{Promise, Violation};
use crate::history::History;

/// The affinity's grace, and what a busy machine may add, in microseconds.
const GRACE: u64 = 2_000_000 + 3_000_000;

pub(super) fn check(
    history: &History,
    sessions: &BTreeMap<&str, Vec<Observation<'_>>>,
    circumstances: &Circumstances,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for echo in &history.echoes {
        let Some(observations) = sessions.get(echo.session.as_str()) else { continue };
        let newer = observations
            .iter()
            .find(|newer| newer.epoch > echo.epoch && newer.span.until.saturating_add(GRACE) < echo.began);
        let Some(newer) = newer else { continue };
        // A node that is cut off can't know.
        let span = Span { from: newer.span.until, until: echo.ended };
        if circumstances.may_be_isolated(echo.node, span) {
            continue;
        }
        let what = format!(
            "node {} still passes on messages to {} by epoch {}, {} ms after epoch {} at {} was seen",
            echo.node,
            echo.backend,
            echo.epoch,
            (echo.began - newer.span.until) / 1000,
            newer.epoch,
            newer.backend
        );
        let session = echo.session.clone();
        violations.push(Violation { promise: Promise::OneOwner, session, at: echo.ended, what });
    }
    violations
}
