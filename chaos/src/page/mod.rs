//! A saved history as one page for people: nothing of it is loaded from elsewhere.

mod stories;
mod tables;
mod timeline;

use std::fmt::{self, Write as _};

use crate::history::History;
use crate::oracle::verdict::{Verdict, judge};
use crate::report::Report;

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1240px;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2rem}\
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.2rem .7rem;border-bottom:1px solid #d8dde3;\
text-align:left;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.held{color:#116329}.broken{color:#b3261e;font-weight:600}.quiet{color:#59636e}\
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:#59636e}\
pre{background:#f5f7f9;padding:.7rem;overflow-x:auto;font-size:12px}";

/// The page about a history.
pub(crate) fn page(history: &History) -> String {
    let verdict = judge(history);
    let mut page = String::new();
    // writing to a String can't fail
    let _ = write_page(&mut page, history, &verdict);
    page
}

fn write_page(page: &mut String, history: &History, verdict: &Verdict) -> fmt::Result {
    let run = &history.run;
    let held = Report::of(history, verdict).held();
    let (class, word) = if held { ("held", "everything held") } else { ("broken", "FAILED") };
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}, seed {1}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{0}: <span class=\"{class}\">{word}</span></h1>\n\
         <p class=\"quiet\">{2}, seed {1}, {3} s of faults, {4} nodes over {5}, {6} backends. Judged again from \
         the history when this page was made.</p>\n",
        escape(&run.scenario),
        run.seed,
        escape(&run.version),
        run.duration,
        run.nodes.len(),
        escape(&run.network),
        run.backends.len(),
    )?;
    page.push_str("<h2>What must hold</h2>\n");
    tables::promises(page, history, verdict)?;
    page.push_str("<h2>What happened when</h2>\n");
    timeline::draw(page, history, verdict)?;
    page.push_str("<h2>Faults, and when clients may see an error</h2>\n");
    tables::faults(page, history, verdict)?;
    page.push_str("<h2>What clients did</h2>\n");
    tables::doors(page, history)?;
    page.push_str("<h2>Violations</h2>\n");
    stories::tell(page, history, verdict)?;
    page.push_str("</body></html>\n");
    Ok(())
}

/// A text as it can stand in the page.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::RunFile;
    use crate::history::event::{Attempt, Event, Outcome, Visit};
    use crate::identifier::Door;

    fn history(backends: &[&str]) -> History {
        let run = RunFile {
            scenario: "mixed".to_owned(),
            version: "stickler <1>".to_owned(),
            nodes: vec![1],
            backends: vec!["web-1".to_owned()],
            ..RunFile::default()
        };
        let mut history = History { run, ..History::default() };
        for (at, backend) in (1..).zip(backends) {
            let outcome = Outcome::Served {
                backend: (*backend).to_owned(),
                epoch: Some(5),
                key: Some("k".to_owned()),
                revealed: None,
            };
            let attempts =
                vec![Attempt { node: 1, began: at * 1_000_000, ended: at * 1_000_000 + 500, outcome }];
            let (session, door) = ("cart-7".to_owned(), Door::Own);
            history.add(Event::Visit(Visit { client: 1, door, session, fresh: false, attempts }));
        }
        history
    }

    #[test]
    fn a_page_shows_the_verdict_and_needs_nothing_from_elsewhere() {
        let page = page(&history(&["web-1", "web-1"]));
        assert!(page.contains("everything held") && page.contains("<svg"));
        assert!(page.contains("stickler &lt;1&gt;"), "what stands in the history is no markup");
        for outside in ["http://", "https://", "<script", "src=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_violation_is_shown_with_the_history_of_its_session() {
        let page = page(&history(&["web-1", "web-2"]));
        assert!(page.contains("FAILED") && page.contains("epoch 5 is at web-1 and at web-2"));
        let story = page.split("<pre>").nth(1).unwrap();
        assert_eq!((story.matches("web-1").count(), story.matches("web-2").count()), (1, 1));
    }
}
