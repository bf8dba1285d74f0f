//! What becomes of requests whose backend has as many as it may have.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use stickler_core::ids::NodeId;
use stickler_core::state::{Cause, Command, Record, Unbind};
use stickler_raft::Persistence;
use stickler_rt::Clock;
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::SOON;
use stickler_tests::nodes::{A_WHILE, TestNodes};
use stickler_tests::shop::Shop;
use stickler_tests::{documents, log};
use tokio::task::JoinHandle;

use super::{begin_at, client, counted, epoch, error, until_all_see, until_counted, visit};

/// Nodes whose shops take one request at a time from each.
async fn start(nodes: u64, shops: usize, pool: &str) -> TestNodes {
    log::start();
    TestNodes::start(nodes, shops, |shops| document(shops, pool)).await
}

fn document(shops: &[SocketAddr], pool: &str) -> String {
    let text = documents::with_settings(shops, &[documents::HEADER], "", "max_requests = 1");
    text.replacen("name = \"shop\"\n", &format!("name = \"shop\"\n{pool}\n"), 1)
}

/// Sends a request that may take its time.
fn send(nodes: &TestNodes, mut browser: Browser, path: &'static str) -> JoinHandle<Reply> {
    let address = nodes.address(NodeId(1));
    tokio::spawn(async move { browser.get(address, path).await.unwrap() })
}

/// Waits until so many requests have gone into a queue of node 1.
async fn queued(nodes: &TestNodes, count: u64) {
    until_counted(nodes, 1, "they wait", count, |counters| &counters.queued).await;
}

