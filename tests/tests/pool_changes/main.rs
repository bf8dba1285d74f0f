//! Backends that come and go while nodes run, and what operators see of them.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod commands;
mod names;
mod view;

use stickler_core::ids::NodeId;
use stickler_core::state::{BackendRecord, View};
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::nodes::TestNodes;

fn client(number: u32) -> Browser {
    Browser::with_header("x-session", &format!("client-{number}"))
}

/// A visit of a client through a node.
async fn visit(nodes: &TestNodes, node: u64, number: u32) -> Reply {
    client(number).get(nodes.address(NodeId(node)), "/").await.unwrap()
}

/// The first client from this one on whose session begins on this backend.
async fn begin_at(nodes: &TestNodes, from: u32, backend: &str) -> u32 {
    for number in from..from + 200 {
        if visit(nodes, 1, number).await.backend() == backend {
            return number;
        }
    }
    panic!("no session begins at {backend}")
}

/// Waits until the states of all running nodes are so.
async fn until_all(nodes: &TestNodes, what: &str, so: impl Fn(&View) -> bool) {
    until(what, || {
        let all = nodes.running().all(|(_, cluster)| so(&cluster.view()));
        std::future::ready(all.then_some(()))
    })
    .await;
}

fn named<'v>(view: &'v View, name: &str) -> Option<&'v BackendRecord> {
    view.catalog.backends.values().find(|record| record.name == name)
}
