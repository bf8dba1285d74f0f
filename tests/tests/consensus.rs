//! Promises of the replicated store, on three nodes with real files and sockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use stickler_core::ids::{KeyHash, NodeId};
use stickler_core::state::{BindOutcome, SessionKey};
use stickler_raft::HandOverError;
use stickler_rt::Clock;
use stickler_tests::cluster::{TestCluster, affinity, place, until};
use stickler_tests::{documents, log};

fn backends() -> Vec<SocketAddr> {
    (1..=3).map(|number| SocketAddr::from(([127, 0, 0, 1], 9000 + number))).collect()
}

async fn with_document() -> TestCluster {
    log::start();
    let cluster = TestCluster::start(3).await;
    cluster.leader().await;
    cluster.apply(documents::by_header(&backends())).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_bound_through_one_node_is_known_to_all() {
    let cluster = with_document().await;
    for key in 0..50 {
        let node = NodeId(1 + u64::try_from(key).unwrap() % 3);
        place(cluster.node(node), key).await.unwrap();
    }
    cluster.settled().await;
    for key in 0..50 {
        let mut bindings = Vec::new();
        for (_, node) in cluster.nodes() {
            let session = SessionKey { affinity: affinity(node), key: KeyHash(key) };
            bindings.push(node.view().locate(session).unwrap().binding);
        }
        assert!(bindings.iter().all(|binding| *binding == bindings[0]), "{bindings:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raced_binds_of_one_key_through_all_nodes_agree() {
    let cluster = with_document().await;
    let mut tasks = Vec::new();
    for key in 0..100_u128 {
        for (_, node) in cluster.nodes() {
            let node = node.clone();
            tasks.push(tokio::spawn(async move { (key, place(&node, key).await.unwrap().1) }));
        }
    }
    let mut owners = std::collections::BTreeMap::new();
    for task in tasks {
        let (key, outcome) = task.await.unwrap();
        let BindOutcome::Bound { binding, .. } = outcome else { panic!("{outcome:?}") };
        let owner = owners.entry(key).or_insert((binding.backend, binding.epoch));
        assert_eq!(*owner, (binding.backend, binding.epoch));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binds_resume_after_the_leader_died_and_nothing_acknowledged_is_lost() {
    let mut cluster = with_document().await;
    let survivor = NodeId(1);
    for key in 0..30 {
        place(cluster.node(survivor), key).await.unwrap();
    }
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let (_, alive) = cluster.nodes().next().unwrap();
    for key in 30..60 {
        place(alive, key).await.unwrap();
    }
    cluster.restart(leader).await;
    cluster.settled().await;
    for (_, node) in cluster.nodes() {
        for key in 0..60 {
            let session = SessionKey { affinity: affinity(node), key: KeyHash(key) };
            assert!(node.view().locate(session).is_some(), "key {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_has_any_node_lead_through_any_node_and_no_bind_fails() {
    let cluster = with_document().await;
    cluster.settled().await;
    let mut key = 0;
    for (asked, heir) in [(1, 2), (1, 3), (3, 1), (2, 2), (2, 2), (1, 3)] {
        let led = cluster.node(NodeId(asked)).hand_over(Some(NodeId(heir))).await;
        assert_eq!(led, Ok(NodeId(heir)), "asked through node {asked}");
        for (_, node) in cluster.nodes() {
            key += 1;
            place(node, key).await.unwrap();
        }
    }
    let elsewhere = cluster.node(NodeId(1)).hand_over(None).await.unwrap();
    assert_ne!(elsewhere, NodeId(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_no_stranger_and_to_no_node_that_is_away() {
    let mut cluster = with_document().await;
    let leader = cluster.leader().await;
    let stranger = cluster.node(leader).hand_over(Some(NodeId(9))).await;
    assert_eq!(stranger, Err(HandOverError::NotAVoter(NodeId(9))));
    let away = NodeId(if leader == NodeId(1) { 2 } else { 1 });
    cluster.kill(away).await;
    let refused = cluster.node(leader).hand_over(Some(away)).await;
    assert_eq!(refused, Err(HandOverError::NotTaken(away)));
    place(cluster.node(leader), 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_gets_a_lease_and_the_stable_index_follows() {
    let cluster = with_document().await;
    place(cluster.node(NodeId(1)), 1).await.unwrap();
    let index = cluster.settled().await;
    until("leases on all nodes, and a stable index", || {
        let all = cluster.nodes().all(|(_, node)| {
            let standing = node.standing();
            standing.footing == stickler_core::lease::Footing::Leased && standing.stable >= index
        });
        std::future::ready(all.then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_at_one_index_have_one_state_hash() {
    let cluster = with_document().await;
    for key in 0..20 {
        place(cluster.node(NodeId(2)), key).await.unwrap();
    }
    cluster.settled().await;
    let mut hashes = Vec::new();
    for (_, node) in cluster.nodes() {
        let status = node.status().await;
        hashes.push((status.applied, status.state_hash));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_time_goes_on_while_leadership_goes_round_and_nobody_writes() {
    let cluster = with_document().await;
    let clock = Clock::start();
    // An entry of now says what time it is in the cluster.
    let time = async |key| {
        let (_, node) = cluster.nodes().next().unwrap();
        let before = clock.now();
        place(node, key).await.unwrap();
        (before, node.view().time, clock.now())
    };
    let (beginning, first, began) = time(1).await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let leader = cluster.leader().await;
        let next = NodeId(1 + leader.0 % 3);
        // One that is asked too soon after the last says no.
        until("the next one leads", || cluster.node(next).hand_over(Some(next)).map(Result::ok)).await;
    }
    let (ending, last, ended) = time(2).await;
    let passed = last.since(first);
    // As much as has passed, but for what the leases leave open; never more.
    assert!(passed >= ending.since(began) * 3 / 4, "{passed:?} of {:?}", ending.since(began));
    assert!(passed <= ended.since(beginning), "{passed:?} of {:?}", ended.since(beginning));
}
