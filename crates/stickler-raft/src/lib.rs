//! The replicated store: consensus, the log on disk, snapshots, peer transport, leases.
//!
//! [`Cluster::start`] assembles one node's part of it; the handle that it returns is all that the rest of
//! the node sees: the applied state, the footing on which the node stands, and a way to propose.

mod blocking;
mod consensus;
mod disk;
mod election;
mod founding;
mod hand_over;
mod key_rotation;
mod lease_holder;
mod loads;
mod machine;
mod office;
mod peers;
mod proposals;
mod published;
mod quorum_rounds;
mod raft;
mod receipts;
mod runtime;
mod settings;
mod snapshotter;
pub mod store;
mod sweeper;
mod tasks;

pub use consensus::{Cluster, ConsensusConfig, ConsensusStatus, MemberStatus, StartError};
pub use disk::{Disk, DiskError};
pub use founding::MembershipError;
pub use hand_over::HandOverError;
pub use key_rotation::RotationError;
pub use loads::LoadSource;
pub use machine::restore_snapshot;
pub use proposals::{Answer, Persistence, ProposeError};
pub use raft::Member;
