use stickler_core::state::MAX_SEALING_KEYS;
use stickler_proto::admin::{ListKeysRequest, RotateKeyReply, RotateKeyRequest, SealingKey};
use tonic::{Code, Status};

use crate::support::{TestNode, until};

async fn list(node: &TestNode) -> Vec<SealingKey> {
    node.client().await.list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys
}

async fn rotate(node: &TestNode, expected_key: u32) -> Result<RotateKeyReply, Status> {
    let rotated = node.client().await.rotate_key(RotateKeyRequest { expected_key }).await;
    rotated.map(tonic::Response::into_inner)
}

fn states(keys: &[SealingKey]) -> Vec<(u32, &str)> {
    keys.iter().map(|key| (key.id, key.state.as_str())).collect()
}

#[tokio::test]
async fn a_key_is_added_once_and_seals_once_all_nodes_have_it() {
    let node = TestNode::start().await;
    node.apply().await;
    let keys = list(&node).await;
    assert_eq!((states(&keys), keys[0].opens_milliseconds), (vec![(1, "sealing")], None));
    let added = rotate(&node, 1).await.unwrap();
    assert_eq!(added.key, 2);
    until("the new key seals", || node.cluster.standing().stable.0 >= added.index).await;
    let keys = list(&node).await;
    assert_eq!(states(&keys), [(1, "opening"), (2, "sealing")]);
    assert_eq!(keys[1].added_index, added.index);
    let left = keys[0].opens_milliseconds.unwrap();
    assert!(
        left > 500_000 && left <= 600_000,
        "ten minutes without an affinity by Stickler's cookie: {left}"
    );
    let again = rotate(&node, 1).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    assert!(again.message().contains("the newest key is 2"), "{again}");
    assert_eq!(list(&node).await.len(), 2);
}

#[tokio::test]
async fn a_full_ring_takes_no_more_keys_and_says_until_when() {
    let node = TestNode::start().await;
    node.apply().await;
    for newest in 1..u32::try_from(MAX_SEALING_KEYS).unwrap() {
        rotate(&node, newest).await.unwrap();
    }
    let refused = rotate(&node, 8).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("the oldest opens tokens for"), "{refused}");
    assert_eq!(list(&node).await.len(), MAX_SEALING_KEYS);
}
