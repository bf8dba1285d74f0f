//! The options of Stickler's own cookie.

use std::time::Duration;

use stickler_tests::browser::{Browser, Reply};

use crate::{backends, get, sessions_everywhere, three_nodes, with};

fn set_cookies(reply: &Reply) -> Vec<&str> {
    reply.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap()).collect()
}

fn guest() -> Browser {
    Browser::with_header("x-no-cookie", "1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cookie_is_written_as_configured() {
    let method = "method = \"cookie\"\nname = \"__Secure-S\"\npath = \"/shop\"\ndomain = \"shop.test\"\nsecure = true\n\
                  http_only = false\nsame_site = \"none\"\nmax_age = \"1h\"\npartitioned = true";
    let nodes = three_nodes(&[method], "").await;
    let reply = get(&mut guest(), nodes.addresses()[0], "/").await;
    let [line] = set_cookies(&reply)[..] else { panic!("one cookie: {reply:?}") };
    let (pair, attributes) = line.split_once("; ").unwrap();
    assert!(pair.starts_with("__Secure-S="), "{line}");
    assert_eq!(attributes, "Path=/shop; Domain=shop.test; Max-Age=3600; Secure; SameSite=None; Partitioned");
    assert_eq!(reply.headers["cache-control"], "private");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_with_an_age_is_sent_again_when_half_of_it_is_over_and_not_before() {
    let nodes = three_nodes(&["method = \"cookie\"\nmax_age = \"10s\""], "").await;
    let mut browser = guest();
    let clock = stickler_rt::Clock::start();
    let began = clock.now();
    let elapsed = || clock.now().since(began);
    let first = get(&mut browser, nodes.addresses()[0], "/").await;
    loop {
        let reply = get(&mut browser, nodes.addresses()[1], "/").await;
        assert_eq!(reply.backend(), first.backend());
        if let [line] = set_cookies(&reply)[..] {
            assert!(line.contains("Max-Age=10"), "{line}");
            assert!(elapsed() > Duration::from_millis(4_900), "{:?}", elapsed());
            break;
        }
        assert!(elapsed() < Duration::from_secs(9), "the cookie would have died");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reply = get(&mut browser, nodes.addresses()[2], "/").await;
    assert!(set_cookies(&reply).is_empty(), "the new one is young: {reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shared_caches_may_keep_carries_no_cookie_and_leaves_no_session() {
    let nodes = three_nodes(&["method = \"cookie\""], "").await;
    let mut browser = with(guest(), "x-answer-cache-control", "public, max-age=60");
    let reply = get(&mut browser, nodes.addresses()[0], "/").await;
    assert!(set_cookies(&reply).is_empty(), "{reply:?}");
    assert_eq!(reply.headers["cache-control"], "public, max-age=60");
    sessions_everywhere(&nodes, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_asked_for_the_cookie_makes_a_response_private() {
    let nodes = three_nodes(&["method = \"cookie\"\non_cacheable = true"], "").await;
    let mut browser = with(guest(), "x-answer-cache-control", "public, max-age=60");
    let reply = get(&mut browser, nodes.addresses()[0], "/").await;
    assert_eq!(set_cookies(&reply).len(), 1, "{reply:?}");
    assert_eq!(reply.headers["cache-control"], "private, max-age=60");
    assert_eq!(backends(&nodes, &mut browser, "/").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strays_quotes_and_a_tossed_cookie_do_not_hide_the_right_one() {
    let nodes = three_nodes(&["method = \"cookie\""], "").await;
    let mut browser = guest();
    let first = get(&mut browser, nodes.addresses()[0], "/").await;
    let token = browser.cookies.remove("STICKLER").unwrap();
    // A neighbour's site has set cookies of the same name for a shorter path: they come first.
    for header in [
        format!("STICKLER=; STICKLER=junk; other=x; STICKLER=\"{token}\""),
        format!("STICKLER={}; STICKLER={token}", "A".repeat(115)),
    ] {
        let mut tossed = with(guest(), "cookie", &header);
        let found = backends(&nodes, &mut tossed, "/").await;
        assert_eq!(found, std::collections::BTreeSet::from([first.backend()]), "{header}");
    }
}
