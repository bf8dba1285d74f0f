//! What docs/fencing.md says that requests carry, on whole nodes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use stickler_core::ids::NodeId;
use stickler_tests::browser::Browser;
use stickler_tests::documents::{self, APPLICATION_COOKIE, HEADER, OWN_COOKIE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

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
