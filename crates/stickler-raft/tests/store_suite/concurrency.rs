//! Readers see whole states of the log, whatever is written meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft::type_config::alias::EntryOf;
use stickler_raft::store::SledLogReader;

use super::rig::{DiskRig, Rig};
use super::sample::{Sample, entry, log_id};

/// An entry that says where its term began.
fn stamped(term: u64, index: u64, term_began: u64) -> EntryOf<Sample> {
    // Some in several values, so that a reader could see half an entry.
    let filler = if index.is_multiple_of(3) { "x".repeat(30_000) } else { String::new() };
    entry(term, index, format!("{term_began} {filler}"))
}

/// Whether entries can have been a part of the log at one moment: without a hole, and each term begins where
/// it began. A mixture of two states shows entries of an old term where a newer one has overwritten them.
fn check(entries: &[EntryOf<Sample>]) {
    for pair in entries.windows(2) {
        let [before, after] = pair else { unreachable!("windows of two") };
        assert_eq!(after.log_id.index, before.log_id.index + 1);
        if after.log_id.leader_id != before.log_id.leader_id {
            assert!(after.log_id.leader_id > before.log_id.leader_id);
            let openraft::EntryPayload::Normal(text) = &after.payload else { panic!("{after}") };
            let term_began: u64 = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(after.log_id.index, term_began, "a mixture of two states");
        }
    }
}

async fn read_until(done: Arc<AtomicBool>, mut reader: SledLogReader<Sample>, reads: Arc<AtomicU64>) {
    while !done.load(Ordering::Relaxed) {
        check(&reader.try_get_log_entries(..).await.unwrap());
        if let Some(first) = reader.try_get_log_entries(..).await.unwrap().first() {
            let index = first.log_id.index;
            check(&reader.limited_get_log_entries(index, index + 40).await.unwrap());
        }
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_never_see_a_mixture_while_the_log_is_cut_at_both_ends() {
    let mut rig = DiskRig::new(0);
    let (done, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut readers = Vec::new();
    for _ in 0..2 {
        let reader = rig.log().get_log_reader().await;
        readers.push(tokio::spawn(read_until(Arc::clone(&done), reader, Arc::clone(&reads))));
    }
    let mut next = 0;
    for term in 1..=150 {
        let log = rig.log();
        let entries: Vec<_> = (next..next + 30).map(|index| stamped(term, index, next)).collect();
        log.blocking_append(entries).await.unwrap();
        next += 30;
        if term % 2 == 0 {
            next -= 20;
            log.truncate_after(Some(log_id(term, next - 1))).await.unwrap();
        }
        if term % 5 == 0 {
            log.purge(log_id(term - 1, next - 25)).await.unwrap();
        }
        // Not waited for: the next round comes while this is being written.
        log.append([stamped(term, next, next - 10)], IOFlushed::noop()).await.unwrap();
        next += 1;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(reads.load(Ordering::Relaxed) > 10, "hardly anything was read meanwhile");
}
