//! Each violation with all that is known of its session.

use std::fmt::{self, Write as _};

use super::escape;
use crate::history::History;
use crate::history::event::{Outcome, Phase};
use crate::oracle::verdict::{Verdict, Violation};

/// Violations that are told; the others are counted.
const TOLD: usize = 60;
/// Lines of one story: the last before the violation, and some after it.
const BEFORE: usize = 24;
const AFTER: usize = 6;

pub(super) fn tell(page: &mut String, history: &History, verdict: &Verdict) -> fmt::Result {
    if verdict.violations.is_empty() {
        page.push_str("<p class=\"held\">None.</p>\n");
        return Ok(());
    }
    for violation in verdict.violations.iter().take(TOLD) {
        writeln!(
            page,
            "<details><summary class=\"broken\">{}</summary>\n<pre>",
            escape(&violation.to_string())
        )?;
        page.push_str(&escape(&story(history, violation)));
        page.push_str("</pre></details>\n");
    }
    let untold = verdict.violations.len().saturating_sub(TOLD);
    if untold > 0 {
        writeln!(page, "<p>and {untold} more.</p>")?;
    }
    Ok(())
}

/// What is known of the violation's session around it, with the faults in between.
fn story(history: &History, violation: &Violation) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    let of_session = history.visits.iter().filter(|visit| visit.session == violation.session);
    for visit in of_session {
        for attempt in &visit.attempts {
            let outcome = match &attempt.outcome {
                Outcome::Served { backend, epoch, key, revealed } => format!(
                    "{backend}, epoch {}, key {}{}",
                    epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string()),
                    key.as_deref().unwrap_or("unknown"),
                    if revealed.is_some() { ", reveals an identifier" } else { "" }
                ),
                Outcome::Refused { status, error, .. } => format!("{status} {error}"),
                Outcome::Unsent { why } => format!("not sent: {why}"),
                Outcome::Unknown { why } => format!("unknown: {why}"),
            };
            let (client, node) = (visit.client, attempt.node);
            let took = (attempt.ended - attempt.began) as f64 / 1000.0;
            lines.push((attempt.began, format!("client {client} → node {node}, {took:.1} ms: {outcome}")));
        }
    }
    for echo in history.echoes.iter().filter(|echo| echo.session == violation.session) {
        let (node, backend, epoch) = (echo.node, &echo.backend, echo.epoch);
        lines.push((echo.began, format!("WebSocket through node {node}: {backend}, epoch {epoch}")));
    }
    for fault in &history.faults {
        let phase = match fault.phase {
            Phase::Begun => "begins",
            Phase::Healed => "is healed",
            Phase::Over => "is over",
        };
        lines.push((fault.at, format!("-- {} {phase}: {}", fault.name, fault.detail)));
    }
    lines.sort();
    let here = lines.partition_point(|(at, _)| *at <= violation.at);
    let told = &lines[here.saturating_sub(BEFORE)..(here + AFTER).min(lines.len())];
    let mut story = String::new();
    for (at, line) in told {
        // writing to a String can't fail
        let _ = writeln!(story, "{:10.3} s  {line}", *at as f64 / 1e6);
    }
    story
}
