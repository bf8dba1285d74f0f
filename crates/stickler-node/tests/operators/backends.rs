use stickler_proto::admin::{ListMembersRequest, SetBackendAdminRequest};
use tonic::Code;

use crate::support::TestNode;

fn request(id: u64, admin: &str, deadline: Option<u64>, expected_revision: u64) -> SetBackendAdminRequest {
    SetBackendAdminRequest { id, admin: admin.to_owned(), drain_milliseconds: deadline, expected_revision }
}

#[tokio::test]
async fn a_backend_is_drained_with_a_deadline_and_made_ready_again() {
    let node = TestNode::start().await;
    node.apply().await;
    let mut client = node.client().await;
    let backend = node.backend("web-1").await;
    assert_eq!(
        (backend.pool.as_str(), backend.admin.as_str(), backend.health.as_str()),
        ("shop", "ready", "up")
    );

    let drain = request(backend.id, "drain", Some(60_000), backend.revision);
    let reply = client.set_backend_admin(drain).await.unwrap().into_inner();
    let drained = node.backend("web-1").await;
    assert_eq!((drained.admin.as_str(), drained.revision), ("drain", reply.revision));
    let left = drained.drain_milliseconds.unwrap();
    assert!(left > 30_000 && left <= 60_000, "{left}");

    client.set_backend_admin(request(backend.id, "ready", None, drained.revision)).await.unwrap();
    let ready = node.backend("web-1").await;
    assert_eq!((ready.admin.as_str(), ready.drain_milliseconds), ("ready", None));
    assert_eq!(node.backend("web-2").await.admin, "ready");
}

#[tokio::test]
async fn a_change_of_a_backend_that_somebody_else_has_changed_is_refused() {
    let node = TestNode::start().await;
    node.apply().await;
    let mut client = node.client().await;
    let backend = node.backend("web-1").await;
    client.set_backend_admin(request(backend.id, "maint", None, backend.revision)).await.unwrap();
    let late = request(backend.id, "ready", None, backend.revision);
    assert_eq!(client.set_backend_admin(late).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(node.backend("web-1").await.admin, "maint");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_it_is_proposed() {
    let node = TestNode::start().await;
    node.apply().await;
    let mut client = node.client().await;
    let id = node.backend("web-1").await.id;
    let before = node.cluster.view().applied;
    for (admin, deadline) in
        [("", None), ("off", None), ("ready", Some(5)), ("drain", Some(0)), ("drain", Some(u64::MAX))]
    {
        let refused = client.set_backend_admin(request(id, admin, deadline, 0)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{admin} {deadline:?}");
    }
    assert_eq!(node.cluster.view().applied, before);
    let unknown = client.set_backend_admin(request(99_999, "ready", None, 0)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_member_is_shown_with_its_role() {
    let node = TestNode::start().await;
    let members = node.client().await.list_members(ListMembersRequest {}).await.unwrap().into_inner().members;
    let [member] = members.as_slice() else { panic!("{members:?}") };
    assert_eq!((member.node, member.voter, member.leader), (1, true, true));
    assert_eq!(member.directory.len(), 32);
}
