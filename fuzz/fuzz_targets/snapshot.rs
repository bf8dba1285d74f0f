//! A snapshot that came from somewhere: it is refused or taken, in memory that is in proportion to it; and a state
//! that was restored is the state that its header speaks of.
//!
//! The first byte says what the rest is: a whole file; or what follows on a header that is right; or the pieces of
//! a file, its description and its chunks, each behind its length, with checksums that are right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickler_core::state::{Record, SessionKey, SnapshotHeader, State};
use stickler_fuzz::memory::in_proportion;
use stickler_fuzz::snapshot_bytes::{EMPTY_META, frame, header, pieces, received};
use stickler_raft::restore_snapshot;
use stickler_raft::store::codec::{Kind, decode, encode};

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 3 {
        0 => take_in(rest),
        1 => take_in_pieces(rest),
        _ => take_in(&[&header(7, &EMPTY_META), rest].concat()),
    }
});

fn take_in_pieces(rest: &[u8]) {
    let pieces: Vec<&[u8]> = pieces(rest).into_iter().filter(|piece| !piece.is_empty()).collect();
    let Some((meta, chunks)) = pieces.split_first() else { return };
    let file = received(&frame(7, meta, chunks)).expect("its checksums and lengths are right");
    let read: Vec<Vec<u8>> = file.chunks().and_then(Iterator::collect).expect("it was verified");
    assert_eq!(read, chunks);
    take_in(&frame(7, meta, chunks));
    if let Some((header, records)) = chunks.split_first() {
        make_consistent(header, records);
    }
}

fn take_in(bytes: &[u8]) {
    in_proportion(bytes.len(), || {
        if let Ok(file) = received(bytes) {
            drop(restore_snapshot(&file));
        }
    });
}

/// The header of a fuzzer's making never has the right sums. With the sums of its own records it is restored.
fn make_consistent(header: &[u8], records: &[&[u8]]) {
    let Ok(header) = decode::<SnapshotHeader>(Kind::SnapshotRecords, header) else { return };
    let mut state = State::restore(&header);
    let mut chunks = Vec::new();
    for records in records {
        let Ok(records) = decode::<Vec<(SessionKey, Record)>>(Kind::SnapshotRecords, records) else { return };
        chunks.push(encode(Kind::SnapshotRecords, &records).expect("it was decoded from no less"));
        state.restore_records(records);
    }
    let header = state.begin_snapshot().header;
    chunks.insert(0, encode(Kind::SnapshotRecords, &header).expect("it was decoded from no less"));
    let file = received(&frame(7, &EMPTY_META, &chunks)).expect("its checksums and lengths are right");
    let restored = restore_snapshot(&file).expect("the records are those of the header");
    assert_eq!(restored.hash(), header.hash());
}
