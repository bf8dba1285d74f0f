//! The run over time, drawn: faults, nodes, errors, binds, moves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use super::escape;
use crate::history::History;
use crate::history::event::{FaultEvent, Phase, Says};
use crate::oracle::verdict::{Promise, Verdict};

/// Of the drawing, in its own units.
const WIDTH: f64 = 1200.0;
const LABELS: f64 = 130.0;
const ROW: f64 = 16.0;
const PLOT: f64 = 60.0;
/// Bars in a plot, at most.
const MOST_BARS: u64 = 300;

/// Places what happens on the drawing.
struct Scale {
    end: u64,
}

impl Scale {
    fn x(&self, at: u64) -> f64 {
        LABELS + (WIDTH - LABELS - 10.0) * at as f64 / self.end.max(1) as f64
    }
}

pub(super) fn draw(page: &mut String, history: &History, verdict: &Verdict) -> fmt::Result {
    let scale = Scale { end: history.end };
    let mut body = String::new();
    let mut y = 8.0;
    draw_faults(&mut body, history, &scale, &mut y)?;
    draw_nodes(&mut body, history, &scale, &mut y)?;
    let errors = history.visits.iter().filter(|visit| !visit.is_served()).map(|visit| visit.ended());
    let begun = history.sightings.iter().map(|sighting| sighting.at);
    let visits = history.visits.iter().map(|visit| visit.ended());
    let moved = verdict.moved.iter().copied();
    let broken = verdict.violations.iter().map(|violation| violation.at);
    draw_plot(&mut body, "visits a second", "#8c959f", visits.collect(), &scale, &mut y)?;
    draw_plot(&mut body, "binds a second", "#1f6feb", begun.collect(), &scale, &mut y)?;
    draw_plot(&mut body, "sessions moved", "#8250df", moved.collect(), &scale, &mut y)?;
    draw_plot(&mut body, "errors of visits", "#d4760b", errors.collect(), &scale, &mut y)?;
    draw_plot(&mut body, "violations", "#b3261e", broken.collect(), &scale, &mut y)?;
    draw_axis(&mut body, &scale, &mut y)?;
    writeln!(page, "<svg viewBox=\"0 0 {WIDTH} {y}\" role=\"img\">\n{body}</svg>")?;
    page.push_str(
        "<p class=\"quiet\">Nodes: dark green leads, light green holds a lease, yellow catches up, orange is isolated, \
         grey does not answer. Point at a bar to see what it is.</p>\n",
    );
    let outside = Promise::NoErrorOutsideWindows;
    let outside = verdict.violations.iter().filter(|violation| violation.promise == outside).count();
    writeln!(page, "<p class=\"quiet\">Errors of visits outside of the windows: {outside}.</p>")
}

fn bar(
    body: &mut String,
    scale: &Scale,
    (from, until): (u64, u64),
    y: f64,
    fill: &str,
    title: &str,
) -> fmt::Result {
    let (x, end) = (scale.x(from), scale.x(until));
    let width = (end - x).max(1.0);
    writeln!(
        body,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{fill}\"><title>{}</title></rect>",
        ROW - 4.0,
        escape(title)
    )
}

fn label(body: &mut String, text: &str, y: f64) -> fmt::Result {
    writeln!(body, "<text x=\"0\" y=\"{:.1}\">{}</text>", y + ROW - 6.0, escape(text))
}

fn draw_faults(body: &mut String, history: &History, scale: &Scale, y: &mut f64) -> fmt::Result {
    let ends = |number: u32, phase: Phase| {
        let found = history.faults.iter().find(|fault| (fault.number, fault.phase) == (number, phase));
        found.map_or(history.end, |fault| fault.at)
    };
    let mut rows: BTreeMap<&str, Vec<&FaultEvent>> = BTreeMap::new();
    for fault in history.faults.iter().filter(|fault| fault.phase == Phase::Begun) {
        rows.entry(&fault.name).or_default().push(fault);
    }
    for (name, faults) in rows {
        label(body, name, *y)?;
        for fault in faults {
            let (healed, over) = (ends(fault.number, Phase::Healed), ends(fault.number, Phase::Over));
            let title = format!(
                "{name}: {}, from {:.1} s for {:.1} s, ready {:.1} s later",
                fault.detail,
                fault.at as f64 / 1e6,
                (healed - fault.at) as f64 / 1e6,
                (over - healed) as f64 / 1e6
            );
            bar(body, scale, (fault.at, over), *y, "#e8b4b0", &title)?;
            bar(body, scale, (fault.at, healed), *y, "#b3261e", &title)?;
        }
        *y += ROW;
    }
    *y += ROW / 2.0;
    Ok(())
}

