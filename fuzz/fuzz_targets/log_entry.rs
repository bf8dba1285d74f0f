//! A batch of commands, in the envelope in which it lies in the log and travels between nodes: bytes that decode
//! encode back to the same batch, take memory in proportion, and two nodes that apply it stay the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickler_core::ids::LogIndex;
use stickler_core::state::{Batch, Command, State};
use stickler_fuzz::memory::in_proportion;
use stickler_fuzz::sample;
use stickler_raft::store::codec::{DecodeError, Kind, decode, encode};

fuzz_target!(|payload: &[u8]| {
    let [low, high] = Kind::LogEntry.version().to_le_bytes();
    let enveloped = [&[Kind::LogEntry as u8, low, high], payload].concat();
    let decoded: Result<Batch, DecodeError> =
        in_proportion(enveloped.len(), || decode(Kind::LogEntry, &enveloped));
    let Ok(batch) = decoded else { return };

    let encoded = encode(Kind::LogEntry, &batch).expect("it is no larger than what it came from");
    assert!(encoded.len() <= enveloped.len(), "there is one shortest way to write a number");
    assert_eq!(decode::<Batch>(Kind::LogEntry, &encoded).as_ref(), Ok(&batch));
    assert_eq!(encode(Kind::LogEntry, &batch).as_ref().ok(), Some(&encoded));
    apply(batch);
});

/// Only documents that were checked are proposed, so that those of a fuzzer's making are left out.
fn apply(mut batch: Batch) {
    batch.commands.retain(|command| !matches!(command, Command::ApplyDocument(_)));
    let (mut one, mut other) = (sample::state(), sample::state());
    let index = LogIndex(one.view().applied.0 + 1);
    let outcomes = one.apply(index, &batch);
    assert_eq!(outcomes.len(), batch.commands.len(), "each command has an outcome");
    assert_eq!(other.apply(index, &batch), outcomes);
    assert_eq!(one.hash(), other.hash());

    let snapshot = one.begin_snapshot();
    let header = snapshot.header.clone();
    let mut restored = State::restore(&header);
    let read = snapshot.read(16, |records| {
        restored.restore_records(records);
        Ok::<(), stickler_core::state::SnapshotSuperseded>(())
    });
    assert_eq!(read, Ok(()));
    let restored = restored.finish_restore(&header).expect("it is what was written");
    assert_eq!(restored.hash(), one.hash());
}
