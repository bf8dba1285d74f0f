//! What docs/fencing.md says that requests carry, on whole nodes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use stickler_core::ids::NodeId;
use stickler_proto::admin::{ShowSessionRequest, UnbindSessionRequest};
use stickler_tests::browser::Browser;
use stickler_tests::documents::{self, APPLICATION_COOKIE, HEADER, OWN_COOKIE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PAGE: &str = include_str!("../../docs/fencing.md");
const HANDLE: &str = "stickler-session";
const EPOCH: &str = "stickler-epoch";

/// What a shop was told of a request.
type Told = (Option<String>, Option<u64>);

async fn one_node(method: &str) -> TestNodes {
    log::start();
    TestNodes::start(1, 1, |shops| documents::with_settings(shops, &[method], "ignore = [\"/static\"]", ""))
        .await
}

/// Visits the shop, and says what it was told.
async fn visit(nodes: &TestNodes, browser: &mut Browser, path: &str) -> Told {
    browser.get(nodes.address(NodeId(1)), path).await.unwrap();
    told(nodes, path)
}

/// What the shop was told by the head of the last request.
fn told(nodes: &TestNodes, path: &str) -> Told {
    let seen = nodes.shops[0].seen().pop().unwrap();
    assert_eq!(seen.path, path);
    let said = |name: &str| {
        let values: Vec<_> = seen.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        assert!(values.len() <= 1, "{name} was said more than once: {values:?}");
        values.first().map(|value| (*value).to_owned())
    };
    let handle = said(HANDLE);
    if let Some(handle) = &handle {
        assert!(handle.len() == 32 && handle.bytes().all(|byte| byte.is_ascii_hexdigit()), "{handle}");
    }
    (handle, said(EPOCH).map(|epoch| epoch.parse().unwrap()))
}

/// A client that would like to be another session, by a higher epoch.
fn forger() -> Browser {
    let forged = [(HANDLE, "0123456789abcdef0123456789abcdef"), (EPOCH, "18446744073709551615")];
    let headers = forged.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Browser { headers, ..Browser::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_session_carries_handle_and_epoch_and_no_client_can_set_them() {
    assert!(PAGE.contains(&format!("| `{HANDLE}` |")) && PAGE.contains(&format!("| `{EPOCH}` |")));
    let nodes = one_node(HEADER).await;
    let mut forger = forger();
    // Without a session, and on a path that needs none: nothing, whatever the client says.
    assert_eq!(visit(&nodes, &mut forger, "/").await, (None, None));
    forger.headers.push(("x-session".to_owned(), "mine".to_owned()));
    assert_eq!(visit(&nodes, &mut forger, "/static").await, (None, None));
    let first = visit(&nodes, &mut forger, "/").await;
    let mut honest = Browser::with_header("x-session", "mine");
    assert_eq!(visit(&nodes, &mut honest, "/").await, first);
    assert!(first.0.is_some() && first.1.is_some_and(|epoch| epoch > 0 && epoch < u64::MAX), "{first:?}");
    let other = visit(&nodes, &mut Browser::with_header("x-session", "other"), "/").await;
    assert!(other.0 != first.0 && other.1 > first.1, "{other:?} after {first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_sticklers_cookie_begins_with_its_handle_and_no_epoch() {
    let nodes = one_node(OWN_COOKIE).await;
    let mut browser = forger();
    let first = visit(&nodes, &mut browser, "/").await;
    assert!(first.0.is_some() && first.1.is_none(), "{first:?}");
    let second = visit(&nodes, &mut browser, "/").await;
    assert_eq!(second.0, first.0);
    assert!(second.1.is_some(), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_the_applications_cookie_begins_with_neither_and_a_new_cookie_has_a_higher_epoch() {
    let nodes = one_node(APPLICATION_COOKIE).await;
    let mut browser = forger();
    assert_eq!(visit(&nodes, &mut browser, "/").await, (None, None));
    let known = visit(&nodes, &mut browser, "/").await;
    assert!(known.0.is_some() && known.1.is_some(), "{known:?}");
    // The login itself still comes by the old identifier, and its answer has the new one.
    assert_eq!(visit(&nodes, &mut browser, "/login").await, known);
    let renamed = visit(&nodes, &mut browser, "/").await;
    assert!(renamed.0 != known.0 && renamed.1 > known.1, "{renamed:?} after {known:?}");
}

/// Opens a WebSocket as somebody who would like to be another session: handle and epoch are forged.
async fn open_socket(nodes: &TestNodes, headers: &str) -> (TcpStream, Told) {
    let mut stream = TcpStream::connect(nodes.address(NodeId(1))).await.unwrap();
    let request = format!(
        "GET /socket HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\n\
         Connection: upgrade\r\n{HANDLE}: 0123456789abcdef0123456789abcdef\r\n\
         {EPOCH}: 18446744073709551615\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    say_hello(&mut stream).await;
    (stream, told(nodes, "/socket"))
}

/// A message to the shop and back.
async fn say_hello(stream: &mut TcpStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}

/// Ends the session with this identifier.
async fn end_session(nodes: &TestNodes, identifier: &str) {
    let mut admin = nodes.admin(NodeId(1)).await;
    let (affinity, identifier) = ("cart".to_owned(), identifier.to_owned());
    let shown = ShowSessionRequest { affinity: affinity.clone(), key: String::new(), identifier };
    let session = admin.show_session(shown).await.unwrap().into_inner();
    let unbind = UnbindSessionRequest { affinity, key: session.key, expected_epoch: session.epoch };
    admin.unbind_session(unbind).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upgrade_of_a_bound_session_carries_handle_and_epoch_which_hold_for_every_message() {
    assert!(PAGE.contains("also the upgrade to a WebSocket | yes | yes |"));
    assert!(PAGE.contains("WebSockets and long streams** have one head"));
    let nodes = one_node(HEADER).await;
    assert_eq!(open_socket(&nodes, "").await.1, (None, None), "without a session");
    let mut browser = Browser::with_header("x-session", "mine");
    let known = visit(&nodes, &mut browser, "/").await;
    let (mut open, head) = open_socket(&nodes, "X-Session: mine\r\n").await;
    assert_eq!(head, known);
    // Named as what the next proxy has to take out, they would be gone if they were taken out after they are set.
    let unnamed = format!("Connection: {HANDLE}, {EPOCH}\r\nX-Session: mine\r\n");
    assert_eq!(open_socket(&nodes, &unnamed).await.1, known);
    // The upgrade may be the session's first request.
    let (_, other) = open_socket(&nodes, "X-Session: other\r\n").await;
    assert_eq!(visit(&nodes, &mut Browser::with_header("x-session", "other"), "/").await, other);
    assert!(other.0.is_some() && other.1 > known.1, "{other:?} after {known:?}");
    // What comes over the open one is still by the epoch of its head, and the session goes on by a higher one: a
    // shop that compares them refuses it.
    end_session(&nodes, "mine").await;
    let anew = visit(&nodes, &mut browser, "/").await;
    say_hello(&mut open).await;
    assert!(anew.0 == head.0 && anew.1 > head.1, "{anew:?} after {head:?}");
}
