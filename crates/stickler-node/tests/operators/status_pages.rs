use stickler_core::ids::KeyHash;
use stickler_node::readiness::Ready;

use crate::support::{TestNode, until};

#[tokio::test]
async fn a_node_is_ready_when_it_would_answer_requests() {
    let node = TestNode::start().await;
    let (status, reason) = node.get("/readyz").await;
    assert!(status.contains(" 503 "), "{status}");
    assert_eq!(reason, "not ready: no cluster document was applied yet\n");
    assert!(node.get("/livez").await.0.contains(" 200 "));

    node.apply().await;
    assert_eq!(node.get("/readyz").await, ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));

    node.readiness.obstruct("listener public", "address in use");
    let (status, reason) = node.get("/readyz").await;
    assert!(status.contains(" 503 ") && reason.contains("listener public: address in use"), "{reason}");
    node.readiness.clear("listener public");
    assert_eq!(node.get("/readyz").await.1, "ready\n");

    node.shutdown.trigger();
    assert_eq!(node.readiness.now(), Ready::No("stopping".to_owned()));
}

#[tokio::test]
async fn a_node_that_can_reach_no_leader_is_degraded_and_says_so() {
    let node = TestNode::start().await;
    node.apply().await;
    node.cluster.stop().await;
    until("the node knows", || node.readiness.now() == Ready::Degraded("isolated".to_owned())).await;
    assert_eq!(node.get("/readyz").await, ("HTTP/1.1 200 OK".to_owned(), "degraded: isolated\n".to_owned()));
}

#[tokio::test]
async fn a_node_that_waits_for_the_others_is_alive_and_not_ready() {
    let node = TestNode::start_among(2).await;
    assert!(node.get("/livez").await.0.contains(" 200 "));
    assert!(node.get("/readyz").await.0.contains(" 503 "));
}

#[tokio::test]
async fn the_metrics_say_what_the_state_says() {
    let node = TestNode::start().await;
    node.apply().await;
    node.place((1..=20).map(KeyHash)).await;
    let (status, metrics) = node.get("/metrics").await;
    assert!(status.contains(" 200 "), "{status}");
    let sessions = node.backend("web-1").await.sessions;
    for line in [
        "stickler_is_leader 1",
        "stickler_leader 1",
        "stickler_ready 1",
        "stickler_store_failed 0",
        "stickler_document_revision 1",
        "stickler_records 20",
        "stickler_requests_total 0",
        "stickler_affinity_sessions{affinity=\"cart\"} 20",
        "stickler_footing{footing=\"leased\"} 1",
        "stickler_footing{footing=\"isolated\"} 0",
        "stickler_backend_up{pool=\"shop\",backend=\"web-1\"} 1",
        "stickler_backend_admin{pool=\"shop\",backend=\"web-2\",admin=\"ready\"} 1",
        "stickler_backend_admin{pool=\"shop\",backend=\"web-2\",admin=\"drain\"} 0",
        &format!("stickler_backend_sessions{{pool=\"shop\",backend=\"web-1\"}} {sessions}"),
        &format!("stickler_applied_index {}", node.cluster.view().applied),
    ] {
        assert!(metrics.lines().any(|found| found == line), "no line {line} in:\n{metrics}");
    }
    for name in [
        "stickler_term ",
        "stickler_committed_index ",
        "stickler_stable_index ",
        "stickler_lease_left_seconds ",
    ] {
        assert!(metrics.contains(&format!("\n{name}")), "no {name} in:\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn anything_else_is_refused() {
    let node = TestNode::start_among(1).await;
    assert!(node.get("/").await.0.contains(" 404 "));
    let posted = node.say(b"POST /readyz HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let answer = node.say(long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(node.get("/livez").await.0.contains(" 200 "));
}
