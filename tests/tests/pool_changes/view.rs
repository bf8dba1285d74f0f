//! What operators see of all nodes at once.

use stickler_core::ids::NodeId;
use stickler_proto::admin::{ListBackendsReply, ListBackendsRequest};
use stickler_tests::cluster::until;
use stickler_tests::documents;
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

use super::{client, visit};

async fn start() -> TestNodes {
    log::start();
    TestNodes::start(3, 2, |shops| {
        documents::with_failover(shops, "balance = \"weighted-round-robin\"", "", "")
    })
    .await
}

async fn seen(nodes: &TestNodes, node: u64, all_nodes: bool) -> ListBackendsReply {
    let mut admin = nodes.admin(NodeId(node)).await;
    admin.list_backends(ListBackendsRequest { all_nodes }).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_through_all_nodes_are_in_one_view_with_how_long_they_took() {
    let nodes = start().await;
    for number in 0..30 {
        visit(&nodes, 1 + u64::from(number % 3), number).await;
    }
    nodes.shops.iter().for_each(|shop| shop.hold());
    let held: Vec<_> = (0..6)
        .map(|number| {
            let address = nodes.address(NodeId(2 + u64::from(number % 2)));
            tokio::spawn(async move { client(number).get(address, "/slow").await.map(|reply| reply.status) })
        })
        .collect();
    let in_flight = |reply: &ListBackendsReply| reply.backends.iter().map(|one| one.in_flight).sum::<u64>();
    until("all are on their way", async || (in_flight(&seen(&nodes, 1, true).await) == 6).then_some(()))
        .await;
    assert_eq!(in_flight(&seen(&nodes, 1, false).await), 0, "none through this one");
    let reply = seen(&nodes, 1, true).await;
    assert_eq!((reply.heard, reply.unheard), (vec![1, 2, 3], vec![]));
    assert_eq!(reply.backends.iter().map(|one| one.responses).sum::<u64>(), 30);
    for backend in &reply.backends {
        assert!(0 < backend.median_microseconds && backend.median_microseconds <= backend.tail_microseconds);
    }
    nodes.shops.iter().for_each(|shop| shop.release());
    for request in held {
        assert_eq!(request.await.unwrap().unwrap(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_answer_is_named() {
    let mut nodes = start().await;
    nodes.stop(NodeId(3)).await;
    let reply = seen(&nodes, 1, true).await;
    assert_eq!((reply.heard, reply.unheard), (vec![1, 2], vec![3]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_uneven_says_by_how_much() {
    let nodes = start().await;
    for number in 0..40 {
        visit(&nodes, 1, number).await;
    }
    nodes.know_all().await;
    assert_eq!(seen(&nodes, 1, false).await.pools[0].imbalance_per_mille, 0);
    let web_2 = nodes.backend("web-2");
    nodes.set_admin("web-2", stickler_core::state::Admin::Maint).await;
    for number in 0..40 {
        visit(&nodes, 1, number).await;
    }
    nodes.set_admin("web-2", stickler_core::state::Admin::Ready).await;
    nodes.know_all().await;
    let reply = seen(&nodes, 2, false).await;
    let pool = &reply.pools[0];
    assert_eq!((pool.sessions, pool.taking, pool.imbalance_per_mille), (40, 2, 1000), "{reply:?} {web_2}");
    let metrics = metrics(&nodes).await;
    assert!(metrics.contains("stickler_pool_imbalance{pool=\"shop\"} 1.0"), "{metrics}");
}

async fn metrics(nodes: &TestNodes) -> String {
    let mut browser = stickler_tests::browser::Browser::default();
    browser.get(nodes.status_address(NodeId(1)), "/metrics").await.unwrap().body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_that_an_alert_goes_by_is_told() {
    let nodes = start().await;
    visit(&nodes, 1, 1).await;
    let metrics = metrics(&nodes).await;
    let rules = include_str!("../../../deploy/prometheus/alerts.yml");
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = expressions.flat_map(|expression| expression.split(move |character| !is_name(character)));
    let names: Vec<&str> = words.filter(|word| word.starts_with("stickler_")).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let told = metrics.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
        assert!(told, "{name}:\n{metrics}");
    }
}
