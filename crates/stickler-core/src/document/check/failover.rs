use toml::Spanned;

use super::{HOUR, SECOND, duration_within, or_default};
use crate::document::cluster::{AfterWait, WhenDown};
use crate::document::defaults;
use crate::document::report::{Complaint, Place, Report, quoted};
use crate::document::written::Written;
use crate::document::written::affinity::{self, Affinity};
use crate::redirect;

/// The largest page, in bytes: it stands in the replicated state.
const LARGEST_PAGE: usize = 64 * 1024;

/// What happens when a session's backend is gone, from the keys that say so together.
pub(super) fn check_when_down(report: &Report<'_>, written: &Affinity) -> WhenDown {
    duration_within(report, "wait_timeout", &written.wait_timeout, SECOND..=HOUR);
    let said = written.when_down.as_ref().map(|said| *said.get_ref());
    let only = |key: &str, value: &str, of: affinity::WhenDown, place: Option<Place>| {
        if let Some(place) = place.filter(|_| said != Some(of)) {
            let complaint = Complaint::new(format!("`{key}` goes with `when_down` = \"{value}\" alone"));
            report.add(&place, complaint.help(format!("write when_down = \"{value}\", or leave it out")));
        }
    };
    let place_of = |written: &Written<_>| written.as_ref().map(Spanned::span);
    only("wait_timeout", "wait", affinity::WhenDown::Wait, place_of(&written.wait_timeout));
    only("wait_then", "wait", affinity::WhenDown::Wait, written.wait_then.as_ref().map(Spanned::span));
    let redirect_to = written.redirect_to.as_ref().map(Spanned::span);
    only("redirect_to", "redirect", affinity::WhenDown::Redirect, redirect_to);
    match (said, &written.when_down) {
        (None, _) => defaults::WHEN_DOWN,
        (Some(affinity::WhenDown::Rebind), _) => WhenDown::Rebind,
        (Some(affinity::WhenDown::Reject), _) => WhenDown::Reject,
        (Some(affinity::WhenDown::Wait), _) => WhenDown::Wait {
            timeout: or_default(&written.wait_timeout, defaults::WAIT_TIMEOUT),
            then: or_default(&written.wait_then, defaults::WAIT_THEN),
        },
        (Some(affinity::WhenDown::Redirect), when_down) => {
            WhenDown::Redirect(check_redirect(report, when_down, &written.redirect_to))
        }
    }
}

fn check_redirect(
    report: &Report<'_>,
    when_down: &Written<affinity::WhenDown>,
    written: &Written<String>,
) -> String {
    const HELP: &str = "write an address such as \"https://sorry.example/?from={path}\"";
    let Some(written) = written else {
        if let Some(when_down) = when_down {
            let complaint = Complaint::new("`when_down` is \"redirect\", and `redirect_to` is missing");
            report.add(&when_down.span(), complaint.help(HELP));
        }
        return String::new();
    };
    if let Err(problem) = redirect::check(written.get_ref()) {
        let complaint = Complaint::new(format!("`redirect_to` {problem}: {}", quoted(written.get_ref())));
        report.add(&written.span(), complaint.help(HELP));
    }
    written.get_ref().clone()
}

/// Whether what is said about moves makes sense where sessions do move.
pub(super) fn check_moves(report: &Report<'_>, written: &Affinity, when_down: &WhenDown) {
    let moves = match when_down {
        WhenDown::Rebind | WhenDown::Wait { then: AfterWait::Rebind, .. } => true,
        WhenDown::Reject | WhenDown::Redirect(_) | WhenDown::Wait { then: AfterWait::Reject, .. } => false,
    };
    if let Some(rate) = written.rebind_rate.as_ref().filter(|_| !moves) {
        let complaint = Complaint::new("`rebind_rate` is about sessions that move, and these don't");
        report.add(&rate.span(), complaint.help("write when_down = \"rebind\", or leave it out"));
    }
    if let Some(back) = written.when_back.as_ref().filter(|_| !moves) {
        let complaint = Complaint::new("`when_back` is about sessions that have moved, and these don't");
        report.add(&back.span(), complaint.help("write when_down = \"rebind\", or leave it out"));
    }
}

/// The page that clients see while their session's backend is away.
pub(super) fn check_page(report: &Report<'_>, written: &Written<String>) -> Option<String> {
    let written = written.as_ref()?;
    let size = written.get_ref().len();
    if size == 0 || size > LARGEST_PAGE {
        let complaint = Complaint::new(format!("`unavailable_page` can't have {size} bytes"));
        report.add(&written.span(), complaint.help("write HTML of 1 byte to 64 KiB"));
    }
    Some(written.get_ref().clone())
}
