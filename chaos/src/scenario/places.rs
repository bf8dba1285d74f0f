//! Where sessions are, as the nodes' replicas list them. Pure.

use std::collections::BTreeSet;

use stickler_proto::admin::Session;

use crate::oracle::ledger::name_of;
use crate::rig::admin::Listed;

/// The backend, the epoch, and the log index from which on nodes may route by it: that of the last move.
fn place(session: &Session) -> (&str, u64, u64) {
    (&session.backend_name, session.epoch, session.usable_from)
}

/// Sessions that some of these nodes have at another place than others, or by another epoch, or since another log
/// index, or not at all.
pub(super) fn apart(lists: &[Listed]) -> Vec<String> {
    let keys: BTreeSet<&String> = lists.iter().flat_map(Listed::keys).collect();
    let of_key = |key: &String| -> Option<String> {
        let places: Vec<_> = lists.iter().map(|listed| listed.get(key).map(place)).collect();
        let differ = places.windows(2).any(|two| two[0] != two[1]);
        differ.then(|| format!("session {key} is at {places:?} on the nodes"))
    };
    keys.into_iter().filter_map(of_key).collect()
}

/// Sessions that are not where they were before, or not by the same epoch.
pub(super) fn moved<'a>(before: &'a Listed, now: &Listed) -> BTreeSet<&'a str> {
    let stayed = |key: &str, session: &Session| {
        let there = now.get(key).map(|now| (&now.backend_name, now.epoch));
        there == Some((&session.backend_name, session.epoch))
    };
    before.iter().filter(|(key, session)| !stayed(key, session)).map(|(key, _)| key.as_str()).collect()
}

/// Sessions on the backend of this name.
pub(super) fn on<'a>(listed: &'a Listed, backend: &str) -> BTreeSet<&'a str> {
    let there = listed.iter().filter(|(_, session)| name_of(&session.backend_name) == backend);
    there.map(|(key, _)| key.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(places: [(&str, u64, u64); 2]) -> Listed {
        let session = |(number, (backend, epoch, usable_from)): (usize, (&str, u64, u64))| {
            let backend_name = format!("web/{backend}");
            let session = Session { backend_name, epoch, usable_from, ..Session::default() };
            (format!("key-{number}"), session)
        };
        places.into_iter().enumerate().map(session).collect()
    }

    #[test]
    fn nodes_are_apart_when_backend_epoch_index_or_presence_differ() {
        let one = listed([("web-1", 1, 0), ("web-2", 2, 0)]);
        assert_eq!(apart(&[one.clone(), one.clone(), one.clone()]), Vec::<String>::new());
        for other in [("web-3", 2, 0), ("web-2", 3, 0), ("web-2", 2, 9)] {
            let other = listed([("web-1", 1, 0), other]);
            assert_eq!(apart(&[one.clone(), one.clone(), other]).len(), 1);
        }
        assert_eq!(apart(&[one, Listed::new()]).len(), 2);
    }

    #[test]
    fn what_has_another_epoch_has_moved() {
        let before = listed([("web-1", 1, 0), ("web-2", 2, 0)]);
        let now = listed([("web-1", 3, 7), ("web-2", 2, 0)]);
        assert_eq!(moved(&before, &now), BTreeSet::from(["key-0"]));
        assert_eq!(moved(&before, &Listed::new()).len(), 2);
        assert_eq!(on(&now, "web-1"), BTreeSet::from(["key-0"]));
    }
}
