//! The cluster document of the bind benchmarks, and the binds under it.

use std::fmt::Write as _;
use std::time::Duration;

use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::ids::{AffinityId, BackendId, Incarnation, KeyHash, LogIndex, NodeId, PoolId};
use stickler_core::state::{Bind, Catalog, Command, Finding, Origin, Report, SessionKey};
use stickler_core::time::ClusterTime;

use crate::failure::Failure;

/// How many backends the sessions are bound to. Nobody ever connects to them.
const BACKENDS: usize = 10;

/// How far ahead of cluster time a bind's deadline lies: what the data plane gives it.
const DEADLINE: Duration = Duration::from_secs(6);

/// One pool, one affinity, and room for every session that a run can make.
pub fn text() -> String {
    let mut text = "version = 1\n\n[limits]\nmax_bindings = 100_000_000\n\n\
        [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\n[[pool]]\nname = \"shop\"\n\n"
        .to_owned();
    for number in 1..=BACKENDS {
        // writing to a String can't fail
        let _ = write!(
            text,
            "[[pool.backend]]\nname = \"web-{number}\"\naddress = \"127.0.0.1:{}\"\n\n",
            8000 + number
        );
    }
    text.push_str(
        "[[affinity]]\nname = \"cart\"\n\n[[affinity.by]]\nmethod = \"header\"\nname = \"X-Session\"\n\n\
         [[route]]\nname = \"shop\"\npool = \"shop\"\naffinity = \"cart\"\n",
    );
    text
}

/// Checks a document's text.
///
/// # Errors
/// [`Failure::Call`] with every problem.
pub fn checked(text: &str) -> Result<ClusterDocument, Failure> {
    check_cluster("bench.toml", text).map_err(Failure::call("the cluster document"))
}

/// What a bind names: the ids that the cluster gave to what is in the document.
#[derive(Clone, Debug)]
pub struct Places {
    affinity: AffinityId,
    pool: PoolId,
    backends: Vec<BackendId>,
}

impl Places {
    /// Of a catalog with such a document; `None` before it has one.
    pub fn of(catalog: &Catalog) -> Option<Self> {
        let backends: Vec<BackendId> = catalog.backends.keys().copied().collect();
        let (affinity, pool) = (*catalog.affinities.first()?, *catalog.pools.first()?);
        (!backends.is_empty()).then_some(Self { affinity, pool, backends })
    }

    /// The bind by which the data plane would place the session of this key, its choice of a backend included.
    pub fn bind(&self, key: u128, seen: LogIndex, now: ClusterTime) -> Bind {
        let chosen = usize::try_from(key % self.backends.len() as u128).unwrap_or(0);
        Bind {
            session: SessionKey { affinity: self.affinity, key: KeyHash(key) },
            origin: Origin::Place { pool: self.pool, candidate: self.backends.get(chosen).copied() },
            seen,
            deadline: now + DEADLINE,
        }
    }
}

/// What makes every backend of a catalog count as up: a report of each of these voters.
pub fn reports(catalog: &Catalog, voters: &[NodeId]) -> Vec<Command> {
    let of_backend = |backend: BackendId| {
        voters.iter().map(move |node| {
            let report = Report {
                node: *node,
                incarnation: Incarnation(1),
                sequence: 1,
                backend,
                finding: Finding::UP,
            };
            Command::Report(report)
        })
    };
    catalog.backends.keys().copied().flat_map(of_backend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_one_that_a_cluster_accepts() {
        let document = checked(&text()).unwrap();
        assert_eq!(document.pools[0].backends.len(), BACKENDS);
        assert_eq!(document.limits.max_bindings, 100_000_000);
    }
}
