use std::time::Duration;

use super::cluster::all;
use super::method::{check_fit_header, check_methods};
use super::{DAY, HOUR, SECOND, Unique, duration_within, failover, name, no_longer_than, or_default};
use crate::affinity::learn::learns;
use crate::document::cluster::{Affinity, PathPattern, WhenFull};
use crate::document::defaults;
use crate::document::report::{Complaint, Report, quoted};
use crate::document::written::{self, Written};
use crate::routes::matching_form;

/// Checks all affinities. `None` after a problem was added.
pub(super) fn check(report: &Report<'_>, written: &[written::affinity::Affinity]) -> Option<Vec<Affinity>> {
    let mut names = Unique::new("an affinity with the name");
    all(written.iter().map(|affinity| {
        names.add_name(report, &affinity.name);
        check_affinity(report, affinity)
    }))
}

fn check_affinity(report: &Report<'_>, written: &written::affinity::Affinity) -> Option<Affinity> {
    // Browsers keep no cookie longer. Below two seconds the way of a report and of an expiry through the
    // cluster would be more than "never early, at most a fifth late" leaves.
    const LONGEST: Duration = DAY.saturating_mul(400);

    let name = name(report, &written.name);
    let methods = check_methods(report, &written.by);
    duration_within(report, "idle_timeout", &written.idle_timeout, SECOND * 2..=LONGEST);
    duration_within(report, "max_age", &written.max_age, SECOND..=LONGEST);
    duration_within(report, "alias_grace", &written.alias_grace, Duration::ZERO..=HOUR);
    let idle_timeout = or_default(&written.idle_timeout, defaults::IDLE_TIMEOUT);
    let max_age = written.max_age.as_ref().map(|age| *age.get_ref());
    if let Some(max_age) = max_age {
        let idle = ("idle_timeout", &written.idle_timeout, idle_timeout);
        no_longer_than(report, idle, ("max_age", &written.max_age, max_age));
    }
    if let Some(none) = written.max_sessions.as_ref().filter(|most| *most.get_ref() == 0) {
        let complaint = Complaint::new("`max_sessions` can't be 0");
        report.add(&none.span(), complaint.help("leave it out for no cap of this affinity"));
    }
    let affinity = Affinity {
        name: name?,
        methods: methods?,
        otherwise: or_default(&written.otherwise, defaults::OTHERWISE),
        idle_timeout,
        max_age,
        max_sessions: written.max_sessions.as_ref().map(|most| *most.get_ref()),
        when_down: failover::check_when_down(report, written),
        when_isolated: or_default(&written.when_isolated, defaults::WHEN_ISOLATED),
        alias_grace: or_default(&written.alias_grace, defaults::ALIAS_GRACE),
        mode: or_default(&written.mode, defaults::MODE),
        scope: or_default(&written.scope, defaults::SCOPE),
        ignore: check_ignored(report, &written.ignore),
        end_header: check_fit_header(report, &written.end_header),
        when_full: or_default(&written.when_full, defaults::WHEN_FULL),
        new_sessions_per_source: written.new_sessions_per_source.as_ref().map(|rate| *rate.get_ref()),
        when_back: or_default(&written.when_back, defaults::WHEN_BACK),
        rebind_rate: written.rebind_rate.as_ref().map(|rate| *rate.get_ref()),
        unavailable_page: failover::check_page(report, &written.unavailable_page),
    };
    failover::check_moves(report, written, &affinity.when_down);
    check_hash(report, &written.when_full, &affinity);
    Some(affinity)
}

/// Adds a problem for an affinity that falls back to a hash while its identifiers come from a backend.
fn check_hash(report: &Report<'_>, when_full: &Written<WhenFull>, affinity: &Affinity) {
    if let Some(hash) =
        when_full.as_ref().filter(|full| *full.get_ref() == WhenFull::Hash && learns(affinity))
    {
        let complaint =
            Complaint::new("`when_full` can't be \"hash\" where backends give out the identifiers");
        let help = "a hash seldom names the backend that gave one out: write \"refuse\" or \"evict-idlest\"";
        report.add(&hash.span(), complaint.help(help));
    }
}

/// The most patterns that an affinity ignores: every request is compared with each.
const MOST_IGNORED: usize = 64;

/// The paths that need no session. Those that can't be read have been added.
fn check_ignored(report: &Report<'_>, written: &Written<Vec<String>>) -> Vec<PathPattern> {
    let Some(written) = written else { return Vec::new() };
    if written.get_ref().len() > MOST_IGNORED {
        let complaint = Complaint::new(format!("`ignore` has more than {MOST_IGNORED} patterns"));
        report.add(&written.span(), complaint.help("name a common beginning of paths instead"));
    }
    let read = |pattern: &String| {
        let read = path_pattern(pattern);
        if read.is_none() {
            let complaint = Complaint::new(format!("`ignore` can't have the pattern {}", quoted(pattern)));
            let help = "write a path such as \"/static\", or how paths end, such as \"*.css\"";
            report.add(&written.span(), complaint.help(help));
        }
        read
    };
    written.get_ref().iter().filter_map(read).collect()
}

fn path_pattern(pattern: &str) -> Option<PathPattern> {
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?#;".contains(&byte))
    };
    if let Some(suffix) = pattern.strip_prefix('*') {
        return (plain(suffix) && !suffix.contains('/'))
            .then(|| PathPattern::Suffix(suffix.to_ascii_lowercase()));
    }
    let prefix = pattern.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(pattern);
    (plain(prefix) && prefix.starts_with('/') && matching_form(prefix) == prefix)
        .then(|| PathPattern::Prefix(prefix.to_owned()))
}
