//! What a store answers once it has failed.

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::VoteOf;
use stickler_raft::store::SledLog;

use super::say;
use crate::sample::Sample;
use crate::workload::expected;

/// Asks for everything once more.
pub async fn say_what_is_answered(mut log: SledLog<Sample>) {
    assert!(log.health().failure().is_some());
    log.health().failed().await;
    let (flushed, answer) = Sample::oneshot();
    let append = log.append([expected(99, 1)], IOFlushed::<Sample>::signal(flushed)).await;
    let acknowledged = append.is_ok() && matches!(answer.await, Ok(Ok(())));
    say(if acknowledged { "append acknowledged" } else { "append refused" });
    let voted = log.save_vote(&VoteOf::<Sample>::new(99, 1)).await.is_ok();
    say(if voted { "vote acknowledged" } else { "vote refused" });
    let read = log.get_log_reader().await.try_get_log_entries(0..).await.is_ok();
    say(if read { "read answered" } else { "read refused" });
}
