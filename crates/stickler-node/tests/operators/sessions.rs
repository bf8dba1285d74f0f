use std::collections::BTreeSet;

use stickler_core::affinity::key::Identifier;
use stickler_core::affinity::source::MaskedAddress;
use stickler_core::ids::{BackendId, KeyHash};
use stickler_proto::admin::{
    AwaitReceiptRequest, ListSessionsRequest, MoveSessionRequest, Session, SessionRule, ShowSessionRequest,
    UnbindSessionRequest, UnbindSessionsRequest,
};
use tonic::{Code, Status};

use crate::support::{TestNode, until};

async fn list(node: &TestNode, request: ListSessionsRequest) -> Result<Vec<Session>, Status> {
    let mut stream = node.client().await.list_sessions(request).await?.into_inner();
    let mut sessions = Vec::new();
    while let Some(reply) = stream.message().await? {
        sessions.extend(reply.sessions);
    }
    Ok(sessions)
}

fn show(affinity: &str, key: &str, identifier: &str) -> ShowSessionRequest {
    ShowSessionRequest {
        affinity: affinity.to_owned(),
        key: key.to_owned(),
        identifier: identifier.to_owned(),
    }
}

#[tokio::test]
async fn a_list_has_every_session_once_and_can_be_narrowed() {
    const SESSIONS: u128 = 2_500;
    let node = TestNode::start().await;
    node.apply().await;
    node.place((1..=SESSIONS).map(KeyHash)).await;

    let all = list(&node, ListSessionsRequest::default()).await.unwrap();
    let keys: BTreeSet<&str> = all.iter().map(|session| session.key.as_str()).collect();
    assert_eq!((all.len(), keys.len()), (2_500, 2_500));
    assert!(all.iter().all(|session| session.affinity == "cart" && session.cause == "placed"));

    let backend = node.backend("web-1").await;
    let on_it = ListSessionsRequest { backend: backend.id, ..ListSessionsRequest::default() };
    let on_it = list(&node, on_it).await.unwrap();
    assert_eq!(on_it.len() as u64, backend.sessions);
    assert!(on_it.len() < 2_500 && on_it.iter().all(|session| session.backend_name == "shop/web-1"));

    for limit in [1, 999, 1000, 1001] {
        let few = list(&node, ListSessionsRequest { limit, ..ListSessionsRequest::default() }).await.unwrap();
        assert_eq!(few.len() as u64, limit);
    }
    let unknown = ListSessionsRequest { affinity: "nope".to_owned(), ..ListSessionsRequest::default() };
    assert_eq!(list(&node, unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_node_that_has_lost_the_others_lists_only_when_its_own_view_is_asked_for() {
    let node = TestNode::start_among(1).await;
    let refused = list(&node, ListSessionsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let local = ListSessionsRequest { local: true, ..ListSessionsRequest::default() };
    assert_eq!(list(&node, local).await.unwrap(), []);
}

#[tokio::test]
async fn a_session_is_found_by_what_its_client_sends() {
    let node = TestNode::start().await;
    node.apply().await;
    let address = MaskedAddress::of("192.0.2.7".parse().unwrap(), 32, 64);
    let of_cookie = node.session_of_cookie("abc");
    let of_token = node.session(&Identifier::Bearer { name: "authorization", token: b"t0k" });
    let of_address = node.session(&Identifier::Source(address));
    node.place([of_cookie, of_token, of_address].into_iter().map(|session| session.key)).await;

    let mut client = node.client().await;
    for (identifier, session) in [
        ("abc", of_cookie),
        ("\"abc\"", of_cookie),
        ("t0k", of_token),
        ("Bearer t0k", of_token),
        ("192.0.2.7", of_address),
    ] {
        let shown = client.show_session(show("cart", "", identifier)).await.unwrap().into_inner();
        assert_eq!(shown.key, session.key.to_string(), "{identifier}");
        let by_key = client.show_session(show("cart", &shown.key, "")).await.unwrap().into_inner();
        assert_eq!((by_key.epoch, by_key.backend), (shown.epoch, shown.backend));
    }
    for (request, code) in [
        (show("cart", "", "another"), Code::NotFound),
        (show("nope", "", "abc"), Code::NotFound),
        (show("cart", "", ""), Code::InvalidArgument),
        (show("cart", "xyz", ""), Code::InvalidArgument),
        (show("cart", &of_cookie.key.to_string(), "abc"), Code::InvalidArgument),
        (show("cart", "", &"x".repeat(5000)), Code::InvalidArgument),
    ] {
        assert_eq!(client.show_session(request.clone()).await.unwrap_err().code(), code, "{request:?}");
    }
}

#[tokio::test]
async fn a_session_is_unbound_at_the_epoch_that_the_operator_saw_and_at_no_other() {
    let node = TestNode::start().await;
    node.apply().await;
    let session = node.session_of_cookie("abc");
    node.place(std::iter::once(session.key)).await;
    let mut client = node.client().await;
    let shown = client.show_session(show("cart", "", "abc")).await.unwrap().into_inner();
    let unbind = |expected_epoch| UnbindSessionRequest {
        affinity: "cart".to_owned(),
        key: shown.key.clone(),
        expected_epoch,
    };
    let wrong = client.unbind_session(unbind(shown.epoch + 1)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::FailedPrecondition, "{wrong}");
    assert!(client.show_session(show("cart", "", "abc")).await.is_ok());

    let reply = client.unbind_session(unbind(shown.epoch)).await.unwrap().into_inner();
    until("the entry is applied", || node.cluster.view().applied.0 >= reply.index).await;
    assert_eq!(client.show_session(show("cart", "", "abc")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.unbind_session(unbind(shown.epoch)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_session_is_moved_to_the_backend_that_is_named_and_says_so() {
    let node = TestNode::start().await;
    node.apply().await;
    let session = node.session_of_cookie("abc");
    node.place(std::iter::once(session.key)).await;
    let mut client = node.client().await;
    let shown = client.show_session(show("cart", "", "abc")).await.unwrap().into_inner();
    let other = if shown.backend_name == "shop/web-1" { "web-2" } else { "web-1" };
    let to = node.backend(other).await.id;
    let request = |expected_epoch| MoveSessionRequest {
        affinity: "cart".to_owned(),
        key: shown.key.clone(),
        expected_epoch,
        to,
    };
    let wrong = client.move_session(request(shown.epoch + 1)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::FailedPrecondition, "{wrong}");
    let reply = client.move_session(request(shown.epoch)).await.unwrap().into_inner();
    let receipt = reply.receipt.unwrap();
    assert!(receipt.reached && receipt.index == reply.index && receipt.without_lease.is_empty());
    let moved = client.show_session(show("cart", "", "abc")).await.unwrap().into_inner();
    assert_eq!((moved.epoch, moved.backend_name), (reply.epoch, format!("shop/{other}")));
}

#[tokio::test]
async fn a_receipt_that_can_not_be_given_says_so_and_does_not_wait_for_ever() {
    let node = TestNode::start().await;
    node.apply().await;
    let mut client = node.client().await;
    let request = |wait: &str, timeout_milliseconds| AwaitReceiptRequest {
        index: node.cluster.view().applied.0 + 1000,
        wait: wait.to_owned(),
        timeout_milliseconds,
    };
    let early = client.await_receipt(request("leased", 50)).await.unwrap().into_inner();
    assert_eq!((early.reached, early.behind, early.without_lease), (false, vec![1], vec![]));
    for bad in [request("some", 50), request("all", 60_000)] {
        assert_eq!(client.await_receipt(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_rule_that_ends_sessions_marks_older_tokens_and_a_dry_run_changes_nothing() {
    let node = TestNode::start().await;
    node.apply().await;
    node.place((1..=20).map(KeyHash)).await;
    let on = node.backend("web-1").await;
    let rule = Some(SessionRule { backend: on.id, ..SessionRule::default() });
    let request = UnbindSessionsRequest { rule, rate: 1000, dry_run: true };
    let mut client = node.client().await;
    let before = node.cluster.view().applied;
    let mut counted = client.unbind_sessions(request.clone()).await.unwrap().into_inner();
    assert_eq!(counted.message().await.unwrap().unwrap().meant, on.sessions);
    assert_eq!(node.cluster.view().applied, before);

    let request = UnbindSessionsRequest { dry_run: false, ..request };
    let mut progress = client.unbind_sessions(request).await.unwrap().into_inner();
    while progress.message().await.unwrap().is_some() {}
    assert_eq!(node.backend("web-1").await.sessions, 0);
    let view = node.cluster.view();
    let (affinity, other) = (view.catalog.affinities[0], node.backend("web-2").await.id);
    assert!(view.catalog.not_before(affinity, BackendId(on.id)).0 > 0);
    assert_eq!(view.catalog.not_before(affinity, BackendId(other)).0, 0);
}
