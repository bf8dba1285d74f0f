//! From the written to the checked form: defaults, ranges, names, references.

mod affinity;
mod caps;
mod cluster;
mod cookie;
mod discovery;
mod ejection;
mod failover;
mod health_check;
mod listener;
mod method;
mod node;
mod pool;
mod route;
mod split;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::cluster::ClusterDocument;
use super::node::NodeFile;
use super::problem::Problems;
use super::reader::read_document;
use super::report::{Complaint, Place, Report, quoted};
use super::values::show_duration;
use super::written::Written;
use super::written::cluster::WrittenCluster;
use super::written::node::WrittenNode;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads and checks a cluster document. `file_name` is for messages; nothing is opened.
///
/// # Errors
/// Every problem of the text.
pub fn check_cluster(file_name: &str, text: &str) -> Result<ClusterDocument, Problems> {
    read_document(file_name, text, "the cluster document", |root| {
        let report = root.report;
        cluster::check(report, &WrittenCluster::read(root), text)
    })
}

/// Reads and checks a node file. `file_name` is for messages; nothing is opened.
///
/// # Errors
/// Every problem of the text.
pub fn check_node(file_name: &str, text: &str) -> Result<NodeFile, Problems> {
    read_document(file_name, text, "the node file", |root| {
        let report = root.report;
        node::check(report, &WrittenNode::read(root))
    })
}

/// What was written, or else the default.
fn or_default<T: Clone>(written: &Written<T>, default: T) -> T {
    written.as_ref().map_or(default, |value| value.get_ref().clone())
}

/// Adds a problem when what was written lies outside of `range`.
fn within<T: PartialOrd>(
    report: &Report<'_>,
    key: &str,
    written: &Written<T>,
    range: RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) {
    if let Some(value) = written.as_ref().filter(|value| !range.contains(value.get_ref())) {
        let complaint = Complaint::new(format!("`{key}` can't be {}", show(value.get_ref())));
        let help = format!("write a value from {} to {}", show(range.start()), show(range.end()));
        report.add(&value.span(), complaint.help(help));
    }
}

/// Like [`within`], for durations.
fn duration_within(
    report: &Report<'_>,
    key: &str,
    written: &Written<Duration>,
    range: RangeInclusive<Duration>,
) {
    within(report, key, written, range, show_duration);
}

/// Like [`within`], for a number that the checked form keeps in a smaller type; `default` when it was left
/// out.
fn number<T>(
    report: &Report<'_>,
    key: &str,
    written: &Written<u64>,
    range: RangeInclusive<T>,
    default: T,
) -> T
where
    T: Copy + Into<u64> + TryFrom<u64>,
{
    within(report, key, written, (*range.start()).into()..=(*range.end()).into(), u64::to_string);
    written.as_ref().and_then(|value| T::try_from(*value.get_ref()).ok()).unwrap_or(default)
}

/// Adds a problem when a name is not one: lower-case letters, digits and dashes, so that it can stand in
/// metrics, headers and command lines as it is.
fn name(report: &Report<'_>, written: &Written<String>) -> Option<String> {
    let written = written.as_ref()?;
    let name = written.get_ref();
    if !is_name(name) {
        let complaint = Complaint::new(format!("{} can't be a name", quoted(name)));
        let likely: String = name
            .chars()
            .map(|c| if matches!(c, '_' | ' ' | '.') { '-' } else { c.to_ascii_lowercase() })
            .collect();
        report.add(
            &written.span(),
            complaint.help(if is_name(&likely) {
                format!("write \"{likely}\"")
            } else {
                "use 1 to 63 of a-z, 0-9 and \"-\", and no \"-\" in front".to_owned()
            }),
        );
    }
    Some(name.clone())
}

fn is_name(name: &str) -> bool {
    const LONGEST: usize = 63;
    name.len() <= LONGEST
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Finds values that are there twice.
struct Unique<K> {
    /// What is counted, as messages call it.
    what: &'static str,
    seen: BTreeMap<K, Place>,
}

impl<K: Ord> Unique<K> {
    fn new(what: &'static str) -> Self {
        Self { what, seen: BTreeMap::new() }
    }

    /// Adds a problem when `key` was there before. `shown` is how a message names it.
    fn add(&mut self, report: &Report<'_>, place: &Place, key: K, shown: &str) {
        if let Some(first) = self.seen.get(&key) {
            let line = report.line(first);
            let complaint = Complaint::new(format!("{} {shown} is already on line {line}", self.what));
            report.add(place, complaint.help("change or remove one of the two"));
        } else {
            self.seen.insert(key, place.clone());
        }
    }
}

impl Unique<String> {
    fn add_name(&mut self, report: &Report<'_>, name: &Written<String>) {
        if let Some(name) = name {
            self.add(report, &name.span(), name.get_ref().clone(), &quoted(name.get_ref()));
        }
    }
}

/// Adds a problem when `shorter` is longer than `longer`, at the one that was written. Each has its key,
/// and the value that counts.
fn no_longer_than(
    report: &Report<'_>,
    shorter: (&str, &Written<Duration>, Duration),
    longer: (&str, &Written<Duration>, Duration),
) {
    let (short_key, short_written, short) = shorter;
    let (long_key, long_written, long) = longer;
    if short <= long {
        return;
    }
    if let Some(place) = short_written.as_ref().or(long_written.as_ref()).map(Spanned::span) {
        let [short, long] = [short, long].map(|duration| show_duration(&duration));
        let complaint = Complaint::new(format!("`{short_key}` is {short}, longer than `{long_key}`, {long}"));
        report.add(&place, complaint.help(format!("write {short_key} = \"{long}\" or shorter")));
    }
}

/// Whether these are the characters of a token (RFC 9110, section 5.6.2), as header and cookie names are.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
