//! What becomes of sessions when their backend is gone, is started again, or comes back, on whole nodes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod choices;
mod ejection;
mod health;
mod leaving;
mod policies;
mod queue;
mod retries;

use std::sync::atomic::{AtomicU64, Ordering};

use stickler_core::ids::NodeId;
use stickler_core::state::{BackendRecord, Binding, Record};
use stickler_proxy::request::ProxyCounters;
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::documents;
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

/// Nodes with two shops, and lines of their own for the pool, its check and the affinity.
async fn start(nodes: u64, pool: &str, check: &str, affinity: &str) -> TestNodes {
    log::start();
    TestNodes::start(nodes, 2, |shops| documents::with_failover(shops, pool, check, affinity)).await
}

fn client(number: u32) -> Browser {
    Browser::with_header("x-session", &format!("client-{number}"))
}

/// A visit of a client through a node.
async fn visit(nodes: &TestNodes, node: u64, number: u32) -> Reply {
    client(number).get(nodes.address(NodeId(node)), "/").await.unwrap()
}

/// The first client whose session begins on this backend, and those before it.
async fn begin_at(nodes: &TestNodes, backend: &str) -> u32 {
    for number in 0..200 {
        if visit(nodes, 1, number).await.backend() == backend {
            return number;
        }
    }
    panic!("no session begins at {backend}")
}

/// Waits until a counter of a node's data plane has come to so much.
async fn until_counted(
    nodes: &TestNodes,
    node: u64,
    what: &str,
    least: u64,
    counter: impl Fn(&ProxyCounters) -> &AtomicU64,
) {
    let counters = nodes.node(NodeId(node)).proxy().counters();
    until(what, || std::future::ready((counter(counters).load(Ordering::Relaxed) >= least).then_some(())))
        .await;
}

/// What a node's data plane has counted.
fn counted(nodes: &TestNodes, node: u64, counter: impl Fn(&ProxyCounters) -> &AtomicU64) -> u64 {
    counter(nodes.node(NodeId(node)).proxy().counters()).load(Ordering::Relaxed)
}

/// Waits until all nodes see a backend so.
async fn until_all_see(nodes: &TestNodes, name: &str, what: &str, so: impl Fn(&BackendRecord) -> bool) {
    until(what, || {
        let seen = nodes.running().all(|(_, cluster)| {
            let view = cluster.view();
            view.catalog.backends.values().any(|backend| backend.name == name && so(backend))
        });
        std::future::ready(seen.then_some(()))
    })
    .await;
}

/// All bindings of a node's state.
fn bindings(nodes: &TestNodes, node: NodeId) -> Vec<Binding> {
    let mut found = Vec::new();
    nodes.cluster(node).view().table.visit(|_, record| {
        if let Record::Binding(binding) = record {
            found.push(*binding);
        }
        true
    });
    found
}

fn error(reply: &Reply) -> (u16, &str) {
    let name = reply.headers.get("stickler-error").and_then(|name| name.to_str().ok());
    (reply.status.as_u16(), name.unwrap_or_default())
}

fn epoch(reply: &Reply) -> u64 {
    reply.headers["stickler-epoch"].to_str().unwrap().parse().unwrap()
}
