//! A snapshot's bytes, put together beside the product: with checksums that fit, or a fuzzer never gets past
//! them.

use stickler_raft::store::{MemoryDisk, SnapshotError, SnapshotFile, SyncPolicy};

/// The description of a snapshot that covers nothing: an envelope of kind and version, then no log position, no
/// membership.
pub const EMPTY_META: [u8; 8] = [5, 1, 0, 0, 0, 0, 0, 0];

/// A header as `store/snapshot_format.rs` describes it.
pub fn header(covered: u64, meta: &[u8]) -> Vec<u8> {
    let mut bytes = b"STKLSNAP".to_vec();
    bytes.extend_from_slice(&1_u16.to_le_bytes());
    bytes.extend_from_slice(&covered.to_le_bytes());
    bytes.extend_from_slice(&length(meta));
    bytes.extend_from_slice(meta);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// A whole snapshot: header, chunks and trailer.
pub fn frame(covered: u64, meta: &[u8], chunks: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = header(covered, meta);
    for chunk in chunks {
        bytes.extend_from_slice(&length(chunk.as_ref()));
        bytes.extend_from_slice(chunk.as_ref());
    }
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&(bytes.len() as u64 + 8 + 4).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("inputs are short").to_le_bytes()
}

/// Takes bytes in as a node takes in what a peer sends it.
///
/// # Errors
/// When they are no snapshot.
pub fn received(bytes: &[u8]) -> Result<SnapshotFile, SnapshotError> {
    let snapshots = MemoryDisk::new(SyncPolicy::Manual).snapshots();
    let mut receiver = snapshots.receive(bytes.len() as u64)?;
    receiver.write_at(0, bytes)?;
    receiver.finish()
}

/// Cuts an input into pieces: each stands behind its length, in two bytes. The last may be shorter than it says.
pub fn pieces(mut input: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let (piece, after) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        pieces.push(piece);
        input = after;
    }
    pieces
}

/// The opposite of [`pieces`].
pub fn joined(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut joined = Vec::new();
    for piece in pieces {
        let length = u16::try_from(piece.len()).expect("a seed is short");
        joined.extend_from_slice(&length.to_le_bytes());
        joined.extend_from_slice(piece);
    }
    joined
}
