//! Sessions that leave a backend without waiting for their next request.

use std::time::Duration;

use stickler_core::state::{Cause, MoveReason};
use stickler_rt::Clock;
use stickler_tests::cluster::until;
use stickler_tests::nodes::TestNodes;

use super::{bindings, start, until_all_see, visit};

const SESSIONS: u32 = 160;

/// How many sessions are on a backend, by a node that runs.
fn at(nodes: &TestNodes, backend: &str) -> usize {
    let id = nodes.backend(backend);
    let (node, _) = nodes.running().next().unwrap();
    bindings(nodes, node).iter().filter(|binding| binding.backend == id).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_dead_backend_move_at_their_rate_through_the_death_of_the_leader() {
    let mut nodes = start(3, "balance = \"weighted-round-robin\"", "", "rebind_rate = \"20/1s\"").await;
    for number in 0..SESSIONS {
        visit(&nodes, 1 + u64::from(number % 3), number).await;
    }
    let leaving = at(&nodes, "web-1");
    assert!(leaving >= 60, "{leaving}");
    nodes.shops[0].kill().await;
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    let began = Clock::start();
    until("some have moved", || std::future::ready((at(&nodes, "web-1") < leaving - 10).then_some(()))).await;
    let leader = nodes.leader().await;
    nodes.stop(leader).await;
    until("all have moved", || std::future::ready((at(&nodes, "web-1") == 0).then_some(()))).await;
    let took = began.now().0;
    let expected = Duration::from_secs(leaving as u64) / 20;
    assert!(took > expected * 8 / 10, "faster than the rate: {took:?} for {leaving}");
    assert!(took < expected + Duration::from_secs(4), "{took:?} for {leaving}");
    let (node, _) = nodes.running().next().unwrap();
    let moved = bindings(&nodes, node)
        .into_iter()
        .filter(|binding| binding.cause == Cause::Moved(MoveReason::BackendDown));
    assert_eq!(moved.count(), leaving, "each once, and no other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_rate_each_session_moves_with_its_next_request() {
    let mut nodes = start(3, "balance = \"weighted-round-robin\"", "", "").await;
    for number in 0..20 {
        visit(&nodes, 1, number).await;
    }
    let leaving = at(&nodes, "web-1");
    nodes.shops[0].kill().await;
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(at(&nodes, "web-1"), leaving);
    assert_eq!(visit(&nodes, 2, 0).await.backend(), "web-2");
    assert!(at(&nodes, "web-1") >= leaving - 1);
}
