//! What the process does until it is cut off.

use std::path::Path;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{EntryOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};
use openraft::{LogIdOptionExt, RaftLogReader};
use stickler_core::ids::{ClusterId, NodeId};
use stickler_raft::store::{DataDirectory, IdentityStore, SledLog, SnapshotDirectory, SnapshotFile};

use crate::sample::{Sample, entry, log_id};

/// The cluster that the node belongs to.
pub const CLUSTER: u64 = 9;
/// So many terms are in one chunk of a snapshot.
const CHUNK_TERMS: usize = 2048;
/// A chunk of this content is in some snapshots, so that they are synced on their way.
static PADDING: [u8; 300 << 10] = [7; 300 << 10];

/// The entry at an index, as this process writes it in a term. Some take several values in sled.
pub fn expected(term: u64, index: u64) -> EntryOf<Sample> {
    let length = if index.is_multiple_of(23) { 20_000 } else { index * 7 % 300 };
    let text = format!("{term}-{index}-").repeat(1 + usize::try_from(length / 6).unwrap());
    entry(term, index, text)
}

/// The terms that a snapshot of this process holds.
pub fn terms_in(snapshot: &SnapshotFile) -> Result<Vec<u64>, String> {
    let mut terms = Vec::new();
    for chunk in snapshot.chunks().map_err(|error| error.to_string())? {
        let chunk = chunk.map_err(|error| error.to_string())?;
        if chunk != PADDING {
            terms.extend(chunk.chunks(2).map(|term| u64::from(u16::from_le_bytes(term.try_into().unwrap()))));
        }
    }
    let meta = snapshot.meta::<Sample>().map_err(|error| error.to_string())?;
    let covered = meta.last_log_id.next_index();
    if covered != terms.len() as u64 {
        return Err(format!("a snapshot of {covered} entries holds {}", terms.len()));
    }
    Ok(terms)
}

/// The process: a node's store, and what a client may know of it.
struct Process<'a> {
    /// Hears of everything that is asked for or acknowledged.
    say: &'a dyn Fn(&str),
    log: SledLog<Sample>,
    snapshots: SnapshotDirectory,
    /// The term of each entry from index 0 on.
    terms: Vec<u64>,
    /// How many of them the newest snapshot covers.
    covered: usize,
}

/// Opens the store and goes on for some rounds, or until it is killed. Returns what is left once the store
/// has failed.
pub async fn run(path: &Path, say: &dyn Fn(&str), rounds: u64) -> Option<SledLog<Sample>> {
    let directory = DataDirectory::open(path, NodeId(1), [3; 16]).unwrap();
    say(&format!("started {}", directory.incarnation()));
    let log = SledLog::<Sample>::open(&directory).unwrap();
    let snapshots = SnapshotDirectory::open(&directory).unwrap();
    directory.learn_cluster(ClusterId(u128::from(CLUSTER))).unwrap();
    say(&format!("joined {CLUSTER}"));
    drop(directory);
    let (mut process, mut term) = Process::start(say, log, snapshots).await;
    for round in 0..rounds {
        if round % 9 == 0 {
            term += 1;
        }
        if process.work(term, round).await.is_none() {
            return Some(process.log);
        }
    }
    let closed = process.log.closed();
    drop(process);
    closed.wait().await;
    None
}

impl<'a> Process<'a> {
    /// Reads what an earlier process left. Returns the term of the last vote, too.
    async fn start(
        say: &'a dyn Fn(&str),
        mut log: SledLog<Sample>,
        snapshots: SnapshotDirectory,
    ) -> (Self, u64) {
        let mut reader = log.get_log_reader().await;
        let term = reader.read_vote().await.unwrap().map_or(0, |vote| vote.leader_id.term);
        let latest = snapshots.latest().unwrap();
        let mut terms = latest.map_or_else(Vec::new, |latest| terms_in(&latest).unwrap());
        let covered = terms.len();
        let first = log.get_log_state().await.unwrap().last_purged_log_id.next_index();
        terms.truncate(usize::try_from(first).unwrap());
        let entries = reader.try_get_log_entries(0..).await.unwrap();
        terms.extend(entries.iter().map(|entry| entry.log_id_parts().0.term));
        (Self { say, log, snapshots, terms, covered }, term)
    }

    /// One round of what openraft asks of a store; `None` once the store has failed.
    async fn work(&mut self, term: u64, round: u64) -> Option<()> {
        if round.is_multiple_of(9) {
            self.log.save_vote(&VoteOf::<Sample>::new(term, 1)).await.ok()?;
            (self.say)(&format!("voted {term}"));
            self.truncate().await?;
        }
        self.append(term, round).await?;
        if round % 13 == 12 {
            self.snapshot(round).await?;
        }
        Some(())
    }

    /// A new leader overwrites what its predecessor left unfinished.
    async fn truncate(&mut self) -> Option<()> {
        let first = self.terms.len().saturating_sub(2) as u64;
        if first > self.covered as u64 + 1 {
            (self.say)(&format!("truncating {first}"));
            let last = self.log.get_log_reader().await.try_get_log_entries(first - 1..first).await.ok()?;
            self.log.truncate_after(Some(last.first()?.log_id)).await.ok()?;
            (self.say)(&format!("truncated {first}"));
            self.terms.truncate(usize::try_from(first).unwrap());
        }
        Some(())
    }

    /// Several appends at once, of several sizes, so that the writer has something to gather.
    async fn append(&mut self, term: u64, round: u64) -> Option<()> {
        let mut waiting = Vec::new();
        for size in [1, 1 + round % 5, 1 + round % 17] {
            let next = self.terms.len() as u64;
            let last = next + size - 1;
            (self.say)(&format!("appending {term} {next} {last}"));
            let (flushed, answer) = Sample::oneshot();
            let entries = (next..=last).map(|index| expected(term, index));
            self.log.append(entries, IOFlushed::signal(flushed)).await.ok()?;
            self.terms.extend((next..=last).map(|_| term));
            waiting.push((next, last, answer));
        }
        let last = self.terms.len() as u64 - 1;
        self.log.save_committed(Some(log_id(term, last))).await.ok()?;
        for (first, last, answer) in waiting {
            answer.await.ok()?.ok()?;
            (self.say)(&format!("appended {term} {first} {last}"));
        }
        Some(())
    }

    /// A snapshot of all but the last entries, and a purge of what it covers.
    async fn snapshot(&mut self, round: u64) -> Option<()> {
        let covered = self.terms.len() - 7;
        let last = log_id(self.terms[covered - 1], covered as u64 - 1);
        let last_membership = StoredMembershipOf::<Sample>::default();
        let meta = SnapshotMetaOf::<Sample> { last_log_id: Some(last), last_membership };
        let mut writer = self.snapshots.create::<Sample>(&meta).ok()?;
        if round.is_multiple_of(4) {
            writer.write_chunk(&PADDING).ok()?;
        }
        for terms in self.terms[..covered].chunks(CHUNK_TERMS) {
            let terms = terms.iter().map(|term| u16::try_from(*term).unwrap().to_le_bytes());
            writer.write_chunk(&terms.collect::<Vec<_>>().concat()).ok()?;
        }
        writer.finish().ok()?;
        self.covered = covered;
        (self.say)(&format!("covered {covered}"));
        (self.say)(&format!("purging {}", last.index));
        self.log.purge(last).await.ok()
    }
}
