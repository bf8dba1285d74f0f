//! Promises about the keys of Stickler's cookie, over HTTP through whole nodes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use stickler_core::document::check_cluster;
use stickler_core::document::cluster::{ClusterDocument, Sealing};
use stickler_core::ids::NodeId;
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::documents::{self, OWN_COOKIE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

const LONG: Duration = Duration::from_secs(3600);

fn text(shops: &[SocketAddr]) -> String {
    documents::text(shops, &[OWN_COOKIE])
}

async fn three_nodes() -> TestNodes {
    log::start();
    TestNodes::start(3, 3, text).await
}

/// The nodes' document, with times that are too short for any but a test.
fn document(nodes: &TestNodes, sealing: Sealing) -> ClusterDocument {
    let shops: Vec<SocketAddr> = nodes.shops.iter().map(|shop| shop.address).collect();
    ClusterDocument { sealing, ..check_cluster("test.toml", &text(&shops)).unwrap() }
}

/// The key that has sealed a browser's cookie: its id stands in front, in the clear.
fn key_of(browser: &Browser) -> u32 {
    let token = URL_SAFE_NO_PAD.decode(&browser.cookies["STICKLER"]).unwrap();
    u32::from_be_bytes(token[1..5].try_into().unwrap())
}

/// Clients of Stickler's cookie, with the backend of each.
async fn clients(nodes: &TestNodes) -> Vec<(Browser, String)> {
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut browser = Browser::with_header("x-no-cookie", "1");
        let reply = browser.get(nodes.addresses()[number % 3], "/").await.unwrap();
        assert!(browser.cookies.contains_key("STICKLER"), "{reply:?}");
        clients.push((browser, reply.backend()));
    }
    clients
}

/// One visit through each node, which must find the session. What came back is returned.
async fn visit(nodes: &TestNodes, browser: &mut Browser, backend: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for node in nodes.addresses() {
        let reply = browser.get(node, "/").await.unwrap();
        assert_eq!((reply.status, reply.backend().as_str()), (StatusCode::OK, backend), "{reply:?}");
        replies.push(reply);
    }
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_survive_rotations_through_every_node_and_get_a_token_of_the_new_key() {
    let nodes = three_nodes().await;
    let mut clients = clients(&nodes).await;
    assert!(clients.iter().all(|(browser, _)| key_of(browser) == 1));
    for (rotation, node) in [1, 2, 3].into_iter().enumerate() {
        let key = nodes.rotate(NodeId(node)).await;
        assert_eq!(usize::try_from(key.0).unwrap(), rotation + 2);
        for (browser, backend) in &mut clients {
            let before = browser.clone();
            let replies = visit(&nodes, browser, backend).await;
            let told: Vec<bool> =
                replies.iter().map(|reply| reply.headers.contains_key("set-cookie")).collect();
            assert_eq!(told, [true, false, false], "told once, with the first answer");
            assert_eq!(key_of(browser), key.0);
            // A second tab still has the old one.
            visit(&nodes, &mut before.clone(), backend).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_survive_a_rotation_in_the_middle_of_their_requests() {
    let nodes = three_nodes().await;
    let visiting = async {
        for _ in 0..6 {
            for (mut browser, backend) in clients(&nodes).await {
                for _ in 0..3 {
                    visit(&nodes, &mut browser, &backend).await;
                }
            }
        }
    };
    let rotating = async {
        for node in [1, 2, 3, 1, 2] {
            nodes.rotate(NodeId(node)).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::join!(visiting, rotating);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_overlap_an_old_token_is_a_new_client_and_never_an_error() {
    let nodes = three_nodes().await;
    nodes.apply_document(document(&nodes, Sealing { rotate_every: LONG, overlap: LONG })).await;
    let clients = clients(&nodes).await;
    let key = nodes.rotate(NodeId(1)).await;
    let mut renewed = Vec::new();
    for (browser, backend) in &clients {
        let mut browser = browser.clone();
        visit(&nodes, &mut browser, backend).await;
        renewed.push((browser, backend.clone()));
    }
    // The overlap of the document that is in force counts, also for a key that was replaced before.
    let short = Sealing { rotate_every: LONG, overlap: Duration::from_millis(1) };
    nodes.apply_document(document(&nodes, short)).await;
    until("the old key is gone from all nodes, although nobody writes", || {
        let one = nodes.running().all(|(_, cluster)| cluster.view().catalog.ring.keys().len() == 1);
        std::future::ready(one.then_some(()))
    })
    .await;
    for (number, (mut browser, _)) in clients.into_iter().enumerate() {
        let reply = browser.get(nodes.addresses()[number % 3], "/").await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        assert!(reply.headers.contains_key("set-cookie"), "a new client: {reply:?}");
        assert_eq!(key_of(&browser), key.0);
        visit(&nodes, &mut browser, &reply.backend()).await;
    }
    for (mut browser, backend) in renewed {
        visit(&nodes, &mut browser, &backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leads_rotates_by_age() {
    let mut nodes = three_nodes().await;
    let clients = clients(&nodes).await;
    let often = Sealing { rotate_every: Duration::from_millis(300), overlap: LONG };
    nodes.apply_document(document(&nodes, often)).await;
    let newest = |nodes: &TestNodes| {
        let newest = |(_, cluster): (NodeId, &stickler_raft::Cluster)| {
            cluster.view().catalog.ring.newest().map_or(0, |key| key.id.0)
        };
        nodes.running().map(newest).min().unwrap()
    };
    until("the leader rotates", || std::future::ready((newest(&nodes) >= 2).then_some(()))).await;
    nodes.stop(nodes.leader().await).await;
    let before = newest(&nodes);
    until("the next leader rotates", || std::future::ready((newest(&nodes) > before).then_some(()))).await;
    for (mut browser, backend) in clients {
        visit(&nodes, &mut browser, &backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_takes_no_token_of_a_newer_key_for_a_forged_one() {
    let mut nodes = three_nodes().await;
    let away = NodeId(3);
    nodes.stop(away).await;
    nodes.rotate(NodeId(1)).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut browser = Browser::with_header("x-no-cookie", "1");
        let reply = browser.get(nodes.address(NodeId(1)), "/").await.unwrap();
        assert_eq!(key_of(&browser), 2);
        clients.push((browser, reply.backend()));
    }
    nodes.cut(away);
    nodes.restart(away).await;
    let address = nodes.address(away);
    until("it listens", || async move { tokio::net::TcpStream::connect(address).await.ok() }).await;
    nodes.heal();
    // It answers as soon as it can, and what it answers is right.
    for (mut browser, backend) in clients {
        let reply = until("an answer of a backend", || {
            let mut browser = browser.clone();
            async move {
                let reply = browser.get(address, "/").await.unwrap();
                (reply.status != StatusCode::SERVICE_UNAVAILABLE).then_some(reply)
            }
        });
        let reply = reply.await;
        assert_eq!((reply.status, reply.backend()), (StatusCode::OK, backend.clone()), "{reply:?}");
        assert!(!reply.headers.contains_key("set-cookie"), "it is no new client: {reply:?}");
        visit(&nodes, &mut browser, &backend).await;
    }
}
