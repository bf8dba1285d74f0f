//! What a node finds in its data directory when it starts.

use std::collections::BTreeMap;
use std::path::Path;

use openraft::RaftLogReader;
use openraft::entry::RaftEntry;
use openraft::storage::RaftLogStorage;
use stickler_core::ids::NodeId;
use stickler_raft::store::{DataDirectory, IdentityStore, SledLog, SnapshotDirectory};

use crate::sample::Sample;
use crate::workload::{expected, terms_in};

/// See the module.
pub struct Found {
    pub incarnation: u64,
    pub cluster: Option<u64>,
    /// The term of the vote.
    pub vote: u64,
    /// Entries before this index are purged.
    pub first: u64,
    /// Index and term of what is in the log.
    pub entries: BTreeMap<u64, u64>,
    /// The terms of the entries that the newest snapshot covers, from index 0 on.
    pub snapshot: Vec<u64>,
}

impl Found {
    /// Opens everything in the order of a node, reads it, and closes it.
    pub async fn open(path: &Path) -> Result<Self, String> {
        let directory = DataDirectory::open(path, NodeId(1), [3; 16]).map_err(|error| error.to_string())?;
        let mut log = SledLog::<Sample>::open(&directory).map_err(|error| error.to_string())?;
        let closed = log.closed();
        let found = Self::read(&directory, &mut log).await;
        drop(log);
        closed.wait().await;
        found
    }

    async fn read(directory: &DataDirectory, log: &mut SledLog<Sample>) -> Result<Self, String> {
        let snapshots = SnapshotDirectory::open(directory).map_err(|error| error.to_string())?;
        let latest = snapshots.latest().map_err(|error| error.to_string())?;
        let snapshot = latest.map_or_else(|| Ok(Vec::new()), |latest| terms_in(&latest))?;
        let mut reader = log.get_log_reader().await;
        let vote = reader.read_vote().await.map_err(|error| error.to_string())?;
        let state = log.get_log_state().await.map_err(|error| error.to_string())?;
        let mut entries = BTreeMap::new();
        for entry in reader.try_get_log_entries(0..).await.map_err(|error| error.to_string())? {
            let (leader, index) = entry.log_id_parts();
            let term = leader.term;
            if entry != expected(term, index) {
                return Err(format!("entry {index} of term {term} is not what was written"));
            }
            entries.insert(index, term);
        }
        Ok(Self {
            incarnation: directory.incarnation().0,
            cluster: directory.identity().cluster.map(|cluster| u64::try_from(cluster.0).unwrap()),
            vote: vote.map_or(0, |vote| vote.leader_id.term),
            first: state.last_purged_log_id.map_or(0, |purged| purged.index + 1),
            entries,
            snapshot,
        })
    }
}
