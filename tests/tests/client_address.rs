//! Promises about the client's address behind other proxies, over HTTP through whole nodes. Whoever connects
//! comes from 127.0.0.1; where that is a trusted proxy, the clients are those that it names.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use http::StatusCode;
use stickler_core::ids::NodeId;
use stickler_raft::Cluster;
use stickler_tests::browser::{Browser, KeptConnection, Reply};
use stickler_tests::cluster::until;
use stickler_tests::documents::{self, HEADER, SOURCE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BY_X_FORWARDED_FOR: &str =
    "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nclient_address = \"x-forwarded-for\"";
const BY_FORWARDED: &str =
    "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nclient_address = \"forwarded\"";
const BY_PROXY_PROTOCOL: &str = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true";
/// Nobody of this machine is trusted.
const OTHERS_TRUSTED: &str = "trusted_proxies = [\"192.0.2.0/24\"]\nclient_address = \"x-forwarded-for\"";

async fn nodes(size: u64, listener: &str) -> TestNodes {
    log::start();
    TestNodes::start(size, 3, |shops| documents::with_listener(shops, &[SOURCE], listener)).await
}

/// A visit, as its backend saw it.
#[derive(Debug, PartialEq, Eq)]
struct Visit {
    /// The handle of its session.
    session: String,
    x_forwarded_for: String,
    forwarded: Option<String>,
}

impl Visit {
    /// The visit that was just answered. Nothing else may be under way.
    fn answered(nodes: &TestNodes, reply: &Reply) -> Self {
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let shop = nodes.shops.iter().find(|shop| shop.name() == reply.backend()).unwrap();
        let headers = shop.seen().pop().expect("it answered").headers;
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            session: text("stickler-session").expect("it has a session"),
            x_forwarded_for: text("x-forwarded-for").expect("Stickler adds to it"),
            forwarded: text("forwarded"),
        }
    }

    async fn of(nodes: &TestNodes, node: SocketAddr, mut client: Browser) -> Self {
        Self::answered(nodes, &client.get(node, "/").await.unwrap())
    }
}

/// Applies the document again with these lines for the listener, and waits until all nodes know.
async fn change(nodes: &TestNodes, listener: &str) {
    let revision = |cluster: &Cluster| cluster.view().catalog.revision;
    let before = nodes.running().map(|(_, cluster)| revision(cluster)).max();
    let shops: Vec<SocketAddr> = nodes.shops.iter().map(|shop| shop.address).collect();
    nodes.apply(&documents::with_listener(&shops, &[SOURCE], listener)).await;
    until("all nodes know the document", || {
        let known = nodes.running().all(|(_, cluster)| Some(revision(cluster)) > before);
        std::future::ready(known.then_some(()))
    })
    .await;
}

