//! Raft types and entries for tests.

use openraft::type_config::alias::{EntryOf, LogIdOf};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, entry::RaftEntry};

openraft::declare_raft_types!(
    /// Commands are texts; everything else is as in production.
    pub Sample:
        D = String,
        R = (),
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// A position in the log.
pub fn log_id(term: u64, index: u64) -> LogIdOf<Sample> {
    let leader = <Sample as openraft::RaftTypeConfig>::LeaderId::new(term, 1);
    LogIdOf::<Sample>::new(leader.to_committed(), index)
}

/// An entry with a text.
pub fn entry(term: u64, index: u64, text: String) -> EntryOf<Sample> {
    EntryOf::<Sample>::new(log_id(term, index), EntryPayload::Normal(text))
}
