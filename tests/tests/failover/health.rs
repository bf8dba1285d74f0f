//! What a backend says of itself, and what new sessions make of it.

use http::StatusCode;
use stickler_core::ids::NodeId;

use super::{begin_at, bindings, start, until_all_see, visit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_drains_itself_by_a_status_or_a_header_of_its_check() {
    for (status, drains) in [(StatusCode::NOT_FOUND, false), (StatusCode::OK, true)] {
        let nodes = start(3, "", "drain_status = 404\ndrain_header = \"X-Drain\"", "").await;
        let number = begin_at(&nodes, "web-1").await;
        nodes.shops[0].set_health(status, drains);
        until_all_see(&nodes, "web-1", "it drains", |web_1| web_1.health.drains).await;
        until_all_see(&nodes, "web-1", "and is up", |web_1| web_1.health.is_up()).await;
        for new in 1000..1020 {
            assert_eq!(visit(&nodes, 2, new).await.backend(), "web-2");
        }
        assert_eq!(visit(&nodes, 3, number).await.backend(), "web-1", "it keeps what it has");
        nodes.shops[0].set_health(StatusCode::OK, false);
        until_all_see(&nodes, "web-1", "it drains no more", |web_1| !web_1.health.drains).await;
        begin_at(&nodes, "web-1").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_these_keys_such_a_backend_is_down_and_its_sessions_move() {
    let nodes = start(3, "", "", "").await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].set_health(StatusCode::NOT_FOUND, false);
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    assert_eq!(visit(&nodes, 3, number).await.backend(), "web-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_comes_up_late_gets_few_new_sessions_at_first_by_any_algorithm() {
    for balance in ["two-choices", "weighted-round-robin", "fewest-sessions", "rendezvous"] {
        let mut nodes = start(1, &format!("balance = \"{balance}\"\nslow_start = \"10m\""), "", "").await;
        nodes.shops[0].kill().await;
        until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
        // What counts is how long each has been there: this one as good as not at all, beside the other one.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        nodes.shops[0].start_again().await;
        until_all_see(&nodes, "web-1", "it is up", |web_1| web_1.health.is_up()).await;
        let old = nodes.backend("web-2");
        for number in 0..60 {
            visit(&nodes, 1, number).await;
        }
        let at_old = bindings(&nodes, NodeId(1)).iter().filter(|binding| binding.backend == old).count();
        assert!(at_old >= 45, "{balance}: {at_old} of 60 at the one that was there before");
    }
}
