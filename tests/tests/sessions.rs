//! Promises about sessions, over HTTP through whole nodes.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use stickler_core::ids::NodeId;
use stickler_core::state::Admin;
use stickler_tests::browser::Browser;
use stickler_tests::documents::{self, APPLICATION_COOKIE, HEADER, OWN_COOKIE, SOURCE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

async fn three_nodes(methods: &[&str]) -> TestNodes {
    log::start();
    TestNodes::start(3, 3, |shops| documents::text(shops, methods)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_the_applications_cookie_stays_on_its_backend_through_every_node() {
    let nodes = three_nodes(&[APPLICATION_COOKIE]).await;
    for _ in 0..10 {
        let mut browser = Browser::default();
        let mut backends = BTreeSet::new();
        for visit in 1..=6 {
            let node = nodes.addresses()[visit % 3];
            let reply = browser.get(node, "/").await.unwrap();
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            assert!(reply.body.ends_with(&format!(" {visit}")), "the cart is complete: {reply:?}");
            backends.insert(reply.backend());
        }
        assert_eq!(backends.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_sticklers_cookie_stays_on_its_backend_through_every_node() {
    let nodes = three_nodes(&[OWN_COOKIE]).await;
    for _ in 0..10 {
        let mut browser = Browser::with_header("x-no-cookie", "1");
        let first = browser.get(nodes.addresses()[0], "/").await.unwrap();
        assert!(browser.cookies.contains_key("STICKLER"), "{first:?}");
        for visit in 1..=6 {
            let reply = browser.get(nodes.addresses()[visit % 3], "/").await.unwrap();
            assert_eq!(reply.backend(), first.backend(), "{reply:?}");
            assert!(!reply.headers.contains_key("set-cookie"), "sent only when it changes: {reply:?}");
        }
    }
    let leaked =
        nodes.shops.iter().flat_map(|shop| shop.seen()).any(|seen| seen.headers.contains_key("cookie"));
    assert!(!leaked, "the backend does not see Stickler's cookie");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_by_header_and_by_source_address_stay_on_their_backend() {
    let nodes = three_nodes(&[HEADER, SOURCE]).await;
    for key in 0..10 {
        let mut client = Browser::with_header("x-session", &format!("api-{key}"));
        let mut backends = BTreeSet::new();
        for node in nodes.addresses() {
            backends.insert(client.get(node, "/").await.unwrap().backend());
        }
        assert_eq!(backends.len(), 1);
    }
    let mut nobody = Browser::default();
    let mut backends = BTreeSet::new();
    for node in nodes.addresses() {
        backends.insert(nobody.get(node, "/").await.unwrap().backend());
    }
    assert_eq!(backends.len(), 1, "by address");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_by_a_parameter_of_the_query_stay_on_their_backend() {
    let nodes = three_nodes(&["method = \"query\"\nname = \"room\""]).await;
    let mut all = BTreeSet::new();
    for room in 0..12 {
        let mut backends = BTreeSet::new();
        for (visit, node) in nodes.addresses().into_iter().enumerate() {
            let mut guest = Browser::default();
            let path = format!("/join?visit={visit}&room=room%20{room}");
            backends.insert(guest.get(node, &path).await.unwrap().backend());
        }
        assert_eq!(backends.len(), 1, "room {room}");
        all.extend(backends);
    }
    assert!(all.len() > 1, "rooms are spread: {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_token_is_renewed_stays_on_the_backend_of_its_claim() {
    let nodes = three_nodes(&["method = \"jwt-claim\"\nclaim = \"sub\""]).await;
    let mut all = BTreeSet::new();
    for user in 0..12 {
        let mut backends = BTreeSet::new();
        for (renewal, node) in nodes.addresses().into_iter().enumerate() {
            let payload = URL_SAFE_NO_PAD.encode(format!("{{\"iat\":{renewal},\"sub\":\"user-{user}\"}}"));
            let token = format!("Bearer e30.{payload}.signature-{renewal}");
            let mut client = Browser::with_header("authorization", &token);
            backends.insert(client.get(node, "/").await.unwrap().backend());
        }
        assert_eq!(backends.len(), 1, "user {user}");
        all.extend(backends);
    }
    assert!(all.len() > 1, "users are spread: {all:?}");
    let mut broken = Browser::with_header("authorization", "Bearer not.a.token");
    assert_eq!(broken.get(nodes.addresses()[0], "/").await.unwrap().status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raced_first_requests_of_one_session_id_through_three_nodes_reach_one_backend() {
    let nodes = three_nodes(&[APPLICATION_COOKIE]).await;
    let mut racing = Vec::new();
    for id in 0..40 {
        for request in 0..12 {
            let node = nodes.addresses()[request % 3];
            racing.push(tokio::spawn(async move {
                let mut client = Browser::with_cookie("SHOPSESSION", &format!("raced-{id}"));
                (id, client.get(node, "/").await.unwrap().backend())
            }));
        }
    }
    let mut owners: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
    for request in racing {
        let (id, backend) = request.await.unwrap();
        owners.entry(id).or_default().insert(backend);
    }
    assert!(owners.values().all(|owners| owners.len() == 1), "{owners:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_changes_the_identifier_keeps_the_backend_and_logout_ends_the_session() {
    let nodes = three_nodes(&[APPLICATION_COOKIE]).await;
    let mut browser = Browser::default();
    let first = browser.get(nodes.addresses()[0], "/").await.unwrap();
    let before = browser.clone();
    let login = browser.get(nodes.addresses()[1], "/login").await.unwrap();
    assert_eq!(login.backend(), first.backend());
    assert_ne!(browser.cookies, before.cookies, "the application gave a new identifier");
    for node in nodes.addresses() {
        assert_eq!(browser.clone().get(node, "/").await.unwrap().backend(), first.backend());
        assert_eq!(
            before.clone().get(node, "/").await.unwrap().backend(),
            first.backend(),
            "the old one follows"
        );
    }
    browser.get(nodes.addresses()[2], "/logout").await.unwrap();
    let (_, cluster) = nodes.running().next().unwrap();
    stickler_tests::cluster::until("the session has ended", || {
        std::future::ready(
            (cluster.view().counts.of_backend(nodes.backend(&first.backend())) == 0).then_some(()),
        )
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identifier_is_not_revealed_when_its_backend_went_to_maint_before_the_commit() {
    let nodes = TestNodes::start(3, 1, |shops| documents::text(shops, &[APPLICATION_COOKIE])).await;
    nodes.shops[0].hold();
    let node = nodes.addresses()[0];
    let waiting = tokio::spawn(async move { Browser::default().get(node, "/slow").await.unwrap() });
    nodes.shops[0].holds(1).await;
    nodes.set_admin("web-1", Admin::Maint).await;
    nodes.shops[0].release();
    let reply = waiting.await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert!(!reply.headers.contains_key("set-cookie"), "held back: {reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_backend_keeps_the_session_that_it_was_creating() {
    let nodes = three_nodes(&[APPLICATION_COOKIE]).await;
    nodes.shops.iter().for_each(stickler_tests::shop::Shop::hold);
    let node = nodes.addresses()[0];
    let waiting = tokio::spawn(async move {
        let mut browser = Browser::default();
        let reply = browser.get(node, "/slow").await.unwrap();
        (browser, reply)
    });
    let holder = futures::future::select_all(nodes.shops.iter().map(|shop| Box::pin(shop.holds(1)))).await.1;
    let name = nodes.shops[holder].name().to_owned();
    nodes.set_admin(&name, Admin::Drain { deadline: None }).await;
    nodes.shops.iter().for_each(stickler_tests::shop::Shop::release);
    let (mut browser, reply) = waiting.await.unwrap();
    assert!(reply.headers.contains_key("set-cookie"), "{reply:?}");
    for node in nodes.addresses() {
        assert_eq!(browser.get(node, "/").await.unwrap().backend(), name);
    }
    for _ in 0..20 {
        let newcomer = Browser::default().get(nodes.addresses()[1], "/").await.unwrap();
        assert_ne!(newcomer.backend(), name, "no new sessions");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_that_fills_before_the_commit_holds_the_identifier_back() {
    let nodes = TestNodes::start(3, 1, |shops| {
        documents::with_settings(shops, &[APPLICATION_COOKIE], "", "max_sessions = 5")
    })
    .await;
    nodes.shops[0].hold();
    let mut racing = Vec::new();
    for request in 0..12 {
        let node = nodes.addresses()[request % 3];
        racing.push(tokio::spawn(async move { Browser::default().get(node, "/slow").await.unwrap() }));
    }
    nodes.shops[0].holds(12).await;
    nodes.shops[0].release();
    let mut revealed = 0;
    for request in racing {
        let reply = request.await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        revealed += usize::from(reply.headers.contains_key("set-cookie"));
    }
    assert_eq!(revealed, 5, "exactly as many as the cap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_dead_backend_move_once_and_those_of_others_stay() {
    let mut nodes = three_nodes(&[HEADER]).await;
    let mut owners = BTreeMap::new();
    for key in 0..60 {
        let mut client = Browser::with_header("x-session", &format!("api-{key}"));
        let reply = client.get(nodes.addresses()[key % 3], "/").await.unwrap();
        owners.insert(key, reply.backend());
    }
    let dead = nodes.shops[0].name().to_owned();
    nodes.shops[0].kill().await;
    let mut moved = BTreeMap::new();
    for key in 0..60 {
        for node in nodes.addresses() {
            let mut client = Browser::with_header("x-session", &format!("api-{key}"));
            let reply = client.get(node, "/").await.unwrap();
            assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
            let owner = moved.entry(key).or_insert_with(|| reply.backend()).clone();
            assert_eq!(owner, reply.backend(), "moved once, for all nodes");
        }
    }
    for (key, owner) in owners {
        assert_eq!(moved[&key] != owner, owner == dead, "only those of the dead backend moved");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_in_maint_has_no_sessions_and_ready_takes_new_ones_again() {
    let nodes = three_nodes(&[HEADER]).await;
    nodes.set_admin("web-2", Admin::Maint).await;
    for key in 0..30 {
        let mut client = Browser::with_header("x-session", &format!("api-{key}"));
        assert_ne!(client.get(nodes.addresses()[key % 3], "/").await.unwrap().backend(), "web-2");
    }
    nodes.set_admin("web-2", Admin::Ready).await;
    let mut backends = BTreeSet::new();
    for key in 30..90 {
        let mut client = Browser::with_header("x-session", &format!("api-{key}"));
        backends.insert(client.get(nodes.addresses()[key % 3], "/").await.unwrap().backend());
    }
    assert!(backends.contains("web-2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_cookie_is_a_new_client() {
    let nodes = three_nodes(&[OWN_COOKIE]).await;
    let mut browser = Browser::default();
    browser.get(nodes.addresses()[0], "/").await.unwrap();
    let mut forged = browser.cookies["STICKLER"].clone().into_bytes();
    forged[80] = if forged[80] == b'A' { b'B' } else { b'A' };
    let mut forger = Browser::with_cookie("STICKLER", std::str::from_utf8(&forged).unwrap());
    let reply = forger.get(nodes.addresses()[1], "/").await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.headers.contains_key("set-cookie"), "a new session: {reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_is_a_cluster_of_one() {
    log::start();
    let mut nodes = TestNodes::start(1, 2, |shops| documents::text(shops, &[HEADER])).await;
    let mut client = Browser::with_header("x-session", "one");
    let first = client.get(nodes.addresses()[0], "/").await.unwrap().backend();
    nodes.stop(NodeId(1)).await;
    nodes.restart(NodeId(1)).await;
    nodes.ready().await;
    assert_eq!(client.get(nodes.addresses()[0], "/").await.unwrap().backend(), first);
}
