//! The two APIs that the benchmark speaks, as Rust types. The comments are in `proto/*.proto`.

/// Of the benchmark's own node process.
pub mod node {
    tonic::include_proto!("stickler.bench.v1");
}

/// Of etcd.
pub mod etcd {
    tonic::include_proto!("etcdserverpb");
}
