//! A node that was away routes every session right from its first request on.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use http::StatusCode;
use stickler_core::affinity::key::Identifier;
use stickler_core::ids::{BackendId, NodeId};
use stickler_core::lease::Footing;
use stickler_core::routing::Plan;
use stickler_core::state::{
    Admin, Bind, BindOutcome, Command, Located, MoveReason, Origin, Outcome, Rebind, RebindOutcome,
    SessionKey,
};
use stickler_core::time::ClusterTime;
use stickler_raft::{Cluster, Persistence};
use stickler_tests::browser::KeptConnection;
use stickler_tests::cluster::{SOON, affinity, pool, until};
use stickler_tests::documents::{self, HEADER};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

const SESSIONS: u32 = 10_000;
const MOVES: usize = 500;

/// The node that goes away.
const AWAY: NodeId = NodeId(3);

struct World {
    nodes: TestNodes,
    /// Where each session belongs, by the value of its header.
    owners: BTreeMap<String, BackendId>,
}

impl World {
    async fn start() -> Self {
        log::start();
        let nodes = TestNodes::start(3, 3, |shops| documents::text(shops, &[HEADER])).await;
        Self { nodes, owners: BTreeMap::new() }
    }

    /// A node that stayed.
    fn survivor(&self) -> Cluster {
        self.nodes.cluster(NodeId(1)).clone()
    }

    /// Binds 10,000 sessions and moves 500 of them while the node is away.
    async fn change(&mut self) {
        let cluster = self.survivor();
        let sessions: BTreeMap<String, SessionKey> = (0..SESSIONS)
            .map(|number| {
                let value = format!("client-{number}");
                let session = session(&cluster, &value);
                (value, session)
            })
            .collect();
        let bound: Vec<(String, SessionKey, BindOutcome)> = futures::stream::iter(sessions)
            .map(|(value, session)| {
                let cluster = cluster.clone();
                async move {
                    let outcome = bind(&cluster, session).await;
                    (value, session, outcome)
                }
            })
            .buffer_unordered(512)
            .collect()
            .await;
        let leaving = self.nodes.backend("web-1");
        self.nodes.set_admin("web-1", Admin::Maint).await;
        let mut moving = Vec::new();
        for (value, session, outcome) in bound {
            let BindOutcome::Bound { binding, .. } = outcome else { panic!("{outcome:?}") };
            if binding.backend == leaving && moving.len() < MOVES {
                moving.push((value, session, binding.epoch));
            } else {
                self.owners.insert(value, binding.backend);
            }
        }
        assert_eq!(moving.len(), MOVES);
        let moved: Vec<(String, BackendId)> = futures::stream::iter(moving)
            .map(|(value, session, epoch)| {
                let cluster = cluster.clone();
                async move { (value, rebind(&cluster, session, epoch).await) }
            })
            .buffer_unordered(64)
            .collect()
            .await;
        self.owners.extend(moved);
        self.nodes.set_admin("web-1", Admin::Ready).await;
    }

