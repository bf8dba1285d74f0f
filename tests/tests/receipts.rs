//! What an operator is told who ends or moves sessions: when it holds, and for which nodes it does not (I7).
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::StatusCode;
use stickler_core::ids::NodeId;
use stickler_core::invariants::History;
use stickler_core::lease::Footing;
use stickler_core::state::Admin;
use stickler_proto::admin::{
    AwaitReceiptRequest, MoveSessionReply, MoveSessionRequest, MoveSessionsRequest, Receipt, Session,
    SessionRule, SessionsProgress, ShowSessionRequest, UnbindSessionReply, UnbindSessionRequest,
    UnbindSessionsRequest,
};
use stickler_rt::Clock;
use stickler_tests::browser::{Browser, Reply};
use stickler_tests::cluster::until;
use stickler_tests::documents::{self, HEADER};
use stickler_tests::log;
use stickler_tests::nodes::{A_WHILE, TestNodes};
use tonic::{Code, Status, Streaming};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const CUT_OFF: NodeId = NodeId(3);

async fn three_nodes() -> TestNodes {
    log::start();
    TestNodes::start(3, 3, |shops| documents::text(shops, &[HEADER])).await
}

async fn get(nodes: &TestNodes, node: NodeId, client: &str) -> Reply {
    let reply = Browser::with_header("x-session", client).get(nodes.address(node), "/").await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply
}

fn epoch(reply: &Reply) -> u64 {
    reply.headers["stickler-epoch"].to_str().unwrap().parse().unwrap()
}

async fn show(nodes: &TestNodes, node: NodeId, client: &str) -> Result<Session, Status> {
    let request =
        ShowSessionRequest { affinity: "cart".to_owned(), key: String::new(), identifier: client.to_owned() };
    nodes.admin(node).await.show_session(request).await.map(tonic::Response::into_inner)
}

async fn unbind(nodes: &TestNodes, node: NodeId, session: &Session) -> UnbindSessionReply {
    let request = UnbindSessionRequest {
        affinity: session.affinity.clone(),
        key: session.key.clone(),
        expected_epoch: session.epoch,
    };
    nodes.admin(node).await.unbind_session(request).await.unwrap().into_inner()
}

async fn move_to(
    nodes: &TestNodes,
    node: NodeId,
    session: &Session,
    to: u64,
) -> Result<MoveSessionReply, Status> {
    let request = MoveSessionRequest {
        affinity: session.affinity.clone(),
        key: session.key.clone(),
        expected_epoch: session.epoch,
        to,
    };
    nodes.admin(node).await.move_session(request).await.map(tonic::Response::into_inner)
}

async fn wait_for_all(nodes: &TestNodes, index: u64, timeout_milliseconds: u64) -> Receipt {
    let request = AwaitReceiptRequest { index, wait: "all".to_owned(), timeout_milliseconds };
    nodes.admin(ONE).await.await_receipt(request).await.unwrap().into_inner()
}

