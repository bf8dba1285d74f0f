//! What a node makes of the errors that its own requests meet.

use http::StatusCode;
use stickler_core::ids::NodeId;
use stickler_tests::browser::Browser;
use stickler_tests::cluster::until;
use stickler_tests::documents;
use stickler_tests::nodes::TestNodes;

use super::{begin_at, counted, start, until_all_see, until_counted, visit};

const EJECTION: &str = "[pool.ejection]\ntime = \"1h\"\nlongest = \"1h\"";

/// Through this node, so many of a bound session's requests go wrong.
async fn go_wrong(nodes: &TestNodes, node: u64, number: u32, times: usize) {
    for _ in 0..times {
        let reply = visit(nodes, node, number).await;
        assert_eq!((reply.status.as_u16(), reply.backend()), (500, "web-1".to_owned()));
    }
}

/// Who answers a request without a session.
async fn without_session(nodes: &TestNodes, node: u64) -> String {
    Browser::default().get(nodes.address(NodeId(node)), "/").await.unwrap().backend()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gives_nothing_new_to_a_backend_that_answers_it_with_errors_and_bound_sessions_stay() {
    for balance in ["two-choices", "weighted-round-robin", "rendezvous"] {
        let nodes = start(3, &format!("balance = \"{balance}\"\n{EJECTION}"), "", "").await;
        let number = begin_at(&nodes, "web-1").await;
        nodes.shops[0].set_status(Some(StatusCode::INTERNAL_SERVER_ERROR));
        go_wrong(&nodes, 2, number, 4).await;
        assert_eq!(counted(&nodes, 2, |counters| &counters.ejections), 0);
        go_wrong(&nodes, 2, number, 1).await;
        assert_eq!(counted(&nodes, 2, |counters| &counters.ejections), 1);
        for new in 1000..1030 {
            assert_eq!(visit(&nodes, 2, new).await.backend(), "web-2", "{balance}: a new session");
            assert_eq!(without_session(&nodes, 2).await, "web-2", "{balance}: no session at all");
        }
        go_wrong(&nodes, 2, number, 1).await;
        // The others have seen nothing, and the checks pass.
        let mut at_first = false;
        for new in 2000..2060 {
            // Either one by chance, each time.
            at_first = at_first || visit(&nodes, 3, new).await.backend() == "web-1";
        }
        assert!(at_first, "{balance}: it is this node's own view");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ejection_ends_by_itself_and_with_the_document() {
    let short = EJECTION.replace("time = \"1h\"", "time = \"1s\"");
    let nodes = start(1, &short, "", "").await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].set_status(Some(StatusCode::BAD_GATEWAY));
    for _ in 0..5 {
        visit(&nodes, 1, number).await;
    }
    assert_eq!(counted(&nodes, 1, |counters| &counters.ejections), 1);
    nodes.shops[0].set_status(None);
    begin_anew(&nodes, 3000).await;

    let addresses: Vec<_> = nodes.shops.iter().map(|shop| shop.address).collect();
    nodes.apply(&documents::with_failover(&addresses, EJECTION, "", "")).await;
    nodes.shops[0].set_status(Some(StatusCode::BAD_GATEWAY));
    for _ in 0..5 {
        visit(&nodes, 1, number).await;
    }
    assert_eq!(counted(&nodes, 1, |counters| &counters.ejections), 2);
    nodes.shops[0].set_status(None);
    for new in 5000..5020 {
        assert_eq!(visit(&nodes, 1, new).await.backend(), "web-2");
    }
    nodes.apply(&documents::with_failover(&addresses, "", "", "")).await;
    begin_anew(&nodes, 6000).await;
}

/// Waits until new sessions begin at web-1 again.
async fn begin_anew(nodes: &TestNodes, from: u32) {
    let next = std::cell::Cell::new(from);
    until("new sessions begin there again", || async {
        next.set(next.get() + 1);
        (visit(nodes, 1, next.get()).await.backend() == "web-1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_backends_answer_with_errors_all_are_used() {
    let nodes = start(1, EJECTION, "", "").await;
    for shop in &nodes.shops {
        shop.set_status(Some(StatusCode::INTERNAL_SERVER_ERROR));
    }
    for new in 0..60 {
        visit(&nodes, 1, new).await;
    }
    assert_eq!(counted(&nodes, 1, |counters| &counters.ejections), 1, "never all of a pool");
    let mut nodes = nodes;
    // Whichever of the two is ejected is better than none.
    nodes.shops[0].kill().await;
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    assert_eq!(visit(&nodes, 1, 1000).await.backend(), "web-2");
    assert_eq!(without_session(&nodes, 1).await, "web-2");
    nodes.shops[0].start_again().await;
    until_all_see(&nodes, "web-1", "it is up", |web_1| web_1.health.is_up()).await;
    nodes.shops[1].kill().await;
    until_all_see(&nodes, "web-2", "it is down", |web_2| web_2.health.is_down()).await;
    assert_eq!(visit(&nodes, 1, 2000).await.backend(), "web-1");
    assert_eq!(without_session(&nodes, 1).await, "web-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_errors_have_all_voters_look_at_once() {
    let nodes = start(3, EJECTION, "", "").await;
    // From here on the checks come too seldom to find anything by themselves.
    let addresses: Vec<_> = nodes.shops.iter().map(|shop| shop.address).collect();
    let text = documents::with_failover(&addresses, EJECTION, "", "");
    // One failure is not enough: the first check under the new document may come after the shop has begun to fail.
    let text = text.replace("interval = \"300ms\"", "interval = \"1h\"");
    nodes.apply(&text).await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].set_status(Some(StatusCode::SERVICE_UNAVAILABLE));
    nodes.shops[0].set_health(StatusCode::SERVICE_UNAVAILABLE, false);
    for _ in 0..5 {
        visit(&nodes, 2, number).await;
    }
    until_counted(&nodes, 2, "it is ejected", 1, |counters| &counters.ejections).await;
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    assert_eq!(visit(&nodes, 3, number).await.backend(), "web-2");
}
