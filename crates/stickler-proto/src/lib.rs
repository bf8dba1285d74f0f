//! Stickler's two gRPC APIs: what nodes say to each other, and what an operator can ask. The comments are
//! in `proto/stickler/*/v1/*.proto`.

#[expect(missing_docs, reason = "generated code; its documentation is in the .proto file")]
/// Between the nodes of a cluster.
pub mod peer {
    tonic::include_proto!("stickler.peer.v1");
}

#[expect(missing_docs, reason = "generated code; its documentation is in the .proto file")]
/// For operators.
pub mod admin {
    tonic::include_proto!("stickler.admin.v1");
}