async fn is_isolated(nodes: &TestNodes, node: NodeId) {
    until("the node knows that it is cut off", || {
        let footing = nodes.cluster(node).standing().footing;
        std::future::ready((footing == Footing::Isolated).then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_names_the_node_that_is_cut_off_and_one_for_all_waits_for_it() {
    let nodes = three_nodes().await;
    let before = get(&nodes, CUT_OFF, "known").await;
    let session = show(&nodes, ONE, "known").await.unwrap();
    nodes.cut(CUT_OFF);
    is_isolated(&nodes, CUT_OFF).await;
    nodes.leader_among(&[ONE, TWO]).await;

    let UnbindSessionReply { index, receipt } = unbind(&nodes, TWO, &session).await;
    let receipt = receipt.unwrap();
    assert!(receipt.reached && receipt.index == index, "{receipt:?}");
    assert_eq!(receipt.without_lease, [CUT_OFF.0], "{receipt:?}");
    // This is what it is named for: it goes on with what it last knew.
    assert_eq!(epoch(&get(&nodes, CUT_OFF, "known").await), epoch(&before));
    for node in [ONE, TWO] {
        assert!(epoch(&get(&nodes, node, "known").await) > epoch(&before), "it is a new session by lease");
    }

    let missing = wait_for_all(&nodes, index, 300).await;
    assert!(!missing.reached, "{missing:?}");
    assert_eq!(missing.without_lease, [CUT_OFF.0], "{missing:?}");
    let waiting = wait_for_all(&nodes, index, 10_000);
    let healing = async {
        tokio::time::sleep(A_WHILE).await;
        nodes.heal();
    };
    let (all, ()) = tokio::join!(waiting, healing);
    assert!(all.reached && all.without_lease.is_empty(), "{all:?}");
    let cluster = nodes.cluster(CUT_OFF);
    assert!(cluster.view().applied.0 >= index && cluster.standing().footing == Footing::Leased);
    assert!(epoch(&get(&nodes, CUT_OFF, "known").await) > epoch(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_session_is_on_the_new_backend_through_every_node_from_the_receipt_on() {
    let nodes = three_nodes().await;
    for client in 0..12 {
        let client = format!("client-{client}");
        let before = get(&nodes, ONE, &client).await;
        let session = show(&nodes, ONE, &client).await.unwrap();
        let to = if before.backend() == "web-1" { "web-2" } else { "web-1" };
        let reply = move_to(&nodes, TWO, &session, nodes.backend(to).0).await.unwrap();
        assert!(reply.epoch > session.epoch && reply.receipt.unwrap().reached);
        for node in [ONE, TWO, CUT_OFF] {
            let after = get(&nodes, node, &client).await;
            assert_eq!((after.backend().as_str(), epoch(&after)), (to, reply.epoch), "through node {node}");
        }
        let cause = show(&nodes, CUT_OFF, &client).await.unwrap().cause;
        assert_eq!(cause, "moved: by an operator");
        // By what was seen before the first move.
        let again = move_to(&nodes, ONE, &session, nodes.backend(to).0).await.unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition, "{again}");
    }
    let mut history = History::default();
    for (node, cluster) in nodes.running() {
        assert!(history.view(node, &cluster.view()).is_ok(), "I1 and I2 hold on node {node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_to_a_backend_that_takes_no_sessions_says_why_and_changes_nothing() {
    let nodes = three_nodes().await;
    let before = get(&nodes, ONE, "stays").await;
    let session = show(&nodes, ONE, "stays").await.unwrap();
    let other = ["web-1", "web-2", "web-3"].into_iter().find(|name| *name != before.backend()).unwrap();
    let to = nodes.backend(other).0;
    for (admin, why) in [(Admin::Maint, "maint"), (Admin::Drain { deadline: None }, "drained")] {
        nodes.set_admin(other, admin).await;
        let refused = move_to(&nodes, ONE, &session, to).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains(other) && refused.message().contains(why), "{refused}");
        nodes.set_admin(other, Admin::Ready).await;
    }
    let refused = move_to(&nodes, ONE, &session, session.backend).await.unwrap_err();
    assert!(refused.message().contains("already"), "{refused}");
    let refused = move_to(&nodes, ONE, &session, 99_999).await.unwrap_err();
    assert!(refused.message().contains("no backend 99999"), "{refused}");
    let after = get(&nodes, TWO, "stays").await;
    assert_eq!((after.backend(), epoch(&after)), (before.backend(), epoch(&before)));
}

/// The clients whose sessions are on which backend.
async fn fill(nodes: &TestNodes, clients: u32) -> BTreeMap<String, BTreeSet<String>> {
    let mut on: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for client in 0..clients {
        let client = format!("client-{client}");
        on.entry(get(nodes, ONE, &client).await.backend()).or_default().insert(client);
    }
    nodes.know_all().await;
    on
}

fn on_backend(nodes: &TestNodes, name: &str) -> Option<SessionRule> {
    let backend = nodes.backend(name).0;
    Some(SessionRule { backend, ..SessionRule::default() })
}

async fn all_of(mut stream: Streaming<SessionsProgress>) -> Vec<SessionsProgress> {
    let mut all = Vec::new();
    while let Some(progress) = stream.message().await.unwrap() {
        all.push(progress);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_end_by_rule_at_the_pace_and_no_others_do() {
    let nodes = three_nodes().await;
    let on = fill(&nodes, 60).await;
    let leaving = &on["web-1"];
    let rule = on_backend(&nodes, "web-1");
    let request = UnbindSessionsRequest { rule, rate: 8, dry_run: true };
    let counted = nodes.admin(TWO).await.unbind_sessions(request.clone()).await.unwrap().into_inner();
    let counted = all_of(counted).await;
    let [only] = counted.as_slice() else { panic!("{counted:?}") };
    assert_eq!((only.meant, only.done, only.index), (leaving.len() as u64, 0, 0), "a dry run only counts");

    let clock = Clock::start();
    let request = UnbindSessionsRequest { dry_run: false, ..request };
    let stream = nodes.admin(TWO).await.unbind_sessions(request).await.unwrap().into_inner();
    let progress = all_of(stream).await;
    let took = clock.now().0;
    let (last, before) = progress.split_last().unwrap();
    assert_eq!((last.meant, last.done), (leaving.len() as u64, leaving.len() as u64), "{last:?}");
    assert_eq!((last.superseded, last.gone), (0, 0));
    let receipt = last.receipt.clone().unwrap();
    assert!(receipt.reached && receipt.without_lease.is_empty() && receipt.index == last.index, "{last:?}");
    assert!(before.len() > leaving.len() / 2, "it says how far it has come: {before:?}");
    assert!(before.is_sorted_by_key(|progress| progress.done));
    let least = Duration::from_secs(1) * u32::try_from(leaving.len() - 1).unwrap() / 8;
    assert!(took >= least, "{} sessions in {took:?}", leaving.len());

    assert_eq!(nodes.cluster(ONE).view().counts.of_backend(nodes.backend("web-1")), 0);
    for (backend, clients) in on.iter().filter(|(backend, _)| *backend != "web-1") {
        for client in clients {
            let session = show(&nodes, CUT_OFF, client).await.unwrap();
            assert_eq!(session.backend_name, format!("shop/{backend}"));
        }
    }
    for client in leaving {
        assert_eq!(show(&nodes, ONE, client).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_leaves_sessions_alone_that_begin_after_it_was_given() {
    let nodes = three_nodes().await;
    fill(&nodes, 30).await;
    let rule = Some(SessionRule { affinity: "cart".to_owned(), ..SessionRule::default() });
    let request = UnbindSessionsRequest { rule, rate: 20, dry_run: false };
    let mut stream = nodes.admin(ONE).await.unbind_sessions(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.meant, 30);
    let young = get(&nodes, TWO, "young").await;
    let last = all_of(stream).await.pop().unwrap();
    assert_eq!(last.done, 30);
    assert_eq!(epoch(&get(&nodes, ONE, "young").await), epoch(&young));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_hangs_up_ends_the_rule_and_what_is_done_is_done() {
    let nodes = three_nodes().await;
    fill(&nodes, 60).await;
    let rule = Some(SessionRule { affinity: "cart".to_owned(), ..SessionRule::default() });
    let request = UnbindSessionsRequest { rule, rate: 20, dry_run: false };
    let mut stream = nodes.admin(ONE).await.unbind_sessions(request).await.unwrap().into_inner();
    while stream.message().await.unwrap().unwrap().done < 5 {}
    drop(stream);
    let left = || {
        let view = nodes.cluster(ONE).view();
        view.counts.of_affinity(view.catalog.affinities[0])
    };
    tokio::time::sleep(A_WHILE).await;
    let after = left();
    tokio::time::sleep(A_WHILE).await;
    assert!((1..=55).contains(&after), "{after} are left");
    assert_eq!(left(), after, "it has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sessions_of_a_backend_move_by_rule_and_keep_their_clients() {
    let nodes = three_nodes().await;
    let on = fill(&nodes, 60).await;
    let leaving = &on["web-1"];
    let rule = on_backend(&nodes, "web-1");
    let to = nodes.backend("web-3").0;
    let request = MoveSessionsRequest { rule, rate: 1000, dry_run: false, to };
    let stream = nodes.admin(TWO).await.move_sessions(request).await.unwrap().into_inner();
    let last = all_of(stream).await.pop().unwrap();
    assert_eq!((last.done, last.superseded), (leaving.len() as u64, 0), "{last:?}");
    for client in leaving {
        for node in [ONE, TWO, CUT_OFF] {
            assert_eq!(get(&nodes, node, client).await.backend(), "web-3");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_refused_that_makes_no_sense_and_on_a_node_without_a_lease() {
    let nodes = three_nodes().await;
    let ask = async |node, rule, rate| {
        let request = UnbindSessionsRequest { rule, rate, dry_run: false };
        nodes.admin(node).await.unbind_sessions(request).await.unwrap_err().code()
    };
    assert_eq!(ask(ONE, None, 10).await, Code::InvalidArgument);
    assert_eq!(ask(ONE, Some(SessionRule::default()), 10).await, Code::InvalidArgument);
    let cart = || Some(SessionRule { affinity: "cart".to_owned(), ..SessionRule::default() });
    assert_eq!(ask(ONE, cart(), 0).await, Code::InvalidArgument);
    nodes.cut(CUT_OFF);
    is_isolated(&nodes, CUT_OFF).await;
    assert_eq!(ask(CUT_OFF, cart(), 10).await, Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_held_when_its_session_ends_decides_anew() {
    let nodes = three_nodes().await;
    let before = get(&nodes, TWO, "held").await;
    let session = show(&nodes, TWO, "held").await.unwrap();
    let shop = nodes.shops.iter().position(|shop| shop.name() == before.backend()).unwrap();
    nodes.cut_from_shop(ONE, shop);
    let address = nodes.address(ONE);
    let held = tokio::spawn(async move {
        Browser::with_header("x-session", "held").get(address, "/held").await.unwrap()
    });
    // It waits for a connection by now.
    tokio::time::sleep(A_WHILE).await;
    assert!(unbind(&nodes, TWO, &session).await.receipt.unwrap().reached);
    nodes.heal();
    let reply = held.await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    assert!(epoch(&reply) > epoch(&before), "a new session: {reply:?}");
    for seen in nodes.shops.iter().flat_map(|shop| shop.seen()).filter(|seen| seen.path == "/held") {
        let by = seen.headers["stickler-epoch"].to_str().unwrap();
        assert_ne!(by, epoch(&before).to_string(), "it went by an epoch that had ended");
    }
}
