//! Probes: each backend is checked by every voter, which reports transitions. The verdict is the cluster's.

mod check;
mod prober;
mod streak;

pub(crate) use check::instance_of;
pub use prober::{ProbeEvent, ProbeTarget, Prober};
pub use streak::Streak;