    /// Every session's request through the node that was away goes to its backend, or is answered 503
    /// while the node catches up; never to another one.
    async fn every_session_is_routed_right(&self) {
        let address = self.nodes.address(AWAY);
        let view = Arc::clone(&self.survivor().view());
        let name = |backend: &BackendId| view.catalog.backends[backend].name.clone();
        let wanted: Vec<(String, String)> =
            self.owners.iter().map(|(value, backend)| (value.clone(), name(backend))).collect();
        let mut tasks = Vec::new();
        for part in wanted.chunks(wanted.len() / 16 + 1) {
            let (part, survivor) = (part.to_vec(), self.survivor());
            tasks.push(tokio::spawn(async move {
                let mut connection =
                    until("the node listens", || async { KeptConnection::open(address).await.ok() }).await;
                let mut held_back = 0;
                for (value, backend) in part {
                    let reply = loop {
                        let reply = connection.get("x-session", &value).await.unwrap();
                        if reply.status == StatusCode::OK {
                            break reply;
                        }
                        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
                        held_back += 1;
                        assert!(held_back < 1000, "{reply:?}");
                    };
                    assert_eq!(reply.backend(), backend, "{value}: {:?}", known_of(&survivor, &value));
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// What a node has of a session, for messages.
fn known_of(cluster: &Cluster, value: &str) -> Option<Located> {
    cluster.view().locate(session(cluster, value))
}

fn session(cluster: &Cluster, value: &str) -> SessionKey {
    let hasher = Plan::of(&cluster.view().catalog, None).unwrap().unwrap().hasher;
    let identifier = Identifier::Header { name: "X-Session", value: value.as_bytes() };
    let affinity = affinity(cluster);
    SessionKey { affinity, key: hasher.key(affinity, &identifier).unwrap() }
}

async fn bind(cluster: &Cluster, session: SessionKey) -> BindOutcome {
    let origin = Origin::Place { pool: pool(cluster), candidate: None };
    let bind = Bind { session, origin, seen: cluster.view().applied, deadline: ClusterTime(u64::MAX) };
    match cluster.propose(Command::Bind(bind), SOON, Persistence::Retry).await.unwrap().outcome {
        Outcome::Bind(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

async fn rebind(cluster: &Cluster, session: SessionKey, epoch: stickler_core::ids::Epoch) -> BackendId {
    let rebind = Rebind { session, epoch, reason: MoveReason::BackendMaint, candidate: None };
    match cluster.propose(Command::Rebind(rebind), SOON, Persistence::Retry).await.unwrap().outcome {
        Outcome::Rebind(RebindOutcome::Moved(binding)) => binding.backend,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_that_catches_up_by_the_log_routes_right_from_its_first_request_on() {
    let mut world = World::start().await;
    world.nodes.stop(AWAY).await;
    world.change().await;
    world.nodes.restart(AWAY).await;
    world.every_session_is_routed_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_that_catches_up_by_a_snapshot_routes_right_from_its_first_request_on() {
    let mut world = World::start().await;
    world.nodes.stop(AWAY).await;
    world.change().await;
    for (_, cluster) in world.nodes.running() {
        cluster.compact(SOON).await.unwrap();
    }
    world.nodes.restart(AWAY).await;
    world.every_session_is_routed_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_routes_right_once_it_has_heard_from_a_leader() {
    let mut world = World::start().await;
    world.nodes.cut(AWAY);
    until("the node knows that it is cut off", || {
        let footing = world.nodes.cluster(AWAY).standing().footing;
        std::future::ready((footing == Footing::Isolated).then_some(()))
    })
    .await;
    world.nodes.leader_among(&[NodeId(1), NodeId(2)]).await;
    world.change().await;
    world.nodes.heal();
    until("the node has heard from a leader", || {
        let footing = world.nodes.cluster(AWAY).standing().footing;
        std::future::ready((footing != Footing::Isolated).then_some(()))
    })
    .await;
    world.every_session_is_routed_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_cut_off_goes_on_with_the_sessions_it_knows_and_says_that_it_is_isolated() {
    log::start();
    let nodes = TestNodes::start(3, 3, |shops| documents::text(shops, &[HEADER])).await;
    let leader = nodes.leader().await;
    let mut connection = KeptConnection::open(nodes.address(leader)).await.unwrap();
    let known = connection.get("x-session", "known").await.unwrap();
    nodes.cut(leader);
    until("the node knows that it is cut off", || {
        let footing = nodes.cluster(leader).standing().footing;
        std::future::ready((footing == Footing::Isolated).then_some(()))
    })
    .await;
    let again = connection.get("x-session", "known").await.unwrap();
    assert_eq!((again.status, again.backend()), (StatusCode::OK, known.backend()));
    let new = connection.get("x-session", "new").await.unwrap();
    assert_eq!(new.status, StatusCode::SERVICE_UNAVAILABLE, "no new sessions: {new:?}");
    nodes.heal();
    nodes.ready().await;
    let new = connection.get("x-session", "new").await.unwrap();
    assert_eq!(new.status, StatusCode::OK, "{new:?}");
}
