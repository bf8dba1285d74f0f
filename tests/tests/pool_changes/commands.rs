//! By commands and by documents.

use std::time::Duration;

use stickler_core::document::check_cluster;
use stickler_core::ids::NodeId;
use stickler_core::state::{Cause, MoveReason, Record, Removal};
use stickler_proto::admin::{
    self, AddBackendRequest, ListBackendsRequest, RemoveBackendRequest, ShowDocumentRequest,
};
use stickler_tests::cluster::until;
use stickler_tests::documents;
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

use super::{begin_at, named, until_all, visit};

async fn start(nodes: u64, shops: usize, pool: &str) -> TestNodes {
    start_with(nodes, shops, pool, "").await
}

async fn start_with(nodes: u64, shops: usize, pool: &str, affinity: &str) -> TestNodes {
    log::start();
    TestNodes::start(nodes, shops, |shops| documents::with_failover(shops, pool, "", affinity)).await
}

async fn remove(nodes: &TestNodes, name: &str, force: bool) {
    let removal = Some(admin::Removal { force, drain_milliseconds: None });
    let request = RemoveBackendRequest { pool: "shop".to_owned(), name: name.to_owned(), removal };
    let (node, _) = nodes.running().last().unwrap();
    nodes.admin(node).await.remove_backend(request).await.unwrap();
    nodes.know_all().await;
}