fn draw_nodes(body: &mut String, history: &History, scale: &Scale, y: &mut f64) -> fmt::Result {
    let nodes: BTreeSet<u64> = history.run.nodes.iter().copied().collect();
    for node in nodes {
        label(body, &format!("node {node}"), *y)?;
        let looks = history.standings.iter().filter(|standing| standing.node == node);
        // Looks that say the same make one bar.
        let mut since: Option<(u64, &'static str, String)> = None;
        for look in looks {
            let (fill, says) = describe(look.says.as_ref());
            let (from, last_fill, title) = since.take().unwrap_or((look.at, fill, says.clone()));
            if last_fill != fill || title != says {
                bar(body, scale, (from, look.at), *y, last_fill, &title)?;
                since = Some((look.at, fill, says));
            } else {
                since = Some((from, fill, says));
            }
        }
        if let Some((from, fill, title)) = since {
            bar(body, scale, (from, history.end), *y, fill, &title)?;
        }
        *y += ROW;
    }
    *y += ROW / 2.0;
    Ok(())
}

fn describe(says: Option<&Says>) -> (&'static str, String) {
    let Some(says) = says else { return ("#c3c9d0", "no answer".to_owned()) };
    let fill = match (says.footing.as_str(), says.role.as_str()) {
        ("leased", "leader") => "#116329",
        ("leased", _) => "#8fd19e",
        ("catching-up", _) => "#f2d675",
        _ => "#e8a05c",
    };
    let Says { role, term, leader, footing, .. } = says;
    (fill, format!("{role} of term {term}, leader {leader}, {footing}"))
}

fn draw_plot(
    body: &mut String,
    name: &str,
    fill: &str,
    times: Vec<u64>,
    scale: &Scale,
    y: &mut f64,
) -> fmt::Result {
    let seconds = (scale.end / 1_000_000 / MOST_BARS).max(1);
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for at in times {
        *counts.entry(at / (seconds * 1_000_000)).or_default() += 1;
    }
    let highest = counts.values().copied().max().unwrap_or(0);
    let most = highest as f64 / seconds as f64;
    label(body, name, *y)?;
    writeln!(body, "<text x=\"0\" y=\"{:.1}\">at most {most:.0}</text>", *y + 2.0 * ROW - 6.0)?;
    for (slot, count) in counts {
        let from = slot * seconds * 1_000_000;
        let (x, end) = (scale.x(from), scale.x((from + seconds * 1_000_000).min(scale.end)));
        let height = (PLOT - 8.0) * count as f64 / highest.max(1) as f64;
        writeln!(
            body,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{fill}\"><title>{name} at {} s: \
             {:.1}</title></rect>",
            *y + PLOT - 8.0 - height,
            (end - x).max(0.8),
            from / 1_000_000,
            count as f64 / seconds as f64
        )?;
    }
    *y += PLOT;
    Ok(())
}

fn draw_axis(body: &mut String, scale: &Scale, y: &mut f64) -> fmt::Result {
    let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600]
        .into_iter()
        .find(|step| scale.end / 1_000_000 / step <= 20)
        .unwrap_or(7200);
    for second in (0..=scale.end / 1_000_000).step_by(step as usize) {
        let x = scale.x(second * 1_000_000);
        writeln!(
            body,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{y:.1}\" stroke=\"#1b1f24\" stroke-opacity=\".08\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\">{second} s</text>",
            *y + 12.0
        )?;
    }
    *y += 20.0;
    Ok(())
}
