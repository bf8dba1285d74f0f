use std::collections::BTreeSet;

use stickler_core::affinity::key::Identifier;
use stickler_core::affinity::source::MaskedAddress;
use stickler_core::ids::KeyHash;
use stickler_proto::admin::{ListSessionsRequest, Session, ShowSessionRequest, UnbindSessionRequest};
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
