//! The promise of docs/fencing.md, with real processes: a node that is stopped while sessions move, and resumed with
//! requests in its sockets, sends none of them by an epoch that has ended; what it had sent before is refused where
//! the shops' state is shared.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

mod cluster;
mod tap;
mod under_way;
mod visitor;

use cluster::{Cluster, Node, is, until};
use under_way::Session;
use visitor::Visitor;

/// Sessions that move while a node stands still.
const SESSIONS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_during_a_move_sends_nothing_by_the_old_epoch() {
    let mut cluster = Cluster::start().await;
    // All sessions begin on the first shop.
    cluster.nodes[0].stickler(&["backend", "drain", "shop/web-2"]).unwrap();
    for number in 0..SESSIONS {
        let mut visitor = Visitor::at(cluster.nodes[number % 3].address, &name(number)).await;
        let answer = visitor.ask("POST", "/api/cart", "item=tea&number=1").await;
        assert_eq!((answer.status, answer.backend.as_str()), (200, "web-1"), "{answer:?}");
    }
    cluster.nodes[0].stickler(&["backend", "ready", "shop/web-2"]).unwrap();

    let leader = cluster.leader(&cluster.nodes[0], None).await;
    let follower = cluster.nodes.iter().position(|node| node.id != leader).unwrap();
    stop_during_a_move(&mut cluster, follower, [0, 1], 10).await;
    // And back again, while the leader stands still.
    let leader = cluster.leader(&cluster.nodes[0], None).await;
    let leader = cluster.nodes.iter().position(|node| node.id == leader).unwrap();
    stop_during_a_move(&mut cluster, leader, [1, 0], 20).await;
}

fn name(number: usize) -> String {
    format!("session-{number}")
}

/// All sessions move from one shop to the other while a node stands still. What is sent through it is numbered
/// from here on.
async fn stop_during_a_move(cluster: &mut Cluster, stopped: usize, [from, to]: [usize; 2], numbers: u64) {
    let mut sessions = send_before(cluster, stopped, from, numbers).await;
    let node = &cluster.nodes[stopped];
    node.stop().await;
    for session in &mut sessions {
        session.send_meanwhile(node.address).await;
    }
    let others: Vec<&Node> = cluster.nodes.iter().filter(|other| other.id != node.id).collect();
    move_all(cluster, node, others[0], [from, to]).await;
    for session in &mut sessions {
        session.looks_at_orders(others[1], &cluster.shops[to].name).await;
    }

    // The connections that were waited for are there when the node goes on: nothing holds what it has decided.
    let pid = node.pid();
    cluster.shops[from].tap.release();
    until("the kernel has made the connections", || {
        is(cluster.shops[from].tap.waiting(pid), |left| left == 0)
    })
    .await;
    let before = cluster.shops[from].tap.heads().len();
    cluster.nodes[stopped].resume();

    let mut astray = Vec::new();
    for session in &mut sessions {
        session.late_order_is_refused(&cluster.shops[from].name).await;
        astray.extend(session.reads_the_other_answers(&cluster.shops[to].name).await);
    }
    assert!(astray.is_empty(), "{} answers of the shop that was left, such as {}", astray.len(), astray[0]);
    let after = &cluster.shops[from].tap.heads()[before..];
    assert!(after.is_empty(), "{} requests went to the shop that was left: {after:?}", after.len());
    for session in &sessions {
        session.is_found_where_it_was_served(cluster, [from, to]).await;
    }
    // Those that the node had not read yet have waited for nothing but the node.
    let served: usize = sessions.iter().map(Session::served).sum();
    assert!(served >= 2 * SESSIONS, "{served} of {} requests were served", 3 * SESSIONS);
}

/// Brings requests of all sessions on their way through a node: some are sent on but for their end, some are decided
/// on and wait for a connection.
async fn send_before(cluster: &mut Cluster, through: usize, shop: usize, numbers: u64) -> Vec<Session> {
    let node = &cluster.nodes[through];
    let before = cluster.shops[shop].tap.heads().len();
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        sessions.push(Session::with_an_order_on_its_way(name(number), node.address, numbers).await);
    }
    until("the shop has the heads of all orders", || {
        let heads = &cluster.shops[shop].tap.heads()[before..];
        is(heads.iter().filter(|head| head.path == "/api/orders").count(), |sent| sent == SESSIONS)
    })
    .await;
    cluster.shops[shop].tap.hold().await;
    for session in &mut sessions {
        session.send_what_is_held(node.address).await;
    }
    let pid = node.pid();
    until("the node waits for connections", || {
        is(cluster.shops[shop].tap.waiting(pid), |waits| waits >= SESSIONS)
    })
    .await;
    sessions
}

/// Moves all sessions through another node. The receipt says that the stopped one holds no lease.
async fn move_all(cluster: &Cluster, stopped: &Node, through: &Node, [from, to]: [usize; 2]) {
    cluster.leader(through, Some(stopped.id)).await;
    let [from, to] = [from, to].map(|shop| format!("shop/{}", cluster.shops[shop].name));
    let rule = ["session", "move", "--backend", &from, "--to", &to, "--rate", "10000", "--yes"];
    let receipt = through.stickler(&rule).unwrap();
    assert!(receipt.starts_with(&format!("{SESSIONS} sessions moved to {to}, last at index ")), "{receipt}");
    assert!(receipt.trim_end().ends_with(&format!("sessions they knew: node {}", stopped.id)), "{receipt}");
}
