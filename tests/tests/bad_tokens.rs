//! Whoever shows a token that is not good is a new client: never an error, and never at the backend that the token
//! names because of it. Over HTTP through three whole nodes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use rand::{Rng, RngCore};
use stickler_core::document::check_cluster;
use stickler_core::document::cluster::Method;
use stickler_core::ids::NodeId;
use stickler_proto::admin::{ListSessionsRequest, Session, UnbindSessionRequest};
use stickler_rt::Seed;
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::documents::{self, OWN_COOKIE};
use stickler_tests::log;
use stickler_tests::nodes::TestNodes;

const ON_RETURN: &str = "method = \"cookie\"\nrecord = \"on-return\"";
/// Both ways in which a session by Stickler's cookie can begin.
const RECORDS: [&str; 2] = [OWN_COOKIE, ON_RETURN];

async fn three_nodes(method: &str) -> TestNodes {
    log::start();
    TestNodes::start(3, 3, |shops| documents::text(shops, &[method])).await
}

fn guest() -> Browser {
    Browser::with_header("x-no-cookie", "1")
}

/// A client of Stickler's cookie whose session is bound, with its backend.
async fn client(nodes: &TestNodes) -> (Browser, String) {
    let mut browser = guest();
    let first = browser.get(nodes.addresses()[0], "/").await.unwrap();
    // Where sessions are recorded on return, this is the return.
    let reply = browser.get(nodes.addresses()[1], "/").await.unwrap();
    assert_eq!(reply.backend(), first.backend(), "{reply:?}");
    (browser, reply.backend())
}

fn epoch(reply: &Reply) -> u64 {
    let epoch = reply.headers.get("stickler-epoch").map(|epoch| epoch.to_str().unwrap());
    epoch.and_then(|epoch| epoch.parse().ok()).unwrap_or(0)
}

/// Shows a cookie header, which must make a new client: served, with a token of its own.
async fn is_new(node: SocketAddr, cookie: &str, what: &str) -> (Browser, Reply) {
    let mut browser = guest();
    browser.headers.push(("cookie".to_owned(), cookie.to_owned()));
    let reply = browser.get(node, "/").await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{what}: {reply:?}");
    assert!(reply.headers.contains_key("set-cookie"), "{what} makes a new client: {reply:?}");
    let token = browser.cookies["STICKLER"].clone();
    assert!(!cookie.contains(&token), "{what} is not given back: {reply:?}");
    browser.headers.pop();
    (browser, reply)
}

/// What shows the tokens of one client, again and again, must be spread over the backends as new clients are.
#[derive(Default)]
struct Spread(BTreeMap<String, usize>);

impl Spread {
    fn add(&mut self, reply: &Reply) {
        *self.0.entry(reply.backend()).or_default() += 1;
    }

    fn is_even(&self) {
        let all: usize = self.0.values().sum();
        assert_eq!(self.0.len(), 3, "{:?}", self.0);
        assert!(self.0.values().all(|count| count * 3 < all * 2), "none is preferred: {:?}", self.0);
    }
}

