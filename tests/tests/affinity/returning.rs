//! Sessions by Stickler's cookie that are recorded when the client comes back, or once the cluster can be reached.

use std::collections::BTreeSet;

use stickler_core::ids::NodeId;
use stickler_core::lease::Footing;
use stickler_core::state::Admin;
use stickler_tests::browser::Browser;
use stickler_tests::cluster::until;
use stickler_tests::documents::OWN_COOKIE;

use crate::{backends, get, sessions, sessions_everywhere, three_nodes};

const ON_RETURN: &str = "method = \"cookie\"\nrecord = \"on-return\"";

fn guest() -> Browser {
    Browser::with_header("x-no-cookie", "1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_come_back_leave_no_record() {
    let nodes = three_nodes(&[ON_RETURN], "").await;
    for visit in 0..300 {
        let mut crawler = guest();
        get(&mut crawler, nodes.addresses()[visit % 3], "/").await;
        assert!(crawler.cookies.contains_key("STICKLER"));
    }
    assert_eq!((1..=3).map(|node| sessions(&nodes, node)).collect::<Vec<_>>(), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_through_three_nodes_at_once_is_where_it_was() {
    let nodes = three_nodes(&[ON_RETURN], "").await;
    for _ in 0..20 {
        let mut browser = guest();
        let first = get(&mut browser, nodes.addresses()[0], "/").await;
        let returning = nodes.addresses().into_iter().cycle().take(9).map(|node| {
            let mut tab = browser.clone();
            tokio::spawn(async move {
                let backend = get(&mut tab, node, "/").await.backend();
                (backend, tab.cookies)
            })
        });
        let mut cookies = Vec::new();
        for tab in returning.collect::<Vec<_>>() {
            let (backend, cookie) = tab.await.unwrap();
            assert_eq!(backend, first.backend());
            cookies.push(cookie);
        }
        // The first response that it got since has a recorded token; from then on nothing is sent.
        browser.cookies = cookies.pop().unwrap();
        let reply = get(&mut browser, nodes.addresses()[1], "/").await;
        assert_eq!(reply.backend(), first.backend());
        assert!(!reply.headers.contains_key("set-cookie"), "{reply:?}");
    }
    sessions_everywhere(&nodes, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_when_its_backend_is_gone_goes_to_another_and_stays_there() {
    let nodes = three_nodes(&[ON_RETURN], "").await;
    let mut browser = guest();
    let first = get(&mut browser, nodes.addresses()[0], "/").await;
    nodes.set_admin(&first.backend(), Admin::Maint).await;
    let found = backends(&nodes, &mut browser, "/").await;
    assert!(found.len() == 1 && !found.contains(&first.backend()), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_ended_is_not_brought_back_by_its_first_cookie() {
    let nodes = three_nodes(&[ON_RETURN], "end_header = \"X-Session-End\"").await;
    let mut browser = guest();
    get(&mut browser, nodes.addresses()[0], "/").await;
    let old = browser.clone();
    get(&mut browser, nodes.addresses()[0], "/").await;
    sessions_everywhere(&nodes, 1).await;
    browser.headers.push(("x-answer-x-session-end".to_owned(), "1".to_owned()));
    get(&mut browser, nodes.addresses()[0], "/").await;
    sessions_everywhere(&nodes, 0).await;
    let epoch = || nodes.cluster(NodeId(1)).view().epoch;
    let before = epoch();
    let found = backends(&nodes, &mut old.clone(), "/").await;
    assert_eq!(found.len(), 1);
    assert!(epoch() > before, "it is a new session, with an epoch of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_begins_sessions_that_all_nodes_know_later() {
    let nodes = three_nodes(&[OWN_COOKIE], "").await;
    let lonely = NodeId(3);
    nodes.cut(lonely);
    until("the node knows that it is cut off", || async {
        (nodes.cluster(lonely).standing().footing == Footing::Isolated).then_some(())
    })
    .await;
    let mut began = Vec::new();
    for _ in 0..6 {
        let mut browser = guest();
        let first = get(&mut browser, nodes.address(lonely), "/").await;
        assert_eq!(get(&mut browser, nodes.address(lonely), "/").await.backend(), first.backend());
        began.push((browser, first.backend()));
    }
    // The others take it up while the node is still away.
    let (browser, backend) = &mut began[0];
    assert_eq!(get(browser, nodes.address(NodeId(1)), "/").await.backend(), *backend);
    nodes.heal();
    nodes.ready().await;
    for (mut browser, backend) in began {
        assert_eq!(backends(&nodes, &mut browser, "/").await, BTreeSet::from([backend]));
    }
    sessions_everywhere(&nodes, 6).await;
}
