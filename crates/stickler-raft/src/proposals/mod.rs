//! From a request in flight to a log entry and back: proposals are coalesced on the node, sent to the
//! leader in batches, coalesced there again into one entry, and answered.

mod courier;
mod leader_log;
mod leader_stream;
mod proposal;

pub(crate) use courier::Courier;
pub(crate) use leader_log::{LeaderLog, LeaderLogOwner, LeaderLogQueue, leader_log};
pub(crate) use proposal::Proposal;
pub use proposal::{Answer, Persistence, Proposals, ProposeError};