async fn text(nodes: &TestNodes) -> String {
    let shown = nodes.admin(NodeId(1)).await.show_document(ShowDocumentRequest {}).await;
    shown.unwrap().into_inner().text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_taken_out_keeps_its_sessions_gets_no_others_and_goes_with_the_last() {
    let nodes = start(3, 2, "response_timeout = \"100ms\"").await;
    let number = begin_at(&nodes, 0, "web-1").await;
    remove(&nodes, "web-1", false).await;
    for other in 300..320 {
        assert_eq!(visit(&nodes, 1 + u64::from(other % 3), other).await.backend(), "web-2");
    }
    for node in 1..=3 {
        assert_eq!(visit(&nodes, node, number).await.backend(), "web-1", "through node {node}");
    }
    assert!(!text(&nodes).await.contains("web-1"));

    let cluster = nodes.cluster(NodeId(1));
    let mut bound = Vec::new();
    let web_1 = nodes.backend("web-1");
    cluster.view().table.visit(|session, record| {
        if let Record::Binding(binding) = record
            && binding.backend == web_1
        {
            bound.push((*session, binding.epoch));
        }
        true
    });
    for (session, epoch) in bound {
        let unbind = stickler_core::state::Unbind { session, epoch };
        let command = stickler_core::state::Command::Unbind(unbind);
        cluster.propose(command, Duration::from_secs(5), stickler_raft::Persistence::Retry).await.unwrap();
    }
    until_all(&nodes, "it is gone", |view| named(view, "web-1").is_none()).await;
    assert_eq!(visit(&nodes, 3, number).await.backend(), "web-2", "its client is a new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_its_time_is_over_the_sessions_that_are_left_move_once() {
    let nodes = start(3, 2, "").await;
    let number = begin_at(&nodes, 0, "web-1").await;
    let before = visit(&nodes, 1, number).await;
    let document = text(&nodes).await;
    let web_2 = document.split("[[pool.backend]]").nth(1).unwrap().to_owned();
    let smaller = document.replacen(&format!("[[pool.backend]]{web_2}"), "", 1);
    let smaller = check_cluster("smaller.toml", &smaller).unwrap();
    nodes.apply_removing(smaller, Removal::Drain { deadline: Some(1000) }).await;
    assert_eq!(visit(&nodes, 2, number).await.backend(), "web-1");
    until_all(&nodes, "it is gone", |view| named(view, "web-1").is_none()).await;
    let after = visit(&nodes, 3, number).await;
    assert_eq!(after.backend(), "web-2");
    let again = visit(&nodes, 1, number).await;
    assert_eq!(after.headers["stickler-epoch"], again.headers["stickler-epoch"]);
    assert_ne!(before.headers["stickler-epoch"], after.headers["stickler-epoch"]);
    nodes.know_all().await;
    let mut causes = Vec::new();
    nodes.cluster(NodeId(1)).view().table.visit(|_, record| {
        if let Record::Binding(binding) = record
            && binding.epoch.0.to_string().as_bytes() == after.headers["stickler-epoch"].as_bytes()
        {
            causes.push(binding.cause);
        }
        true
    });
    assert_eq!(causes, [Cause::Moved(MoveReason::BackendRemoved)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_backend_that_was_taken_out_and_has_died() {
    for (affinity, lost) in
        [("when_down = \"wait\"\nwait_timeout = \"1m\"", false), ("when_down = \"reject\"", true)]
    {
        let mut nodes = start_with(3, 2, "", affinity).await;
        let number = begin_at(&nodes, 0, "web-1").await;
        remove(&nodes, "web-1", false).await;
        assert_eq!(visit(&nodes, 3, number).await.backend(), "web-1");
        nodes.shops[0].kill().await;
        until_all(&nodes, "it is down", |view| named(view, "web-1").is_some_and(|it| it.health.is_down()))
            .await;
        let next = visit(&nodes, 2, number).await;
        if lost {
            assert_eq!(
                (next.status.as_u16(), &next.headers["stickler-error"]),
                (503, &"session-lost".parse().unwrap())
            );
            let anew = until("it begins anew", || async {
                Some(visit(&nodes, 1, number).await).filter(|reply| reply.status == 200)
            });
            assert_eq!(anew.await.backend(), "web-2");
        } else {
            assert_eq!(next.backend(), "web-2");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_removal_moves_sessions_with_their_next_request() {
    let nodes = start(1, 2, "").await;
    let number = begin_at(&nodes, 0, "web-1").await;
    remove(&nodes, "web-1", true).await;
    assert_eq!(visit(&nodes, 1, number).await.backend(), "web-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_added_gets_sessions_once_a_majority_has_found_it_up() {
    let nodes = start(3, 2, "balance = \"weighted-round-robin\"").await;
    let address = nodes.shops[0].address.to_string();
    remove(&nodes, "web-1", true).await;
    let request = AddBackendRequest {
        pool: "shop".to_owned(),
        name: "web-9".to_owned(),
        address,
        weight: Some(100),
        ..AddBackendRequest::default()
    };
    nodes.admin(NodeId(3)).await.add_backend(request.clone()).await.unwrap();
    until_all(&nodes, "it is up", |view| named(view, "web-9").is_some_and(|added| added.takes_new())).await;
    // The shop there calls itself so.
    begin_at(&nodes, 500, "web-1").await;
    assert!(text(&nodes).await.contains("name = \"web-9\""));
    let refused = nodes.admin(NodeId(1)).await.add_backend(request).await.unwrap_err();
    assert!(refused.message().contains("has a backend \"web-9\" already"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_operators_who_add_backends_at_the_same_moment_both_are_heard() {
    let nodes = start(3, 1, "").await;
    let add = async |node: u64| {
        let request = AddBackendRequest {
            pool: "shop".to_owned(),
            name: format!("web-{}", 10 + node),
            address: format!("127.0.0.1:{node}"),
            ..AddBackendRequest::default()
        };
        nodes.admin(NodeId(node)).await.add_backend(request).await.unwrap();
    };
    tokio::join!(add(1), add(2), add(3));
    nodes.know_all().await;
    let text = text(&nodes).await;
    for node in 1..=3 {
        assert!(text.contains(&format!("name = \"web-{}\"", 10 + node)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_through_a_node_is_seen_through_it_at_once() {
    let nodes = start(3, 1, "").await;
    let leader = nodes.leader().await;
    let follower = nodes.running().map(|(node, _)| node).find(|node| *node != leader).unwrap();
    let mut admin = nodes.admin(follower).await;
    for number in 0..30 {
        let name = format!("web-{}", 10 + number);
        let request = AddBackendRequest {
            pool: "shop".to_owned(),
            name: name.clone(),
            address: format!("127.0.0.1:{}", 10 + number),
            ..AddBackendRequest::default()
        };
        admin.add_backend(request).await.unwrap();
        let listed = admin.list_backends(ListBackendsRequest::default()).await.unwrap().into_inner().backends;
        assert!(listed.iter().any(|backend| backend.name == name), "{name} is not among {listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_backend_that_has_moved_go_to_its_new_address() {
    let mut nodes = start(3, 1, "").await;
    let before = visit(&nodes, 1, 7).await;
    let old = nodes.shops[0].address;
    nodes.shops[0].kill().await;
    let shop = stickler_tests::shop::Shop::start("web-1").await;
    let moved = format!("address = \"{}\"\nmoved_from = \"{old}\"", shop.address);
    let document = text(&nodes).await.replacen(&format!("address = \"{old}\""), &moved, 1);
    nodes.apply(&document).await;
    let id = nodes.backend("web-1");
    until_all(&nodes, "it is up", |view| view.catalog.backends[&id].health.is_up()).await;
    for node in 1..=3 {
        let after = visit(&nodes, node, 7).await;
        assert_eq!(after.headers["stickler-epoch"], before.headers["stickler-epoch"], "it did not move");
    }
    assert!(!shop.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_backend_gets_more_new_sessions_than_the_bound_of_its_pool() {
    let nodes = start(3, 4, "balance = \"rendezvous\"\nbounded_load = 110").await;
    for number in 0..400 {
        visit(&nodes, 1 + u64::from(number % 3), number).await;
    }
    nodes.know_all().await;
    let view = nodes.cluster(NodeId(1)).view();
    let counts: Vec<u64> = view.catalog.backends.keys().map(|id| view.counts.of_backend(*id)).collect();
    assert_eq!(counts.iter().sum::<u64>(), 400);
    assert!(counts.iter().all(|count| *count <= 110), "{counts:?}");
}
