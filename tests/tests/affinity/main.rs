//! How sessions are recognised: each way and each option of docs/affinity.md, over HTTP through whole nodes.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

mod conflicts;
mod cookie;
mod identifiers;
mod lifecycle;
mod limits;
mod modes;
mod returning;
mod splits;

use std::collections::BTreeSet;

use stickler_core::ids::NodeId;
use stickler_core::state::Record;
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::nodes::TestNodes;
use stickler_tests::{documents, log};

/// Three nodes before three shops, with one affinity of these methods and settings.
async fn three_nodes(methods: &[&str], affinity: &str) -> TestNodes {
    log::start();
    TestNodes::start(3, 3, |shops| documents::with_settings(shops, methods, affinity, "")).await
}

/// How many sessions a node has on record.
fn sessions(nodes: &TestNodes, node: u64) -> u64 {
    let mut count = 0;
    nodes.cluster(NodeId(node)).view().table.visit(|_, record| {
        count += u64::from(matches!(record, Record::Binding(_)));
        true
    });
    count
}

/// Waits until every node has so many sessions on record.
async fn sessions_everywhere(nodes: &TestNodes, wanted: u64) {
    until(&format!("there are {wanted} sessions"), || async {
        (1..=3).all(|node| sessions(nodes, node) == wanted).then_some(())
    })
    .await;
}

/// The backends that answer a client's requests for `path` through each node in turn.
async fn backends(nodes: &TestNodes, client: &mut Browser, path: &str) -> BTreeSet<String> {
    let mut backends = BTreeSet::new();
    for node in nodes.addresses() {
        backends.insert(get(client, node, path).await.backend());
    }
    backends
}

/// One answered request.
async fn get(client: &mut Browser, node: std::net::SocketAddr, path: &str) -> Reply {
    let reply = client.get(node, path).await.unwrap();
    assert_eq!(reply.status, http::StatusCode::OK, "{reply:?}");
    reply
}

/// Adds a header to what a client sends.
fn with(mut client: Browser, name: &str, value: &str) -> Browser {
    client.headers.push((name.to_owned(), value.to_owned()));
    client
}
