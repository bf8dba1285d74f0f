//! How a session ends by its application, and what needs none.

use stickler_tests::browser::Browser;
use stickler_tests::documents::{APPLICATION_COOKIE, HEADER, OWN_COOKIE};

use crate::{backends, get, sessions_everywhere, three_nodes, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_ends_a_session_of_any_kind_by_a_response_header() {
    let nodes = three_nodes(&[HEADER, OWN_COOKIE], "end_header = \"X-Session-End\"").await;
    let by_header = with(Browser::with_header("x-session", "a"), "x-no-cookie", "1");
    let by_cookie = Browser::with_header("x-no-cookie", "1");
    for mut client in [by_header, by_cookie] {
        backends(&nodes, &mut client, "/").await;
        sessions_everywhere(&nodes, 1).await;
        let had_cookie = client.cookies.contains_key("STICKLER");
        let mut leaving = with(client.clone(), "x-answer-x-session-end", "1");
        let reply = get(&mut leaving, nodes.addresses()[1], "/").await;
        assert!(!reply.headers.contains_key("x-session-end"), "it is for Stickler alone: {reply:?}");
        assert!(!leaving.cookies.contains_key("STICKLER"), "the cookie goes with the session: {had_cookie}");
        sessions_everywhere(&nodes, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_response_that_ends_its_session_leaves_no_cookie_and_no_record() {
    let nodes = three_nodes(&[OWN_COOKIE], "end_header = \"X-Session-End\"").await;
    let mut client = with(Browser::with_header("x-no-cookie", "1"), "x-answer-x-session-end", "1");
    get(&mut client, nodes.addresses()[0], "/").await;
    assert!(client.cookies.is_empty());
    sessions_everywhere(&nodes, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_identifier_beside_the_end_of_the_old_session_is_a_new_session() {
    let nodes = three_nodes(&[APPLICATION_COOKIE], "end_header = \"X-Session-End\"").await;
    let mut browser = Browser::default();
    let before = get(&mut browser, nodes.addresses()[0], "/").await;
    let old = browser.cookies.clone();
    let mut leaving = with(browser, "x-answer-x-session-end", "1");
    get(&mut leaving, nodes.addresses()[1], "/login").await;
    assert_ne!(leaving.cookies, old);
    sessions_everywhere(&nodes, 1).await;
    leaving.headers.clear();
    let found = backends(&nodes, &mut leaving, "/").await;
    assert_eq!(found, std::collections::BTreeSet::from([before.backend()]), "it is where it was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_need_no_session_begin_none_and_change_none() {
    let ignore = "ignore = [\"/static\", \"*.css\"]";
    let nodes = three_nodes(&[APPLICATION_COOKIE, OWN_COOKIE], ignore).await;
    for path in ["/static", "/static/a.js", "/x/%73tyle.CSS"] {
        let mut browser = Browser::default();
        let mut seen = std::collections::BTreeSet::new();
        for visit in 0..12 {
            let reply = get(&mut browser, nodes.addresses()[visit % 3], path).await;
            assert!(browser.cookies.is_empty(), "{path} begins no session: {reply:?}");
            seen.insert(reply.backend());
        }
        assert!(seen.len() > 1, "{path} is balanced: {seen:?}");
    }
    sessions_everywhere(&nodes, 0).await;
    let mut browser = Browser::default();
    let cart = get(&mut browser, nodes.addresses()[0], "/staticx").await;
    let kept = browser.cookies.clone();
    for node in nodes.addresses() {
        get(&mut browser, node, "/static/logo").await;
        assert_eq!(browser.cookies, kept, "a backend that does not know the session must not replace it");
    }
    assert_eq!(backends(&nodes, &mut browser, "/").await, std::collections::BTreeSet::from([cart.backend()]));
}
