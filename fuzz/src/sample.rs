//! A cluster with something in it, for targets that need a state.

use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::ids::{
    AffinityId, BackendId, ClusterId, Incarnation, KeyHash, LogIndex, NodeId, PoolId, Revision,
};
use stickler_core::secrets::KeptSecret;
use stickler_core::state::{
    ApplyDocument, Batch, Bind, Command, Finding, Found, Origin, Report, SessionKey, Stamp, State,
};
use stickler_core::time::ClusterTime;

const DOCUMENT: &str = include_str!("sample.toml");

/// The document of the sample.
///
/// # Panics
/// Never, as long as the product takes it.
pub fn document() -> ClusterDocument {
    check_cluster("sample.toml", DOCUMENT).expect("it is a document")
}

/// The entries that lead to [`state`].
pub fn entries() -> Vec<Batch> {
    let (hash_key, sealing_secret) = (KeptSecret::clear(&[1; 16]), KeptSecret::clear(&[2; 32]));
    let birth = Found { cluster: ClusterId(7), hash_key, sealing_secret };
    let first = ApplyDocument { document: document(), expected: Revision(0), removal: Removal::Now };
    let found = vec![Command::Found(birth), Command::ApplyDocument(Box::new(first))];
    // Ids are given out in the order of the document: the pool, the affinity, the two backends.
    let reports = (1..=2).flat_map(|node| [(node, 3), (node, 4)]).map(|(node, backend)| {
        let (node, backend) = (NodeId(node), BackendId(backend));
        Command::Report(Report { node, incarnation: Incarnation(1), sequence: 1, backend, finding: Finding::UP })
    });
    let binds = (0..4).map(|key| {
        Command::Bind(Bind {
            session: SessionKey { affinity: AffinityId(2), key: KeyHash(key) },
            origin: Origin::Place { pool: PoolId(1), candidate: None },
            seen: LogIndex(2),
            deadline: ClusterTime(60_000),
        })
    });
    let batch = |time, commands| Batch {
        stamp: Stamp { time: ClusterTime(time), stable: LogIndex(1), wall: 0 },
        commands,
    };
    vec![batch(10, found), batch(20, reports.collect()), batch(30, binds.collect())]
}

/// A state with two backends that are up and four sessions.
pub fn state() -> State {
    let mut state = State::new();
    state.set_voters([NodeId(1), NodeId(2), NodeId(3)].into());
    for (index, batch) in (1..).zip(entries()) {
        state.apply(LogIndex(index), &batch);
    }
    state
}
