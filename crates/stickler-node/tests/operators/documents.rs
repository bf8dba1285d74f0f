use stickler_proto::admin::{ApplyDocumentRequest, ShowDocumentRequest, StatusRequest};
use tonic::Code;

use crate::support::{DOCUMENT, TestNode};

fn request(text: &str, expected_revision: u64) -> ApplyDocumentRequest {
    ApplyDocumentRequest {
        text: text.to_owned(),
        file_name: "shop.toml".to_owned(),
        expected_revision,
        removal: None,
    }
}

#[tokio::test]
async fn an_applied_document_is_shown_as_it_was_written() {
    let node = TestNode::start().await;
    let mut client = node.client().await;
    let before = client.show_document(ShowDocumentRequest {}).await.unwrap().into_inner();
    assert_eq!((before.text.as_str(), before.revision), ("", 0));

    let applied = client.apply_document(request(DOCUMENT, 0)).await.unwrap().into_inner();
    assert_eq!(applied.revision, 1);
    let shown = client.show_document(ShowDocumentRequest {}).await.unwrap().into_inner();
    assert_eq!((shown.text.as_str(), shown.revision), (DOCUMENT, 1));
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert!(status.applied_index >= applied.index);
    assert_eq!((status.role.as_str(), status.leader, status.document_revision), ("leader", 1, 1));
    assert!(status.ready, "{}", status.readiness);
}

#[tokio::test]
async fn who_was_overtaken_changes_nothing_and_is_told_the_revision() {
    let node = TestNode::start().await;
    let mut client = node.client().await;
    client.apply_document(request(DOCUMENT, 0)).await.unwrap();
    let other = DOCUMENT.replace("web-2", "web-3");
    let refused = client.apply_document(request(&other, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("revision 1"), "{refused}");
    let shown = client.show_document(ShowDocumentRequest {}).await.unwrap().into_inner();
    assert_eq!(shown.text, DOCUMENT);
}

#[tokio::test]
async fn every_problem_of_a_document_is_told_at_once() {
    let node = TestNode::start().await;
    let mut client = node.client().await;
    let mut broken = DOCUMENT
        .replace("name = \"web-1\"", "name = \"web 1\"")
        .replace("affinity = \"cart\"", "affinity = \"card\"");
    for number in 0..300 {
        broken += &format!("unknown-{number} = 1\n");
    }
    let refused = client.apply_document(request(&broken, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for part in ["shop.toml:9:", "web 1", "card", "unknown-0", "unknown-299"] {
        assert!(refused.message().contains(part), "no {part} in:\n{}", refused.message());
    }
    assert!(node.cluster.view().catalog.document.is_none());
}

#[tokio::test]
async fn a_flood_of_problems_is_cut_with_their_number() {
    let node = TestNode::start().await;
    let mut broken = DOCUMENT.to_owned();
    for number in 0..3000 {
        broken += &format!("a-rather-long-key-that-nobody-knows-{number} = 1\n");
    }
    let refused = node.client().await.apply_document(request(&broken, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().len() <= 65 * 1024, "{}", refused.message().len());
    let last = refused.message().lines().last().unwrap();
    assert!(last.starts_with("and ") && last.ends_with(" more"), "{last}");
}

#[tokio::test]
async fn without_a_leader_nothing_happens_and_that_is_said() {
    let node = TestNode::start_among(1).await;
    let refused = node.client().await.apply_document(request(DOCUMENT, 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(node.get("/readyz").await.0.contains("503"));
}
