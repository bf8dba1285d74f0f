//! I4 and I9: what clients were told is in every replica in the end, and the replicas are alike.

use std::collections::{BTreeMap, HashMap};

use super::circumstances::Circumstances;
use super::observation::Observation;
use super::span::Span;
use super::verdict::{Promise, Violation};
use crate::history::History;
use crate::history::event::Listed;

type Lists<'a> = BTreeMap<u64, HashMap<&'a str, &'a Listed>>;

/// Whether the replicas hold every session's newest acknowledged binding, or a later one for a reason; whether
/// they hold the same; and whether two of one applied index ever had another hash.
pub(super) fn check(
    history: &History,
    sessions: &BTreeMap<&str, Vec<Observation<'_>>>,
    circumstances: &Circumstances,
) -> Vec<Violation> {
    let mut lists = Lists::new();
    let mut at = 0;
    for replica in &history.replicas {
        let list = lists.entry(replica.node).or_default();
        list.extend(replica.sessions.iter().map(|listed| (listed.key.as_str(), listed)));
        at = at.max(replica.at);
    }
    let mut violations = hashes(history);
    for observations in sessions.values() {
        let newest = observations.iter().filter(|observation| observation.key.is_some());
        let Some(newest) = newest.max_by_key(|observation| (observation.epoch, observation.span.from)) else {
            continue;
        };
        for (node, list) in &lists {
            violations.extend(missing(newest, *node, list, at, circumstances));
        }
    }
    violations.extend(differences(&lists, at));
    violations
}

fn missing(
    newest: &Observation<'_>,
    node: u64,
    list: &HashMap<&str, &Listed>,
    at: u64,
    circumstances: &Circumstances,
) -> Option<Violation> {
    let key = newest.key?;
    let span = Span { from: newest.span.from, until: at };
    if circumstances.may_be_ended(key, newest.epoch, newest.backend, span) {
        return None;
    }
    let found = match list.get(key) {
        // What an epoch's backend is, is asked for all of them together.
        Some(listed) if listed.epoch == newest.epoch => return None,
        Some(listed) if listed.epoch > newest.epoch => {
            if circumstances.may_leave(newest.backend, span)
                || circumstances.may_be_moved(key, newest.epoch, at)
            {
                return None;
            }
            format!("it at {} by epoch {} ({})", listed.backend, listed.epoch, listed.cause)
        }
        Some(listed) => format!("it at {} by the older epoch {}", listed.backend, listed.epoch),
        None => "nothing".to_owned(),
    };
    let what = format!(
        "acknowledged at {} by epoch {}, but node {node}'s replica has {found}",
        newest.backend, newest.epoch
    );
    Some(Violation { promise: Promise::Durability, session: newest.session.to_owned(), at, what })
}

fn differences(lists: &Lists<'_>, at: u64) -> Vec<Violation> {
    let mut lists = lists.iter();
    let Some((first, reference)) = lists.next() else { return Vec::new() };
    let mut violations = Vec::new();
    for (node, list) in lists {
        let keys = reference.keys().chain(list.keys().filter(|key| !reference.contains_key(**key)));
        for key in keys {
            let place = |list: &HashMap<&str, &Listed>| {
                list.get(key).map(|listed| (listed.epoch, listed.backend.clone()))
            };
            let (one, other) = (place(reference), place(list));
            if one != other {
                let what = format!("node {first} has {one:?}, node {node} has {other:?}");
                let session = (*key).to_owned();
                violations.push(Violation { promise: Promise::SameState, session, at, what });
            }
        }
    }
    violations
}

fn hashes(history: &History) -> Vec<Violation> {
    let mut seen: HashMap<u64, (u64, &str)> = HashMap::new();
    let mut violations = Vec::new();
    for standing in &history.standings {
        // A node whose part in consensus has ended says nothing of its state.
        let Some(says) = standing.says.as_ref().filter(|says| says.role != "stopped") else { continue };
        let (node, hash) = *seen.entry(says.applied).or_insert((standing.node, &says.hash));
        if hash != says.hash {
            let what = format!(
                "at index {} node {node} has hash {hash}, node {} has {}",
                says.applied, standing.node, says.hash
            );
            let at = standing.at;
            violations.push(Violation { promise: Promise::SameState, session: String::new(), at, what });
        }
    }
    violations
}
