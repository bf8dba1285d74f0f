//! Writes the seeds that people can't: binary ones, in the formats of today. `./run` calls it.
#![expect(clippy::unwrap_used, reason = "whoever runs it sees what failed")]

use std::fs;
use std::path::{Path, PathBuf};

use stickler_core::ids::{BackendId, NodeId};
use stickler_core::state::{Admin, Batch, Command, SetAdmin, Suspect};
use stickler_fuzz::sample;
use stickler_fuzz::snapshot_bytes::{EMPTY_META, frame, joined};
use stickler_raft::store::codec::{Kind, encode};

fn corpus(target: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn main() {
    for (number, batch) in sample::entries().iter().chain([&operators()]).enumerate() {
        // Without its envelope, which the target puts around it.
        let encoded = encode(Kind::LogEntry, batch).unwrap();
        fs::write(corpus("log_entry").join(format!("seed-{number}")), &encoded[3..]).unwrap();
    }
    let snapshot = sample::state().begin_snapshot();
    let header = encode(Kind::SnapshotRecords, &snapshot.header).unwrap();
    let mut chunks = vec![header];
    let read = snapshot.read(2, |records| {
        chunks.push(encode(Kind::SnapshotRecords, &records).unwrap());
        Ok::<(), stickler_core::state::SnapshotSuperseded>(())
    });
    read.unwrap();
    let file = frame(4, &EMPTY_META, &chunks);
    let pieces = [vec![EMPTY_META.to_vec()], chunks].concat();
    fs::write(corpus("snapshot").join("seed-file"), [&[0][..], &file].concat()).unwrap();
    fs::write(corpus("snapshot").join("seed-pieces"), [&[1][..], &joined(&pieces)].concat()).unwrap();
    let example = include_str!("../../deploy/examples/cluster.toml");
    fs::write(corpus("cluster_document").join("seed-example"), example).unwrap();
}

/// What operators and health checks say, after [`sample::entries`].
fn operators() -> Batch {
    let mut batch = sample::entries().pop().unwrap();
    let drain = Admin::Drain { deadline: Some(30_000) };
    let (backend, expected) = (BackendId(3), Default::default());
    batch.commands = vec![
        Command::SetAdmin(SetAdmin { backend, admin: drain, expected }),
        Command::Suspect(Suspect { node: NodeId(1), backend }),
    ];
    batch
}
