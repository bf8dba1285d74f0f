//! Limits of sessions: exact caps, what happens when they are reached, rates of new sessions, and heavy keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use stickler_core::ids::NodeId;
use stickler_proto::admin::{ListAffinitiesRequest, ListHeaviestKeysRequest};
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::documents::{self, APPLICATION_COOKIE, HEADER, OWN_COOKIE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

use crate::{backends, get, sessions, sessions_everywhere, three_nodes, with};

fn client(name: &str) -> Browser {
    with(Browser::with_header("x-session", name), "x-no-cookie", "1")
}

fn error(reply: &Reply) -> String {
    let name = reply.headers.get("stickler-error").and_then(|name| name.to_str().ok());
    name.unwrap_or_default().to_owned()
}

/// So many new sessions at once through all nodes; how many were refused, by name.
async fn burst(nodes: &TestNodes, count: usize) -> BTreeMap<String, usize> {
    let addresses = nodes.addresses();
    let mut refused = BTreeMap::new();
    let names: Vec<usize> = (0..count).collect();
    // Not all at one moment: this process has a limit of open files.
    for names in names.chunks(250) {
        let visits = names.iter().map(|name| {
            let node = addresses[name % addresses.len()];
            async move { client(&format!("burst-{name}")).get(node, "/").await.unwrap() }
        });
        for reply in join_all(visits).await {
            if reply.status != StatusCode::OK {
                assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
                assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
                *refused.entry(error(&reply)).or_default() += 1;
            }
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_of_500_on_five_nodes_holds_exactly_through_a_burst() {
    log::start();
    let capped = "max_sessions = 500";
    let document = |shops: &[_]| documents::with_settings(shops, &[HEADER], capped, "");
    let nodes = TestNodes::start(5, 3, document).await;
    let watching = async {
        loop {
            for node in 1..=5 {
                let view = nodes.cluster(NodeId(node)).view().clone();
                assert!(view.counts.of_affinity(view.catalog.affinities[0]) <= 500);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let refused = tokio::select! {
        refused = burst(&nodes, 1500) => refused,
        () = watching => unreachable!(),
    };
    assert_eq!(refused, BTreeMap::from([("affinity-full".to_owned(), 1000)]));
    until("all nodes have applied it", || {
        let all = (1..=5).all(|node| sessions(&nodes, node) == 500);
        std::future::ready(all.then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caps_of_backends_hold_exactly_through_a_burst() {
    log::start();
    let document = |shops: &[_]| documents::with_settings(shops, &[HEADER], "", "max_sessions = 70");
    let nodes = TestNodes::start(3, 3, document).await;
    assert_eq!(burst(&nodes, 500).await, BTreeMap::from([("backends-full".to_owned(), 290)]));
    sessions_everywhere(&nodes, 210).await;
    let view = nodes.cluster(NodeId(1)).view().clone();
    assert!(view.catalog.backends.keys().all(|backend| view.counts.of_backend(*backend) == 70));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_affinity_turns_new_clients_of_every_kind_away_and_keeps_the_old_ones() {
    let nodes = three_nodes(&[OWN_COOKIE], "max_sessions = 1").await;
    let mut first = with(Browser::default(), "x-no-cookie", "1");
    let home = get(&mut first, nodes.addresses()[0], "/").await.backend();
    sessions_everywhere(&nodes, 1).await;
    for node in nodes.addresses() {
        let reply = Browser::default().get(node, "/").await.unwrap();
        assert_eq!(
            (reply.status, error(&reply).as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "affinity-full")
        );
        assert_eq!(get(&mut first, node, "/").await.backend(), home);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_affinity_that_evicts_ends_its_idlest_session_for_a_new_one() {
    let settings = "max_sessions = 3\nwhen_full = \"evict-idlest\"\nidle_timeout = \"2s\"";
    let nodes = three_nodes(&[HEADER], settings).await;
    for name in ["a", "b", "c"] {
        get(&mut client(name), nodes.addresses()[0], "/").await;
    }
    // Used again after an eighth of the time-out: that is reported, and makes `b` the idlest.
    let used = |name: &'static str| {
        let nodes = &nodes;
        async move {
            let view = nodes.cluster(NodeId(1)).view().clone();
            let before = view.time;
            get(&mut client(name), nodes.addresses()[1], "/").await;
            let mut later = false;
            view.table.visit(|_, record| {
                later |= matches!(record, stickler_core::state::Record::Binding(binding) if binding.last_use > before);
                true
            });
            later.then_some(())
        }
    };
    until("the use of a is on record", || used("a")).await;
    get(&mut client("c"), nodes.addresses()[2], "/").await;
    get(&mut client("d"), nodes.addresses()[1], "/").await;
    sessions_everywhere(&nodes, 3).await;
    nodes.know_all().await;
    let mut admin = nodes.admin(NodeId(2)).await;
    let listed = admin.list_affinities(ListAffinitiesRequest {}).await.unwrap().into_inner();
    let cart = &listed.affinities[0];
    assert_eq!((cart.sessions, cart.max_sessions, cart.evicted), (3, Some(3), 1), "{listed:?}");
    assert_eq!(cart.when_full, "evict-idlest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_affinity_that_hashes_sends_an_identifier_to_one_backend_through_every_node() {
    let nodes = three_nodes(&[HEADER], "max_sessions = 2\nwhen_full = \"hash\"").await;
    let mut used = BTreeSet::new();
    for name in 0..2 {
        get(&mut client(&format!("bound-{name}")), nodes.addresses()[0], "/").await;
    }
    sessions_everywhere(&nodes, 2).await;
    for name in 0..20 {
        let found = backends(&nodes, &mut client(&format!("hashed-{name}")), "/").await;
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        used.extend(found);
    }
    assert_eq!(used.len(), 3, "each by itself");
    sessions_everywhere(&nodes, 2).await;
    let headers: Vec<_> = nodes.shops.iter().flat_map(|shop| shop.seen()).map(|seen| seen.headers).collect();
    let without = headers.iter().filter(|headers| !headers.contains_key("stickler-session")).count();
    assert_eq!(without, 60, "what has no session claims none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_affinity_by_stickler_s_cookie_that_hashes_gives_no_cookie() {
    let nodes = three_nodes(&[OWN_COOKIE], "max_sessions = 1\nwhen_full = \"hash\"").await;
    let mut first = with(Browser::default(), "x-no-cookie", "1");
    get(&mut first, nodes.addresses()[0], "/").await;
    sessions_everywhere(&nodes, 1).await;
    let mut second = with(Browser::default(), "x-no-cookie", "1");
    assert_eq!(backends(&nodes, &mut second, "/").await.len(), 1, "by its address");
    assert!(second.cookies.is_empty() && !first.cookies.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_begins_no_more_sessions_than_its_rate_and_keeps_those_it_has() {
    let nodes = three_nodes(&[HEADER], "new_sessions_per_source = \"5/1h\"").await;
    let node = nodes.addresses()[0];
    for name in 0..5 {
        get(&mut client(&name.to_string()), node, "/").await;
    }
    let refused = client("another").get(node, "/").await.unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    assert_eq!(error(&refused), "too-many-new-sessions");
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((600..=720).contains(&wait), "a fifth of an hour: {wait}");
    get(&mut client("3"), node, "/").await;
    get(&mut client("another"), nodes.addresses()[1], "/").await;
    sessions_everywhere(&nodes, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_without_a_record_counts_when_it_comes_back_and_is_good_for_another_try() {
    let on_return = "method = \"cookie\"\nrecord = \"on-return\"";
    let nodes = three_nodes(&[on_return], "new_sessions_per_source = \"2/1h\"").await;
    let node = nodes.addresses()[0];
    let mut guests = Vec::new();
    for _ in 0..3 {
        let mut guest = with(Browser::default(), "x-no-cookie", "1");
        let home = get(&mut guest, node, "/").await.backend();
        guests.push((guest, home));
    }
    for (guest, home) in guests.iter_mut().take(2) {
        assert_eq!(get(guest, node, "/").await.backend(), *home);
    }
    let (third, home) = &mut guests[2];
    let refused = third.get(node, "/").await.unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    assert_eq!(get(third, nodes.addresses()[1], "/").await.backend(), *home, "by another node's rate");
    sessions_everywhere(&nodes, 3).await;
    for (guest, home) in &mut guests {
        assert_eq!(get(guest, node, "/").await.backend(), *home, "who has a record begins nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_s_identifier_beyond_the_rate_is_held_back() {
    let nodes = three_nodes(&[APPLICATION_COOKIE], "new_sessions_per_source = \"2/1h\"").await;
    let mut with_cookie = 0;
    for _ in 0..4 {
        let mut browser = Browser::default();
        get(&mut browser, nodes.addresses()[0], "/").await;
        with_cookie += usize::from(browser.cookies.contains_key("SHOPSESSION"));
    }
    assert_eq!(with_cookie, 2);
    sessions_everywhere(&nodes, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heaviest_keys_of_an_affinity_are_listed() {
    let nodes = three_nodes(&[HEADER], "").await;
    let node = nodes.addresses()[0];
    for visit in 0..40 {
        get(&mut client("heavy"), node, "/").await;
        get(&mut client(&format!("light-{visit}")), node, "/").await;
    }
    let heavy = nodes.shops.iter().flat_map(|shop| shop.seen());
    let heavy = heavy.filter(|seen| seen.headers.get("x-session").is_some_and(|name| name == "heavy"));
    let key = heavy.last().unwrap().headers["stickler-session"].to_str().unwrap().to_owned();
    let listed = until("the requests are counted", || async {
        let request = ListHeaviestKeysRequest { affinity: "cart".to_owned(), limit: 3 };
        let listed = nodes.admin(NodeId(1)).await.list_heaviest_keys(request).await.unwrap().into_inner();
        (listed.requests == 80).then_some(listed)
    })
    .await;
    assert_eq!(listed.keys.len(), 3);
    assert_eq!((&listed.keys[0].key, listed.keys[0].requests, listed.keys[0].uncertain), (&key, 40, 0));
    assert!(listed.keys[0].backend_name.starts_with("shop/web-"), "{listed:?}");
    assert_eq!(listed.keys[1].requests, 1);
}
