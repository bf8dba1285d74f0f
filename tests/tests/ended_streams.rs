//! Streams and WebSockets of a session that an operator has ended or moved: they are closed once the affinity's
//! grace is over, and not before.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_proto::admin::{MoveSessionRequest, Session, ShowSessionRequest, UnbindSessionRequest};
use stickler_rt::Clock;
use stickler_tests::browser::Browser;
use stickler_tests::cluster::SOON;
use stickler_tests::documents::{self, APPLICATION_COOKIE, HEADER, OWN_COOKIE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;
use stickler_tests::shop::COOKIE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GRACE: Duration = Duration::from_secs(1);

/// How long after its time a stream may be closed: open ones are looked at ten times a second.
const SLACK: Duration = Duration::from_millis(300);

const NODE: NodeId = NodeId(2);

async fn three_nodes(methods: &[&str]) -> TestNodes {
    log::start();
    TestNodes::start(3, 2, |shops| documents::with_settings(shops, methods, "alias_grace = \"1s\"", "")).await
}

/// A request whose answer goes on and on.
struct Open {
    stream: TcpStream,
    head: String,
}

impl Open {
    async fn request(node: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(node).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{headers}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Self { stream, head: String::from_utf8(head).unwrap() }
    }

    async fn stream(node: SocketAddr, headers: &str) -> Self {
        let open = Self::request(node, "/stream", headers).await;
        assert!(open.head.starts_with("HTTP/1.1 200 "), "{}", open.head);
        open
    }

    async fn socket(node: SocketAddr, headers: &str) -> Self {
        let upgrade = format!("Connection: upgrade\r\nUpgrade: websocket\r\n{headers}");
        let mut open = Self::request(node, "/socket", &upgrade).await;
        assert!(open.head.starts_with("HTTP/1.1 101 "), "{}", open.head);
        open.stream.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        open.stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"hello");
        open
    }

    /// The value of a cookie that the answer sets.
    fn cookie(&self, name: &str) -> String {
        let start = format!("set-cookie: {name}=");
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&start.to_lowercase()));
        let value =
            line.unwrap_or_else(|| panic!("no cookie {name} in {}", self.head)).split_at(start.len()).1;
        value.split(';').next().unwrap().to_owned()
    }

    /// Waits until it is closed.
    async fn closed(mut self) {
        let mut rest = Vec::new();
        // Broken or ended: both are an end.
        let ended = tokio::time::timeout(SOON, self.stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "it goes on");
    }

    /// It goes on for longer than a stream of an ended session may.
    async fn goes_on(mut self) {
        let mut rest = Vec::new();
        let longest = GRACE * 2 + SLACK * 2;
        let ended = tokio::time::timeout(longest, self.stream.read_to_end(&mut rest)).await;
        assert!(ended.is_err(), "it was closed");
    }
}

async fn show(nodes: &TestNodes, identifier: &str) -> Session {
    let request = ShowSessionRequest {
        affinity: "cart".to_owned(),
        key: String::new(),
        identifier: identifier.to_owned(),
    };
    nodes.admin(NodeId(1)).await.show_session(request).await.unwrap().into_inner()
}

async fn unbind(nodes: &TestNodes, identifier: &str) {
    let Session { affinity, key, epoch, .. } = show(nodes, identifier).await;
    let request = UnbindSessionRequest { affinity, key, expected_epoch: epoch };
    let reply = nodes.admin(NodeId(1)).await.unbind_session(request).await.unwrap().into_inner();
    assert!(reply.receipt.unwrap().reached);
}

/// Everything of a session that ends now is closed when its grace is over: the grace begins between the request and
/// the receipt.
async fn close_in_time(all: impl IntoIterator<Item = Open>, end: impl Future<Output = ()>) {
    let clock = Clock::start();
    end.await;
    let receipt = clock.now().0;
    for open in all {
        open.closed().await;
        let took = clock.now().0;
        assert!(took >= GRACE, "closed after {took:?}");
        assert!(took <= receipt + GRACE + SLACK, "closed after {took:?}, the receipt came after {receipt:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_and_a_websocket_of_an_ended_session_are_closed_after_the_grace_and_others_go_on() {
    let nodes = three_nodes(&[HEADER]).await;
    let node = nodes.address(NODE);
    let stream = Open::stream(node, "X-Session: ends").await;
    let socket = Open::socket(node, "X-Session: ends").await;
    let other = Open::socket(node, "X-Session: stays").await;
    close_in_time([stream, socket], unbind(&nodes, "ends")).await;
    other.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_response_of_a_session_is_closed_after_the_grace_too() {
    for (method, name) in [(APPLICATION_COOKIE, COOKIE), (OWN_COOKIE, "STICKLER")] {
        let nodes = three_nodes(&[method]).await;
        let own = if method == OWN_COOKIE { "X-No-Cookie: 1" } else { "X-Other: 1" };
        let stream = Open::stream(nodes.address(NODE), own).await;
        let socket = Open::socket(nodes.address(NODE), own).await;
        for open in [stream, socket] {
            let cookie = open.cookie(name);
            close_in_time([open], unbind(&nodes, &cookie)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_lives_and_ends_with_its_session_whatever_that_is_called_by_then() {
    let nodes = three_nodes(&[APPLICATION_COOKIE]).await;
    let node = nodes.address(NODE);
    let mut browser = Browser::default();
    browser.get(node, "/").await.unwrap();
    let shown = format!("Cookie: {COOKIE}={}", browser.cookies[COOKIE]);
    let (stays, ends) = (Open::stream(node, &shown).await, Open::socket(node, &shown).await);
    browser.get(node, "/login").await.unwrap();
    // The older name is gone by the end of this, and the session is not.
    stays.goes_on().await;
    close_in_time([ends], unbind(&nodes, &browser.cookies[COOKIE])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_moved_session_is_closed_after_the_grace() {
    let nodes = three_nodes(&[HEADER]).await;
    let stream = Open::stream(nodes.address(NODE), "X-Session: moves").await;
    let Session { affinity, key, epoch, backend_name, .. } = show(&nodes, "moves").await;
    let to = if backend_name == "shop/web-1" { "web-2" } else { "web-1" };
    let to = nodes.backend(to).0;
    let request = MoveSessionRequest { affinity, key, expected_epoch: epoch, to };
    let moving = async {
        nodes.admin(NodeId(1)).await.move_session(request).await.unwrap();
    };
    close_in_time([stream], moving).await;
}