/// The session of a known client is where it was, by the epoch that it had, through every node.
async fn is_known(nodes: &TestNodes, browser: &Browser, backend: &str) {
    for node in nodes.addresses() {
        let reply = browser.clone().get(node, "/").await.unwrap();
        assert_eq!((reply.status, reply.backend().as_str()), (StatusCode::OK, backend), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_any_bit_flipped_makes_a_new_client() {
    for record in RECORDS {
        let nodes = three_nodes(record).await;
        let (victim, backend) = client(&nodes).await;
        let before = epoch(&victim.clone().get(nodes.addresses()[0], "/").await.unwrap());
        let token = URL_SAFE_NO_PAD.decode(&victim.cookies["STICKLER"]).unwrap();
        let mut spread = Spread::default();
        // All bits where each token is a record, one of each byte where it is not.
        let step = if record == OWN_COOKIE { 1 } else { 7 };
        for bit in (0..token.len() * 8).step_by(step) {
            let mut flipped = token.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let cookie = format!("STICKLER={}", URL_SAFE_NO_PAD.encode(&flipped));
            let (_, reply) = is_new(nodes.addresses()[bit % 3], &cookie, &format!("bit {bit} flipped")).await;
            assert!(epoch(&reply) != before, "it has no part in the session: {reply:?}");
            spread.add(&reply);
        }
        spread.is_even();
        is_known(&nodes, &victim, &backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_with_any_character_changed_or_its_end_cut_off_makes_a_new_client() {
    let nodes = three_nodes(OWN_COOKIE).await;
    let (victim, backend) = client(&nodes).await;
    let token = victim.cookies["STICKLER"].clone();
    let mut spread = Spread::default();
    for place in 0..token.len() {
        let other = if token.as_bytes()[place] == b'A' { "B" } else { "A" };
        let changed = format!("{}{other}{}", &token[..place], &token[place + 1..]);
        for (shown, what) in [(changed.as_str(), "changed"), (&token[..place], "cut off")] {
            let cookie = format!("STICKLER={shown}");
            let what = format!("character {place} {what}");
            spread.add(&is_new(nodes.addresses()[place % 3], &cookie, &what).await.1);
        }
    }
    spread.is_even();
    for shown in [format!("{token}A"), format!("{token}="), format!("{token}{token}"), token.to_lowercase()] {
        is_new(nodes.addresses()[0], &format!("STICKLER={shown}"), &shown).await;
    }
    is_known(&nodes, &victim, &backend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_make_a_new_client() {
    let nodes = three_nodes(OWN_COOKIE).await;
    let mut random = Seed::from_number(7).rng();
    let mut spread = Spread::default();
    for number in 0..200 {
        let mut bytes = vec![0; 86];
        random.fill_bytes(&mut bytes);
        if number % 2 == 0 {
            // The right version and the key in use: only the seal is wrong.
            bytes[..5].copy_from_slice(&[1, 0, 0, 0, 1]);
        }
        let cookie = format!("STICKLER={}", URL_SAFE_NO_PAD.encode(&bytes));
        spread.add(&is_new(nodes.addresses()[number % 3], &cookie, "random bytes").await.1);
    }
    for number in 0..100 {
        // Whatever a header may hold, of any length.
        let length = random.random_range(0..300);
        let text: String = (0..length).map(|_| random.random_range(' '..='~')).collect();
        spread.add(&is_new(nodes.addresses()[number % 3], &format!("STICKLER={text}"), &text).await.1);
    }
    spread.is_even();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_cluster_makes_a_new_client() {
    for record in RECORDS {
        let nodes = three_nodes(record).await;
        let other = TestNodes::start(1, 3, |shops| documents::text(shops, &[record])).await;
        let mut spread = Spread::default();
        for number in 0..21 {
            let mut stranger = guest();
            // The same names, the same ids, the same key number: another cluster all the same.
            while stranger.get(other.addresses()[0], "/").await.unwrap().backend() != "web-1" {
                stranger.cookies.clear();
            }
            let cookie = format!("STICKLER={}", stranger.cookies["STICKLER"]);
            spread.add(&is_new(nodes.addresses()[number % 3], &cookie, "another cluster's token").await.1);
        }
        spread.is_even();
    }
}

/// A second affinity on the same nodes, with Stickler's cookie under another name.
fn two_affinities(shops: &[SocketAddr]) -> String {
    let text = documents::text(shops, &[OWN_COOKIE]);
    let other = "\n[[affinity]]\nname = \"other\"\n[[affinity.by]]\nmethod = \"cookie\"\nname = \"OTHER\"\n\
                 [[route]]\nname = \"other\"\npath_prefix = \"/other\"\npool = \"shop\"\naffinity = \"other\"\n";
    format!("{text}{other}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_affinity_of_the_same_cluster_makes_a_new_client() {
    log::start();
    let nodes = TestNodes::start(3, 3, two_affinities).await;
    let mut spread = Spread::default();
    for number in 0..21 {
        let mut elsewhere = guest();
        while elsewhere.get(nodes.addresses()[number % 3], "/other").await.unwrap().backend() != "web-2" {
            elsewhere.cookies.clear();
        }
        let cookie = format!("STICKLER={}", elsewhere.cookies["OTHER"]);
        spread.add(&is_new(nodes.addresses()[number % 3], &cookie, "another affinity's token").await.1);
        let again = elsewhere.get(nodes.addresses()[(number + 1) % 3], "/other").await.unwrap();
        assert_eq!(again.backend(), "web-2", "it is good where it comes from");
    }
    spread.is_even();
}

/// The only session, as soon as the first node knows it.
async fn only_session(nodes: &TestNodes) -> Session {
    let admin = nodes.admin(NodeId(1)).await;
    let request = ListSessionsRequest { affinity: "cart".to_owned(), ..ListSessionsRequest::default() };
    until("there is a session", || {
        let (mut admin, request) = (admin.clone(), request.clone());
        async move {
            let mut chunks = admin.list_sessions(request).await.unwrap().into_inner();
            let mut listed = Vec::new();
            while let Some(chunk) = chunks.message().await.unwrap() {
                listed.extend(chunk.sessions);
            }
            assert!(listed.len() <= 1, "{listed:?}");
            listed.pop()
        }
    })
    .await
}

async fn unbind(nodes: &TestNodes, session: &Session) {
    let Session { affinity, key, epoch, .. } = session.clone();
    let request = UnbindSessionRequest { affinity, key, expected_epoch: epoch };
    nodes.admin(NodeId(2)).await.unbind_session(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_session_that_an_operator_has_ended_are_good_for_nothing() {
    for record in RECORDS {
        let nodes = three_nodes(record).await;
        let mut spread = Spread::default();
        for number in 0..9 {
            let mut browser = guest();
            browser.get(nodes.addresses()[0], "/").await.unwrap();
            let first = browser.cookies["STICKLER"].clone();
            browser.get(nodes.addresses()[1], "/").await.unwrap();
            let last = browser.cookies["STICKLER"].clone();
            let session = only_session(&nodes).await;
            unbind(&nodes, &session).await;
            // Both tokens that it has had, replayed through the nodes.
            for (turn, token) in [&first, &last].into_iter().enumerate() {
                let node = nodes.addresses()[(number + turn) % 3];
                let (mut new, reply) = is_new(node, &format!("STICKLER={token}"), "an ended session").await;
                assert_ne!(epoch(&reply), session.epoch, "{reply:?}");
                spread.add(&reply);
                // Where sessions are recorded on return, this is the return.
                assert_eq!(new.get(node, "/").await.unwrap().backend(), reply.backend());
                unbind(&nodes, &only_session(&nodes).await).await;
            }
        }
        spread.is_even();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_without_a_record_is_good_for_nothing_once_its_return_window_is_over() {
    const WINDOW: Duration = Duration::from_millis(500);
    let nodes = three_nodes(ON_RETURN).await;
    let shops: Vec<SocketAddr> = nodes.shops.iter().map(|shop| shop.address).collect();
    let mut document = check_cluster("test.toml", &documents::text(&shops, &[ON_RETURN])).unwrap();
    let Method::Cookie(cookie) = &mut document.affinities[0].methods[0] else { panic!("{document:?}") };
    cookie.return_window = WINDOW;
    nodes.apply_document(document).await;
    let mut late = Vec::new();
    while late.len() < 30 {
        let mut browser = guest();
        if browser.get(nodes.addresses()[late.len() % 3], "/").await.unwrap().backend() == "web-3" {
            late.push(browser.cookies["STICKLER"].clone());
        }
    }
    // As each node knows it: entries, which say it, too, are rare while nothing is bound.
    let times = || nodes.running().map(|(_, cluster)| cluster.view().time.max(cluster.standing().time));
    let over = times().max().unwrap() + WINDOW * 3;
    until("the window is over", || std::future::ready(times().all(|time| time > over).then_some(()))).await;
    let mut spread = Spread::default();
    for (number, token) in late.iter().enumerate() {
        let cookie = format!("STICKLER={token}");
        spread.add(&is_new(nodes.addresses()[number % 3], &cookie, "a token that is too late").await.1);
    }
    spread.is_even();
    assert!(nodes.running().all(|(_, cluster)| cluster.view().table.is_empty()), "nothing was bound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_cookie_and_a_flood_of_cookies_are_no_error_of_the_server() {
    let nodes = three_nodes(OWN_COOKIE).await;
    let (victim, backend) = client(&nodes).await;
    let token = &victim.cookies["STICKLER"];
    let junk = |count: usize| format!("STICKLER={}; ", "A".repeat(token.len())).repeat(count);
    for (number, cookie) in [
        format!("STICKLER={}", "A".repeat(8_000)),
        format!("STICKLER={}", token.repeat(60)),
        junk(60),
        format!("{}STICKLER={token}", junk(50)),
        "STICKLER=;".repeat(1_000),
        ";".repeat(8_000),
        "=; ".repeat(2_000),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{number}: {} bytes that begin with {:.40}", cookie.len(), cookie);
        is_new(nodes.addresses()[number % 3], &cookie, &what).await;
    }
    for length in [33_000, 60_000, 200_000] {
        let mut browser = guest();
        browser.headers.push(("cookie".to_owned(), format!("STICKLER={}", "A".repeat(length))));
        match browser.get(nodes.addresses()[0], "/").await {
            Ok(reply) => assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{length}"),
            // The node hangs up on whoever goes on sending.
            Err(error) => assert!(length > 33_000, "{length}: {error}"),
        }
    }
    // A few stray ones do not hide the right one.
    let mut among_junk = guest();
    among_junk.headers.push(("cookie".to_owned(), format!("{}STICKLER={token}", junk(10))));
    is_known(&nodes, &among_junk, &backend).await;
    is_known(&nodes, &victim, &backend).await;
}
