//! Which requests are sent again, and how often.

use futures::future::join_all;
use http::{Method, StatusCode};
use stickler_core::ids::NodeId;
use stickler_tests::browser::Reply;
use stickler_tests::nodes::TestNodes;

use super::{begin_at, client, counted, error, start, until_all_see, visit};

const IDEMPOTENT: &str = "retry = \"idempotent\"";

async fn send(nodes: &TestNodes, number: u32, method: Method, body: &'static str) -> Reply {
    client(number).send(nodes.address(NodeId(1)), method, "/", body).await.unwrap()
}

/// Closes what connections the node has to a shop: with the next request there is a new one.
async fn without_idle_connections(nodes: &mut TestNodes) {
    nodes.shops[0].start_again().await;
    until_all_see(nodes, "web-1", "it is up", |web_1| web_1.health.is_up()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backend_may_have_got_is_not_sent_again_unless_the_operator_says_so() {
    let mut nodes = start(1, "", "", "").await;
    let number = begin_at(&nodes, "web-1").await;
    without_idle_connections(&mut nodes).await;
    nodes.shops[0].break_off(1);
    assert_eq!(error(&visit(&nodes, 1, number).await), (502, "backend-broke-off"));
    assert_eq!(nodes.shops[0].seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_requests_without_a_body_are_sent_again_at_most_twice_and_no_others_ever() {
    let mut nodes = start(3, IDEMPOTENT, "", "").await;
    let number = begin_at(&nodes, "web-1").await;
    let broke_off = (502, "backend-broke-off");
    for (method, body, breaks_off, expected, sent) in [
        (Method::GET, "", 1, (200, ""), 2),
        (Method::HEAD, "", 1, (200, ""), 2),
        (Method::OPTIONS, "", 1, (200, ""), 2),
        (Method::PUT, "", 2, (200, ""), 3),
        (Method::DELETE, "", 2, (200, ""), 3),
        (Method::DELETE, "", 3, broke_off, 3),
        (Method::PUT, "the goods", 1, broke_off, 1),
        (Method::DELETE, "the goods", 1, broke_off, 1),
        (Method::POST, "", 1, broke_off, 1),
        (Method::POST, "the goods", 1, broke_off, 1),
        (Method::PATCH, "", 1, broke_off, 1),
    ] {
        for idle in [false, true] {
            without_idle_connections(&mut nodes).await;
            if idle {
                visit(&nodes, 1, number).await;
            }
            let before = nodes.shops[0].seen().len();
            nodes.shops[0].break_off(breaks_off);
            let reply = send(&nodes, number, method.clone(), body).await;
            let case = format!("{method} {body:?}, broken off {breaks_off} times, idle: {idle}");
            assert_eq!(error(&reply), expected, "{case}");
            assert_eq!(nodes.shops[0].seen().len() - before, sent, "{case}");
            let all = nodes.shops[0].seen();
            assert!(all[before..].iter().all(|seen| seen.method == method), "{case}");
        }
    }
    assert!(nodes.shops[1].seen().iter().all(|seen| seen.method == Method::GET), "its session was bound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_backend_dies_under_its_request_moves_with_it() {
    let mut nodes = start(3, IDEMPOTENT, "", "").await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].hold();
    let address = nodes.address(NodeId(1));
    let open = tokio::spawn(async move { client(number).get(address, "/slow").await.unwrap() });
    nodes.shops[0].holds(1).await;
    nodes.shops[0].kill().await;
    let reply = open.await.unwrap();
    assert_eq!((reply.status, reply.backend()), (StatusCode::OK, "web-2".to_owned()));
    assert_eq!(visit(&nodes, 2, number).await.backend(), "web-2");
    assert_eq!(counted(&nodes, 1, |counters| &counters.moved), 1, "by a committed move");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_budget_a_failure_is_answered_as_it_is() {
    let nodes = start(1, &format!("{IDEMPOTENT}\nretry_budget = 0"), "", "").await;
    let number = begin_at(&nodes, "web-1").await;
    let before = nodes.shops[0].seen().len();
    nodes.shops[0].break_off(u64::MAX);
    for reply in join_all((0..80).map(|_| visit(&nodes, 1, number))).await {
        assert_eq!(error(&reply), (502, "backend-broke-off"));
    }
    // Ten for each of ten seconds; one that goes by an idle connection is sent again for nothing.
    let sent = nodes.shops[0].seen().len() - before - 80;
    assert!((100..=101).contains(&sent), "{sent} were sent again");
    assert!(counted(&nodes, 1, |counters| &counters.over_budget) >= 30);
    assert_eq!(counted(&nodes, 1, |counters| &counters.sent_again), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_waits_for_the_verdict_on_its_backend_takes_one_retry_of_the_budget() {
    let mut nodes = start(3, "retry_budget = 0", "", "").await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].kill().await;
    for reply in join_all((0..80).map(|_| visit(&nodes, 2, number))).await {
        assert_eq!((reply.status, reply.backend()), (StatusCode::OK, "web-2".to_owned()));
    }
    assert!(counted(&nodes, 2, |counters| &counters.retried) <= 80);
    assert_eq!(counted(&nodes, 2, |counters| &counters.over_budget), 0);
}
