//! Where requests go that need no session.

use std::collections::BTreeMap;

use stickler_core::ids::NodeId;
use stickler_tests::browser::Browser;

use super::{bindings, start, visit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_begin_no_session_reach_both_backends_by_any_algorithm_and_bound() {
    for balance in ["two-choices", "weighted-round-robin", "fewest-sessions", "rendezvous"] {
        let nodes = start(1, &format!("balance = \"{balance}\"\nbounded_load = 100"), "", "").await;
        // One backend has a session more than the other, and stays the fuller one.
        visit(&nodes, 1, 1).await;
        assert_eq!(bindings(&nodes, NodeId(1)).len(), 1);
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..40 {
            let reply = Browser::default().get(nodes.address(NodeId(1)), "/").await.unwrap();
            *seen.entry(reply.backend()).or_default() += 1;
        }
        assert!(seen.len() == 2 && seen.values().all(|requests| *requests >= 5), "{balance}: {seen:?}");
    }
}