/// Two clients that one proxy speaks for have a session each, through every node.
async fn two_clients_stay_apart(nodes: &TestNodes, client: impl Fn(&str) -> Browser, told: [&str; 2]) {
    let mut sessions = BTreeSet::new();
    for (name, told) in ["192.0.2.1", "192.0.2.2"].into_iter().zip(told) {
        let mut own = BTreeSet::new();
        for node in nodes.addresses() {
            let visit = Visit::of(nodes, node, client(name)).await;
            assert_eq!(visit.x_forwarded_for, told);
            own.insert(visit.session);
        }
        assert_eq!(own.len(), 1, "{name} has one session through every node");
        sessions.extend(own);
    }
    assert_eq!(sessions.len(), 2, "and nobody else has it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_a_trusted_proxy_have_sessions_of_their_own_by_x_forwarded_for() {
    let nodes = nodes(3, BY_X_FORWARDED_FOR).await;
    // What the client says itself stands in front, and a second proxy of ours behind.
    let client = |name: &str| {
        let mut client = Browser::with_header("x-forwarded-for", &format!("198.51.100.9, {name}"));
        client.headers.push(("x-forwarded-for".to_owned(), "10.0.0.3:4711".to_owned()));
        client.headers.push(("forwarded".to_owned(), "for=198.51.100.9".to_owned()));
        client
    };
    let told = |name| format!("198.51.100.9, {name}, 10.0.0.3:4711, 127.0.0.1");
    two_clients_stay_apart(&nodes, client, [&told("192.0.2.1"), &told("192.0.2.2")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_a_trusted_proxy_have_sessions_of_their_own_by_forwarded() {
    let nodes = nodes(3, BY_FORWARDED).await;
    let client = |name: &str| {
        let elements = format!("for=\", for=\"{name}:80\";proto=https, for=10.0.0.3;by=\"[2001:db8::1]\"");
        Browser::with_header("forwarded", &elements)
    };
    two_clients_stay_apart(&nodes, client, ["127.0.0.1"; 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_a_trusted_proxy_have_sessions_of_their_own_by_the_proxy_protocol() {
    let nodes = nodes(3, BY_PROXY_PROTOCOL).await;
    let version_1 = |name: &str| {
        let line = format!("PROXY TCP4 {name} 198.51.100.1 4711 80\r\n");
        // The client itself is not trusted, so that what it says changes nothing.
        Browser {
            headers: vec![("x-forwarded-for".to_owned(), "198.51.100.9".to_owned())],
            ..Browser::with_greeting(line.as_bytes())
        }
    };
    two_clients_stay_apart(&nodes, version_1, ["192.0.2.1", "192.0.2.2"]).await;
    let version_2 = |name: &str| {
        let IpAddr::V4(address) = name.parse().unwrap() else { panic!("an IPv4 address") };
        let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        let greeting = [&fixed[..], &address.octets(), &[198, 51, 100, 1, 0x12, 0x67, 0, 80]].concat();
        Browser::with_greeting(&greeting)
    };
    two_clients_stay_apart(&nodes, version_2, ["192.0.2.1", "192.0.2.2"]).await;
    let in_words = Visit::of(&nodes, nodes.addresses()[0], version_1("192.0.2.1")).await;
    let in_bytes = Visit::of(&nodes, nodes.addresses()[1], version_2("192.0.2.1")).await;
    assert_eq!(in_words, in_bytes, "one client, whichever version names it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_that_is_not_trusted_says_of_addresses_changes_nothing() {
    let nodes = nodes(1, OTHERS_TRUSTED).await;
    let node = nodes.addresses()[0];
    let honest = Visit::of(&nodes, node, Browser::default()).await;
    assert_eq!((honest.x_forwarded_for.as_str(), &honest.forwarded), ("127.0.0.1", &None));
    for said in ["198.51.100.9", "198.51.100.9, 192.0.2.1", "unknown"] {
        let mut forger = Browser::with_header("x-forwarded-for", said);
        forger.headers.push(("x-forwarded-for".to_owned(), "198.51.100.10".to_owned()));
        forger.headers.push(("forwarded".to_owned(), "for=198.51.100.9".to_owned()));
        assert_eq!(
            Visit::of(&nodes, node, forger).await,
            honest,
            "neither node nor backend is fooled: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_proxy_is_trusted_the_connection_counts_and_headers_pass_as_they_did() {
    let nodes = nodes(1, "").await;
    let node = nodes.addresses()[0];
    let plain = Visit::of(&nodes, node, Browser::default()).await;
    let mut client = Browser::with_header("x-forwarded-for", "198.51.100.9");
    client.headers.push(("forwarded".to_owned(), "for=198.51.100.9".to_owned()));
    let other = Visit::of(&nodes, node, client).await;
    assert_eq!(other.session, plain.session);
    assert_eq!(other.x_forwarded_for, "198.51.100.9, 127.0.0.1");
    assert_eq!(other.forwarded.as_deref(), Some("for=198.51.100.9"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_an_identifier_are_spread_by_their_own_addresses() {
    log::start();
    let nodes = TestNodes::start(1, 3, |shops| {
        let text = documents::with_settings(shops, &[HEADER], "otherwise = \"hash\"", "");
        text.replacen("[[pool]]", &format!("{BY_X_FORWARDED_FOR}\n[[pool]]"), 1).replacen(
            "[pool.check]",
            "balance = \"rendezvous\"\n[pool.check]",
            1,
        )
    })
    .await;
    let mut all = BTreeSet::new();
    for client in 0..24 {
        let mut backends = BTreeSet::new();
        for _ in 0..3 {
            let mut browser = Browser::with_header("x-forwarded-for", &format!("192.0.2.{client}"));
            browser.headers.push(("x-no-cookie".to_owned(), "1".to_owned()));
            backends.insert(browser.get(nodes.addresses()[0], "/").await.unwrap().backend());
        }
        assert_eq!(backends.len(), 1, "one address, one backend");
        all.extend(backends);
    }
    assert!(all.len() > 1, "they are not all taken for the proxy: {all:?}");
}

/// What comes back for these bytes before the node closes the connection.
async fn answer_to(node: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // It may be reset, since what was sent is not read.
    let _closed = stream.read_to_end(&mut answer).await;
    answer
}

const GET: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_proxy_header_of_a_trusted_proxy_is_closed_without_an_answer() {
    let nodes = nodes(1, BY_PROXY_PROTOCOL).await;
    let node = nodes.addresses()[0];
    let refused = || nodes.node(NodeId(1)).proxy().counters().refused_connections.load(Ordering::Relaxed);
    let before = refused();
    assert_eq!(answer_to(node, GET.as_bytes()).await, b"", "without a header");
    assert_eq!(answer_to(node, format!("PROXY TCP4 x\r\n{GET}").as_bytes()).await, b"", "with a broken one");
    let good = answer_to(node, format!("{LINE}{GET}").as_bytes()).await;
    assert!(good.starts_with(b"HTTP/1.1 200 "), "with a good one: {}", String::from_utf8_lossy(&good));
    assert_eq!(refused() - before, 2);
    change(&nodes, "trusted_proxies = [\"192.0.2.0/24\"]\nproxy_protocol = true").await;
    let strange = answer_to(node, format!("{LINE}{GET}").as_bytes()).await;
    assert_eq!(strange, b"", "with a good one of somebody who is not trusted");
    assert_eq!(refused() - before, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_document_holds_for_the_next_request_and_the_next_connection() {
    let nodes = nodes(1, OTHERS_TRUSTED).await;
    let node = nodes.addresses()[0];
    let mut kept = KeptConnection::open(node).await.unwrap();
    let mut ask = async || {
        let reply = kept.get("x-forwarded-for", "198.51.100.9").await.unwrap();
        Visit::answered(&nodes, &reply).session
    };
    let before = ask().await;
    change(&nodes, BY_X_FORWARDED_FOR).await;
    let trusted = ask().await;
    assert_ne!(trusted, before, "the proxy at the other end of the open connection is trusted now");
    change(&nodes, BY_PROXY_PROTOCOL).await;
    let answer = answer_to(node, format!("{LINE}{GET}").as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(ask().await, before, "a connection that has begun goes on by its own address");
}
