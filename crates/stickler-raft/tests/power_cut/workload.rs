//! What the process does until it is cut off.

use std::path::Path;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{EntryOf, VoteOf};
use openraft::{LogIdOptionExt, RaftLogReader};
use stickler_core::ids::NodeId;
use stickler_raft::store::{DataDirectory, SledLog};

use super::machine::EVENT;
use crate::sample::{Sample, entry, log_id};

/// The entry at an index, as this process writes it in a term. Some take several values in sled.
pub fn expected(term: u64, index: u64) -> EntryOf<Sample> {
    let length = if index.is_multiple_of(23) { 20_000 } else { index * 7 % 300 };
    let text = format!("{term}-{index}-").repeat(1 + usize::try_from(length / 6).unwrap());
    entry(term, index, text)
}

fn say(event: &str) {
    println!("{EVENT}{event}");
}

/// Opens the store and goes on until it is killed or the store fails.
pub fn run(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let directory = DataDirectory::open(directory, NodeId(1), [3; 16]).unwrap();
        say(&format!("started {}", directory.incarnation()));
        let mut log = SledLog::<Sample>::open(&directory).unwrap();
        let vote = log.get_log_reader().await.read_vote().await.unwrap();
        let mut term = vote.map_or(0, |vote| vote.leader_id.term);
        for round in 0.. {
            if round % 9 == 0 {
                term += 1;
            }
            if work(&mut log, term, round).await.is_none() {
                say("failed");
                try_after_failure(&mut log).await;
                return;
            }
        }
    });
}

/// One round of what openraft asks of a log; `None` once the store has failed.
async fn work(log: &mut SledLog<Sample>, term: u64, round: u64) -> Option<()> {
    if round.is_multiple_of(9) {
        log.save_vote(&vote(term)).await.ok()?;
        say(&format!("voted {term}"));
        // A new leader overwrites what its predecessor left unfinished.
        let state = log.get_log_state().await.ok()?;
        let last = state.last_log_id.next_index();
        if last > state.last_purged_log_id.next_index() + 3 {
            say(&format!("truncating {}", last - 2));
            let kept = log.get_log_reader().await.try_get_log_entries(last - 3..last - 2).await.ok()?;
            log.truncate_after(Some(kept.first()?.log_id)).await.ok()?;
        }
    }
    let mut waiting = Vec::new();
    let mut next = log.get_log_state().await.ok()?.last_log_id.next_index();
    // Several appends at once, of several sizes, so that the writer has something to gather.
    for size in [1, 1 + round % 5, 1 + round % 17] {
        let (flushed, answer) = Sample::oneshot();
        let entries = (next..next + size).map(|index| expected(term, index));
        log.append(entries, IOFlushed::signal(flushed)).await.ok()?;
        waiting.push((next..next + size, answer));
        next += size;
    }
    log.save_committed(Some(log_id(term, next - 1))).await.ok()?;
    for (indexes, answer) in waiting {
        answer.await.ok()?.ok()?;
        indexes.for_each(|index| say(&format!("appended {term} {index}")));
    }
    if round % 13 == 12 {
        let upto = log.get_log_reader().await.try_get_log_entries(next - 8..next - 7).await.ok()?;
        say(&format!("purging {}", next - 8));
        log.purge(upto.first()?.log_id).await.ok()?;
    }
    Some(())
}

fn vote(term: u64) -> VoteOf<Sample> {
    VoteOf::<Sample>::new(term, 1)
}

/// Says what a store that failed answers.
async fn try_after_failure(log: &mut SledLog<Sample>) {
    assert!(log.health().failure().is_some());
    log.health().failed().await;
    let (flushed, answer) = Sample::oneshot();
    let append = log.append([expected(99, 1)], IOFlushed::<Sample>::signal(flushed)).await;
    let acknowledged = append.is_ok() && matches!(answer.await, Ok(Ok(())));
    say(if acknowledged { "append acknowledged" } else { "append refused" });
    let voted = log.save_vote(&vote(99)).await.is_ok();
    say(if voted { "vote acknowledged" } else { "vote refused" });
    let read = log.get_log_reader().await.try_get_log_entries(0..).await.is_ok();
    say(if read { "read answered" } else { "read refused" });
}
