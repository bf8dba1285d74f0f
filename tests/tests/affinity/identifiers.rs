//! Where an identifier can be.

use std::collections::{BTreeMap, BTreeSet};

use stickler_tests::browser::Browser;

use crate::{backends, get, three_nodes, with};

const IN_PATH: &str =
    "method = \"application-cookie\"\nname = \"SHOPSESSION\"\npath_parameter = \"shopsession\"";
const ROUTED: &str = "method = \"application-cookie\"\nname = \"SHOPSESSION\"\nroute_separator = \".\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_cookies_keeps_its_session_by_the_path() {
    let nodes = three_nodes(&[IN_PATH], "").await;
    for _ in 0..6 {
        let mut browser = Browser::default();
        let first = get(&mut browser, nodes.addresses()[0], "/").await;
        // The application's pages link to themselves with the identifier that it has just set.
        let path = format!("/cart;shopsession={}", browser.cookies["SHOPSESSION"]);
        let mut without_cookies = Browser::with_header("x-no-cookie", "1");
        assert_eq!(backends(&nodes, &mut without_cookies, &path).await, BTreeSet::from([first.backend()]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_nobody_knows_begins_on_the_backend_that_its_identifier_names() {
    let nodes = three_nodes(&[ROUTED], "").await;
    for number in 0..12 {
        let named = format!("web-{}", number % 3 + 1);
        let mut browser = Browser::with_cookie("SHOPSESSION", &format!("s{number}.{named}"));
        assert_eq!(backends(&nodes, &mut browser, "/").await, BTreeSet::from([named]));
    }
    let mut strange = Browser::with_cookie("SHOPSESSION", "abc.nobody");
    assert_eq!(backends(&nodes, &mut strange, "/").await.len(), 1, "a name that no backend has");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_identifier_names_a_dead_backend_begins_on_another() {
    let mut nodes = three_nodes(&[ROUTED], "").await;
    nodes.shops[1].kill().await;
    let mut browser = Browser::with_cookie("SHOPSESSION", "abc.web-2");
    let found = backends(&nodes, &mut browser, "/").await;
    assert!(found.len() == 1 && !found.contains("web-2"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_cuts_the_session_out_of_a_header() {
    let nodes =
        three_nodes(&["method = \"header\"\nname = \"X-Trace\"\npattern = \"sid=([0-9]+)\""], "").await;
    let mut all = BTreeSet::new();
    for session in 0..12 {
        let mut found = BTreeSet::new();
        for (request, node) in nodes.addresses().into_iter().enumerate() {
            let mut client = Browser::with_header("x-trace", &format!("request={request}; sid={session}"));
            found.insert(get(&mut client, node, "/").await.backend());
        }
        assert_eq!(found.len(), 1, "session {session}");
        all.extend(found);
    }
    assert!(all.len() > 1, "sessions are spread: {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_from_a_response_belongs_to_the_backend_that_gave_it() {
    let learned = "method = \"header\"\nname = \"Authorization\"\nbearer = true\nlearn_from_response = \"X-Session-Token\"";
    let nodes = three_nodes(&[learned], "").await;
    let mut owners: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for token in 0..12 {
        let mut guest = Browser::with_header("x-answer-x-session-token", &format!("token-{token}"));
        let reply = get(&mut guest, nodes.addresses()[token % 3], "/").await;
        assert_eq!(reply.headers["x-session-token"], format!("token-{token}"));
        let mut client = Browser::with_header("authorization", &format!("Bearer token-{token}"));
        let found = backends(&nodes, &mut client, "/").await;
        assert_eq!(found, BTreeSet::from([reply.backend()]), "token {token}");
        owners.entry(reply.backend()).or_default().insert(u32::try_from(token).unwrap());
    }
    assert!(owners.len() > 1, "tokens are spread: {owners:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_could_not_be_bound_is_not_given_out() {
    let learned = "method = \"header\"\nname = \"X-Session\"\nlearn_from_response = \"X-Session\"";
    let nodes = three_nodes(&[learned], "max_sessions = 1").await;
    let mut first = with(Browser::with_header("x-answer-x-session", "one"), "x-no-cookie", "1");
    assert!(get(&mut first, nodes.addresses()[0], "/").await.headers.contains_key("x-session"));
    let mut second = with(Browser::with_header("x-answer-x-session", "two"), "x-no-cookie", "1");
    let reply = get(&mut second, nodes.addresses()[1], "/").await;
    assert!(!reply.headers.contains_key("x-session"), "there is room for one session: {reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_an_identifier_goes_by_the_hash_of_its_address_where_that_is_wanted() {
    let nodes = three_nodes(&["method = \"header\"\nname = \"X-Session\""], "otherwise = \"hash\"").await;
    let mut nobody = Browser::with_header("x-no-cookie", "1");
    let mut found = BTreeSet::new();
    for _ in 0..6 {
        found.extend(backends(&nodes, &mut nobody, "/").await);
    }
    assert_eq!(found.len(), 1, "whatever the pool's algorithm: {found:?}");
}