fn paths(nodes: &TestNodes) -> Vec<String> {
    nodes.shops[0].seen().into_iter().map(|seen| seen.path).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_until_there_is_room_and_those_of_bound_sessions_go_first() {
    let nodes = start(1, 1, "queue_timeout = \"1m\"").await;
    visit(&nodes, 1, 7).await;
    nodes.shops[0].hold();
    let first = send(&nodes, client(1), "/slow");
    nodes.shops[0].holds(1).await;
    let mut waiting = Vec::new();
    for (count, (browser, path)) in [
        (Browser::default(), "/new-1"),
        (client(7), "/bound-1"),
        (Browser::default(), "/new-2"),
        (client(7), "/bound-2"),
    ]
    .into_iter()
    .enumerate()
    {
        waiting.push(send(&nodes, browser, path));
        queued(&nodes, count as u64 + 1).await;
    }
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(paths(&nodes), ["/", "/slow"], "one at a time");
    nodes.shops[0].release();
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    for reply in waiting {
        assert_eq!(reply.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(paths(&nodes)[2..], ["/bound-1", "/bound-2", "/new-1", "/new-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_too_long_or_finds_the_queue_full_is_told_so() {
    let nodes = start(1, 1, "queue_timeout = \"1s\"\nmax_queue = 1").await;
    nodes.shops[0].hold();
    let first = send(&nodes, client(1), "/slow");
    nodes.shops[0].holds(1).await;
    let clock = Clock::start();
    let waiting = send(&nodes, client(2), "/");
    queued(&nodes, 1).await;
    let full = visit(&nodes, 1, 3).await;
    assert_eq!(error(&full), (503, "queue-full"));
    assert!(full.headers.contains_key("retry-after"));
    assert!(!waiting.is_finished(), "at once");
    let late = waiting.await.unwrap();
    assert_eq!(error(&late), (503, "queue-timeout"));
    assert!(late.headers.contains_key("retry-after"));
    let waited = clock.now().0;
    assert!(waited >= Duration::from_millis(990) && waited < Duration::from_secs(3), "{waited:?}");
    nodes.shops[0].release();
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    assert_eq!(paths(&nodes), ["/slow"], "neither has reached the backend");
    assert_eq!(visit(&nodes, 1, 2).await.status, StatusCode::OK);
    assert_eq!(counted(&nodes, 1, |counters| &counters.queue_timeouts), 1);
    assert_eq!(counted(&nodes, 1, |counters| &counters.queue_full), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_fills_the_queue_does_not_keep_bound_sessions_out() {
    let nodes = start(1, 1, "queue_timeout = \"1m\"\nmax_queue = 2").await;
    visit(&nodes, 1, 7).await;
    nodes.shops[0].hold();
    let first = send(&nodes, client(1), "/slow");
    nodes.shops[0].holds(1).await;
    let mut crowd = Vec::new();
    for (count, path) in ["/crowd-1", "/crowd-2"].into_iter().enumerate() {
        crowd.push(send(&nodes, Browser::default(), path));
        queued(&nodes, count as u64 + 1).await;
    }
    let bound = send(&nodes, client(7), "/bound");
    let gave_way = crowd.pop().unwrap().await.unwrap();
    assert_eq!(error(&gave_way), (503, "queue-full"), "the one that came last");
    let full = send(&nodes, Browser::default(), "/crowd-3").await.unwrap();
    assert_eq!(error(&full), (503, "queue-full"), "one of the crowd takes nobody's place");
    nodes.shops[0].release();
    for reply in [first, bound, crowd.remove(0)] {
        assert_eq!(reply.await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(paths(&nodes), ["/", "/slow", "/bound", "/crowd-1"]);
    assert_eq!(counted(&nodes, 1, |counters| &counters.queue_full), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_the_queue_and_one_in_flight_leaves_its_place() {
    let nodes = start(1, 1, "queue_timeout = \"1m\"\nmax_queue = 1").await;
    nodes.shops[0].hold();
    let first = send(&nodes, client(1), "/slow");
    nodes.shops[0].holds(1).await;
    let waiting = send(&nodes, client(2), "/gone");
    queued(&nodes, 1).await;
    waiting.abort();
    // There is room in the queue again once the node has noticed.
    let patient = stickler_tests::cluster::until("another one may wait", || async {
        let patient = send(&nodes, client(3), "/patient");
        tokio::time::sleep(Duration::from_millis(100)).await;
        (!patient.is_finished()).then_some(patient)
    })
    .await;
    first.abort();
    assert_eq!(patient.await.unwrap().status, StatusCode::OK);
    assert_eq!(paths(&nodes), ["/slow", "/patient"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_its_place_until_it_ends() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (path, more) in [("/stream", ""), ("/socket", "connection: upgrade\r\nupgrade: websocket\r\n")] {
        let nodes = start(1, 1, "queue_timeout = \"1m\"").await;
        let mut stream = tokio::net::TcpStream::connect(nodes.address(NodeId(1))).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: shop.test\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.1 101"), "{answer:?}");
        let waiting = send(&nodes, client(2), "/");
        queued(&nodes, 1).await;
        tokio::time::sleep(A_WHILE).await;
        assert!(!waiting.is_finished(), "{path}");
        drop(stream);
        assert_eq!(waiting.await.unwrap().status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_sessions_begin_where_there_is_room() {
    for balance in ["two-choices", "weighted-round-robin"] {
        let nodes = start(1, 2, &format!("balance = \"{balance}\"")).await;
        let number = begin_at(&nodes, "web-1").await;
        nodes.shops[0].hold();
        let busy = send(&nodes, client(number), "/slow");
        nodes.shops[0].holds(1).await;
        for new in 1000..1020 {
            assert_eq!(visit(&nodes, 1, new).await.backend(), "web-2", "{balance}");
        }
        assert_eq!(counted(&nodes, 1, |counters| &counters.queued), 0);
        nodes.shops[0].release();
        busy.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_wait_for_a_backend_that_goes_down_move_at_once() {
    let nodes = start(3, 2, "queue_timeout = \"1m\"").await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].hold();
    let busy = send(&nodes, client(number), "/slow");
    nodes.shops[0].holds(1).await;
    let waiting = send(&nodes, client(number), "/");
    queued(&nodes, 1).await;
    nodes.shops[0].set_health(StatusCode::SERVICE_UNAVAILABLE, false);
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    let moved = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!((moved.status, moved.backend()), (StatusCode::OK, "web-2".to_owned()));
    assert!(!busy.is_finished());
    nodes.shops[0].release();
    busy.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ended_while_its_request_waited_is_looked_at_again() {
    let nodes = start(1, 1, "queue_timeout = \"1m\"").await;
    let before = visit(&nodes, 1, 7).await;
    nodes.shops[0].hold();
    let busy = send(&nodes, client(1), "/slow");
    nodes.shops[0].holds(1).await;
    let waiting = send(&nodes, client(7), "/");
    queued(&nodes, 1).await;
    let cluster = nodes.cluster(NodeId(1));
    let mut found = None;
    cluster.view().table.visit(|session, record| {
        if let Record::Binding(binding) = record
            && binding.epoch.0 == epoch(&before)
            && binding.cause == Cause::Placed
        {
            found = Some(Unbind { session: *session, epoch: binding.epoch });
        }
        true
    });
    cluster.propose(Command::Unbind(found.unwrap()), SOON, Persistence::Retry).await.unwrap();
    nodes.shops[0].release();
    busy.await.unwrap();
    let after = waiting.await.unwrap();
    assert_eq!(after.status, StatusCode::OK);
    assert!(epoch(&after) > epoch(&before), "by a session that there is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_for_those_that_waited_since_before_its_backend_was_in_the_document() {
    let pool = "queue_timeout = \"1m\"";
    let nodes = start(1, 1, pool).await;
    let (old, new) = (&nodes.shops[0], Shop::start("web-2").await);
    old.hold();
    new.hold();
    let busy = send(&nodes, Browser::default(), "/slow");
    old.holds(1).await;
    let mut waiting = Vec::new();
    for count in 1..=3 {
        waiting.push(send(&nodes, Browser::default(), "/slow"));
        queued(&nodes, count).await;
    }
    nodes.apply(&document(&[old.address, new.address], pool)).await;
    until_all_see(&nodes, "web-2", "it is up", |web_2| web_2.health.is_up()).await;
    old.set_health(StatusCode::SERVICE_UNAVAILABLE, false);
    new.holds(1).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(new.seen().len(), 1, "one at a time");
    old.release();
    new.release();
    for reply in waiting {
        assert_eq!(reply.await.unwrap().status, StatusCode::OK);
    }
    busy.await.unwrap();
}
