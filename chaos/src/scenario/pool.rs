//! A pool as nodes list it: which backends, where, and which of them leave. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use stickler_proto::admin::Backend;

use crate::report::Report;
use crate::scenario::verdicts::{Look, Sight, one_index};

/// The pool of the scenario's documents.
pub(super) const POOL: &str = "web";

/// How often a node is asked for its list.
const LOOK: Duration = Duration::from_millis(50);

/// A look at the pool, on nodes that may be killed, for those who wait no longer than this.
pub(super) fn sight(patience: Duration) -> Sight {
    Sight { of: POOL.to_owned(), says: listed, pause: LOOK, patience, nodes_die: true }
}

/// What a node says that lists these backends.
fn listed(pool: &str, backends: &[Backend]) -> String {
    let of_pool = backends.iter().filter(|backend| backend.pool == pool);
    written(of_pool.map(|backend| (&*backend.name, &*backend.address, backend.leave_milliseconds.is_some())))
}

/// What a node says whose pool has these backends, and this one, which leaves.
pub(super) fn expected(places: &[(String, SocketAddr)], leaves: Option<&(String, SocketAddr)>) -> String {
    let all: Vec<_> =
        places.iter().map(|place| (place, false)).chain(leaves.map(|place| (place, true))).collect();
    let all: Vec<_> = all.into_iter().map(|((name, at), leaves)| (name, at.to_string(), leaves)).collect();
    written(all.iter().map(|(name, at, leaves)| (name.as_str(), at.as_str(), *leaves)))
}

fn written<'a>(backends: impl Iterator<Item = (&'a str, &'a str, bool)>) -> String {
    let of_one = |(name, at, leaves)| format!("{name} at {at}{}", if leaves { ", which leaves" } else { "" });
    let mut backends: Vec<String> = backends.map(of_one).collect();
    backends.sort_unstable();
    backends.join("; ")
}

/// Each of these changes, by what nodes say after it, can have been taken at one log index by all nodes, and at that of
/// its entry where that is known.
pub(super) fn judge_changes(
    label: &str,
    looks: &[Look],
    changes: &[(String, Option<u64>)],
    report: &mut Report,
) {
    let wrong = |(says, index): &(String, Option<u64>)| match one_index(looks, says) {
        Ok((above, up_to)) if index.is_none_or(|index| (above + 1..=up_to).contains(&index)) => None,
        Ok(between) => Some(format!("entry {index:?} was taken between {between:?}: {says}")),
        Err(each) => Some(format!("taken at several indexes, {each}: {says}")),
    };
    let apart: Vec<String> = changes.iter().filter_map(wrong).collect();
    let what = format!(
        "{label}: changes of the pool that nodes took at different log indexes, of {}",
        changes.len()
    );
    report.bar(what, apart.len(), "0", apart.is_empty() && !changes.is_empty());
    report.faults(apart.iter().map(|apart| format!("{label}: {apart}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_say_what_is_expected_when_they_list_it_in_any_order() {
        let backend = |name: &str, port: u16, leave_milliseconds: Option<u64>| Backend {
            pool: POOL.to_owned(),
            name: name.to_owned(),
            address: format!("127.0.0.1:{port}"),
            leave_milliseconds,
            ..Backend::default()
        };
        let place = |name: &str, port: u16| (name.to_owned(), SocketAddr::from(([127, 0, 0, 1], port)));
        let other = Backend { pool: "other".to_owned(), ..backend("x", 1, None) };
        let backends = [backend("b", 2, None), other, backend("a", 9, Some(5)), backend("a", 1, None)];
        let places = [place("a", 1), place("b", 2)];
        assert_eq!(listed(POOL, &backends), expected(&places, Some(&place("a", 9))));
        assert_ne!(listed(POOL, &backends), expected(&places, None));
        assert_ne!(listed(POOL, &backends[..3]), expected(&places, None));
    }
}
