//! Each policy of an affinity, and what clients see of it.

use std::time::Duration;

use stickler_core::ids::NodeId;
use stickler_rt::Clock;
use stickler_tests::cluster::until;

use super::{begin_at, client, epoch, error, start, until_all_see, visit};

const INSTANCE: &str = "instance_header = \"X-Instance\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_was_started_again_in_place_is_noticed_and_its_sessions_begin_anew_there() {
    let mut nodes = start(3, "", INSTANCE, "").await;
    let number = begin_at(&nodes, "web-1").await;
    let before = visit(&nodes, 2, number).await;
    assert_eq!(before.body, "web-1 2");
    nodes.shops[0].start_again().await;
    until_all_see(&nodes, "web-1", "its new life", |web_1| web_1.health.restarts == 1).await;
    until_all_see(&nodes, "web-1", "what that cost", |web_1| web_1.health.lost >= 1).await;
    let after = visit(&nodes, 3, number).await;
    assert_eq!(after.body, "web-1 1", "it has forgotten the session");
    assert!(epoch(&after) > epoch(&before), "another epoch says so to the backend");
    assert_eq!(epoch(&visit(&nodes, 1, number).await), epoch(&after), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_life_is_noticed_before_the_next_check() {
    let slow = "instance_header = \"X-Instance\"\n";
    let mut nodes = start(3, "", slow, "").await;
    // From here on the checks come too seldom to find anything by themselves.
    let addresses: Vec<_> = nodes.shops.iter().map(|shop| shop.address).collect();
    let text = stickler_tests::documents::with_failover(&addresses, "", slow, "");
    nodes.apply(&text.replace("interval = \"300ms\"", "interval = \"1h\"")).await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].start_again().await;
    visit(&nodes, 2, number).await;
    until_all_see(&nodes, "web-1", "its new life", |web_1| web_1.health.restarts == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_reject_a_session_waits_for_its_backend_and_one_that_it_has_forgotten_is_said_once() {
    let affinity = "when_down = \"reject\"\nunavailable_page = \"<p>One moment</p>\"";
    let mut nodes = start(3, "", INSTANCE, affinity).await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].kill().await;
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    let away = visit(&nodes, 1, number).await;
    assert_eq!(error(&away), (503, "backend-gone"));
    assert_eq!(away.body, "<p>One moment</p>");
    assert_eq!(away.headers["content-type"], "text/html; charset=utf-8");
    nodes.shops[0].start_again().await;
    until_all_see(&nodes, "web-1", "it is up", |web_1| web_1.health.is_up()).await;
    until_all_see(&nodes, "web-1", "its new life", |web_1| web_1.health.restarts == 1).await;
    assert_eq!(error(&visit(&nodes, 2, number).await), (503, "session-lost"));
    let anew = until("the session begins anew", || async {
        Some(visit(&nodes, 3, number).await).filter(|reply| reply.status == 200)
    });
    assert!(anew.await.body.ends_with(" 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redirect_clients_go_elsewhere_until_their_backend_is_back() {
    let affinity = "when_down = \"redirect\"\nredirect_to = \"https://sorry.example/?from={path}\"";
    let mut nodes = start(3, "", "", affinity).await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].kill().await;
    until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
    let away = client(number).get(nodes.address(NodeId(2)), "/a b/c?d=e".replace(' ', "%20").as_str()).await;
    let away = away.unwrap();
    assert_eq!(error(&away), (302, "backend-gone"));
    assert_eq!(away.headers["location"], "https://sorry.example/?from=/a%2520b/c");
    assert_eq!(away.headers["cache-control"], "no-store");
    nodes.shops[0].start_again().await;
    until_all_see(&nodes, "web-1", "it is up", |web_1| web_1.health.is_up()).await;
    assert_eq!(visit(&nodes, 3, number).await.backend(), "web-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_a_request_is_held_until_its_backend_is_back() {
    let mut nodes = start(3, "", "", "when_down = \"wait\"\nwait_timeout = \"1m\"").await;
    let number = begin_at(&nodes, "web-1").await;
    nodes.shops[0].kill().await;
    let address = nodes.address(NodeId(2));
    let waiting = tokio::spawn(async move { client(number).get(address, "/").await.map_err(drop) });
    until("it waits", || std::future::ready((nodes.node(NodeId(2)).proxy().waiting() == 1).then_some(())))
        .await;
    // Longer than a request waits for anything else.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!waiting.is_finished());
    nodes.shops[0].start_again().await;
    let reply = waiting.await.unwrap().unwrap();
    assert_eq!((reply.status.as_u16(), reply.backend()), (200, "web-1".to_owned()));
    assert_eq!(nodes.node(NodeId(2)).proxy().waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_waited_for_so_long_since_it_went_and_then_sessions_move_or_are_refused() {
    for then in ["rebind", "reject"] {
        let affinity = format!("when_down = \"wait\"\nwait_timeout = \"1s\"\nwait_then = \"{then}\"");
        let mut nodes = start(3, "", "", &affinity).await;
        let number = begin_at(&nodes, "web-1").await;
        nodes.shops[0].kill().await;
        let began = Clock::start();
        let reply = visit(&nodes, 2, number).await;
        let waited = began.now().0;
        assert!(waited >= Duration::from_millis(950) && waited < Duration::from_secs(3), "{waited:?}");
        let again = Clock::start();
        let next = visit(&nodes, 3, number).await;
        assert!(again.now().0 < Duration::from_millis(500), "nobody waits anew");
        if then == "rebind" {
            assert_eq!((reply.backend(), next.backend()), ("web-2".to_owned(), "web-2".to_owned()));
        } else {
            assert_eq!([error(&reply), error(&next)], [(503, "backend-gone"); 2]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_flies_back_only_where_its_affinity_says_so_and_its_backend_still_has_it() {
    for (check, affinity, expected) in [
        ("", "", "web-2"),
        ("", "when_back = \"return\"", "web-1"),
        (INSTANCE, "when_back = \"return\"", "web-2"),
    ] {
        let mut nodes = start(3, "", check, affinity).await;
        let number = begin_at(&nodes, "web-1").await;
        nodes.shops[0].kill().await;
        until_all_see(&nodes, "web-1", "it is down", |web_1| web_1.health.is_down()).await;
        assert_eq!(visit(&nodes, 1, number).await.backend(), "web-2");
        nodes.shops[0].start_again().await;
        until_all_see(&nodes, "web-1", "it is up", |web_1| web_1.health.is_up()).await;
        if !check.is_empty() {
            until_all_see(&nodes, "web-1", "its new life", |web_1| web_1.health.restarts == 1).await;
        }
        for node in 1..=3 {
            assert_eq!(visit(&nodes, node, number).await.backend(), expected, "{check} {affinity}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_backend_that_was_removed() {
    for policy in
        ["reject", "wait\"\nwait_then = \"reject", "redirect\"\nredirect_to = \"https://sorry.example"]
    {
        let affinity = format!("when_down = \"{policy}\"");
        let nodes = start(3, "", "", &affinity).await;
        let number = begin_at(&nodes, "web-1").await;
        let text = stickler_tests::documents::with_failover(&[nodes.shops[1].address], "", "", &affinity);
        nodes.apply(&text.replace("web-1", "web-2")).await;
        assert_eq!(error(&visit(&nodes, 2, number).await), (503, "session-lost"), "{policy}");
        let anew = until("the session begins anew", || async {
            Some(visit(&nodes, 3, number).await).filter(|reply| reply.status == 200)
        });
        assert_eq!(anew.await.backend(), "web-2");
    }
}
