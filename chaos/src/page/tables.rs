//! The page's tables.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::escape;
use crate::history::event::Visit;
use crate::history::{Allowed, History};
use crate::identifier::Door;
use crate::oracle::verdict::{Promise, Verdict};
use crate::statistics::{Durations, milliseconds};

pub(super) fn promises(page: &mut String, history: &History, verdict: &Verdict) -> fmt::Result {
    page.push_str("<table><tr><th>promise<th class=\"n\">violations</tr>\n");
    for promise in Promise::ALL {
        let count = verdict.violations.iter().filter(|violation| violation.promise == promise).count();
        let class = if count == 0 { "held" } else { "broken" };
        writeln!(page, "<tr><td>{promise}<td class=\"n {class}\">{count}</tr>")?;
    }
    for bar in &history.run.bars {
        let class = if bar.held { "held" } else { "broken" };
        let (what, measured) = (escape(&bar.what), escape(&bar.measured));
        writeln!(page, "<tr><td>{what}<td class=\"n {class}\">{measured}</tr>")?;
    }
    page.push_str("</table>\n");
    writeln!(
        page,
        "<p>{} sessions in {} visits and {} messages over WebSockets; {} sessions moved, each for a reason; {} \
         requests whose outcome their client could not learn; {} answers by an older epoch from nodes that were \
         cut off and may give them.</p>",
        verdict.sessions,
        history.visits.len(),
        history.echoes.len(),
        verdict.moved.len(),
        verdict.unknown,
        verdict.stale
    )
}

pub(super) fn faults(page: &mut String, history: &History, verdict: &Verdict) -> fmt::Result {
    page.push_str(
        "<p>A client asks one node after the other, each once. It may see an error on all of them only in these \
         windows; an error at any other time is a violation.</p>\n<table><tr><th>fault<th class=\"n\">times\
         <th>known sessions may fail<th class=\"n\">did<th>first requests may fail<th class=\"n\">did\
         <th class=\"n\">last error after the fault began</tr>\n",
    );
    for window in &history.run.windows {
        let felt = verdict.felt.get(&window.fault).cloned().unwrap_or_default();
        let longest =
            if felt.longest == 0 { String::new() } else { format!("{:.1} s", felt.longest as f64 / 1e6) };
        writeln!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td>{}<td class=\"n\">{}<td>{}<td class=\"n\">{}<td class=\"n\">{longest}</tr>",
            escape(&window.fault),
            felt.times,
            allowed(window.known),
            felt.known,
            allowed(window.fresh),
            felt.fresh,
        )?;
    }
    page.push_str("</table>\n");
    Ok(())
}

fn allowed(allowed: Allowed) -> String {
    match allowed {
        Allowed::Never => "never".to_owned(),
        Allowed::Around(milliseconds) => {
            format!("for {milliseconds} ms after it began, and after it was healed")
        }
        Allowed::Throughout(milliseconds) => {
            format!("until {milliseconds} ms after the nodes are ready again")
        }
    }
}

#[derive(Default)]
struct OfDoor {
    visits: usize,
    errors: usize,
    retried: usize,
    took: Durations,
}

pub(super) fn doors(page: &mut String, history: &History) -> fmt::Result {
    let mut doors: BTreeMap<Door, OfDoor> = BTreeMap::new();
    for visit in &history.visits {
        let of_door = doors.entry(visit.door).or_default();
        of_door.visits += 1;
        of_door.errors += usize::from(!visit.is_served());
        of_door.retried += usize::from(visit.is_served() && visit.attempts.len() > 1);
        if visit.is_served() {
            of_door.took.add(took(visit));
        }
    }
    page.push_str(
        "<table><tr><th>recognised by<th class=\"n\">visits<th class=\"n\">errors<th class=\"n\">served by a second \
         node<th class=\"n\">median<th class=\"n\">99 %<th class=\"n\">worst</tr>\n",
    );
    for (door, of_door) in doors {
        writeln!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"n\">{}</tr>",
            door.name(),
            of_door.visits,
            of_door.errors,
            of_door.retried,
            milliseconds(of_door.took.median()),
            milliseconds(of_door.took.quantile(0.99)),
            milliseconds(of_door.took.worst()),
        )?;
    }
    page.push_str("</table>\n");
    Ok(())
}

fn took(visit: &Visit) -> Duration {
    Duration::from_micros(visit.ended().saturating_sub(visit.began()))
}
