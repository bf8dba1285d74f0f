//! Affinities that only observe, and affinities on their way out.

use std::collections::BTreeSet;

use stickler_core::ids::NodeId;
use stickler_tests::browser::Browser;
use stickler_tests::documents::{self, APPLICATION_COOKIE, HEADER, OWN_COOKIE};

use crate::{get, sessions, sessions_everywhere, three_nodes, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observing_affinity_changes_nothing_and_counts_what_would_have_gone_elsewhere() {
    let nodes = three_nodes(&[HEADER], "mode = \"observe\"").await;
    let node = nodes.addresses()[0];
    let mut seen = BTreeSet::new();
    let mut client = with(Browser::with_header("x-session", "a"), "x-no-cookie", "1");
    get(&mut client, node, "/").await;
    sessions_everywhere(&nodes, 1).await;
    for _ in 0..60 {
        seen.insert(get(&mut client, node, "/").await.backend());
    }
    assert_eq!(seen.len(), 3, "it is balanced as if there were no session");
    let catalog = nodes.cluster(NodeId(1)).view().catalog.clone();
    let observed = nodes.node(NodeId(1)).proxy().observed().of(catalog.affinities[0]);
    assert_eq!(observed.requests, 60);
    assert!((20..=58).contains(&observed.elsewhere), "two thirds or so: {observed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observing_affinity_records_sessions_of_every_kind() {
    let nodes = three_nodes(&[APPLICATION_COOKIE, OWN_COOKIE], "mode = \"observe\"").await;
    let mut browser = Browser::default();
    let reply = get(&mut browser, nodes.addresses()[0], "/").await;
    assert!(browser.cookies.contains_key("SHOPSESSION"), "{reply:?}");
    sessions_everywhere(&nodes, 1).await;
    let mut guest = Browser::with_header("x-no-cookie", "1");
    get(&mut guest, nodes.addresses()[0], "/").await;
    get(&mut guest, nodes.addresses()[1], "/").await;
    sessions_everywhere(&nodes, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retiring_affinity_keeps_the_sessions_it_has_and_begins_none() {
    let nodes = three_nodes(&[APPLICATION_COOKIE], "").await;
    let mut old = Browser::default();
    let first = get(&mut old, nodes.addresses()[0], "/").await;
    let shops: Vec<_> = nodes.shops.iter().map(|shop| shop.address).collect();
    nodes.apply(&documents::with_settings(&shops, &[APPLICATION_COOKIE], "mode = \"retire\"", "")).await;
    nodes.ready().await;
    for _ in 0..6 {
        let mut new = Browser::default();
        get(&mut new, nodes.addresses()[1], "/").await;
        assert!(new.cookies.contains_key("SHOPSESSION"), "its application goes on as before");
    }
    for node in nodes.addresses() {
        assert_eq!(get(&mut old, node, "/").await.backend(), first.backend());
    }
    assert_eq!(sessions(&nodes, 1), 1);
    get(&mut old, nodes.addresses()[0], "/login").await;
    for node in nodes.addresses() {
        assert_eq!(
            get(&mut old, node, "/").await.backend(),
            first.backend(),
            "also when its identifier changes"
        );
    }
}
