//! How a backend is chosen for a new session, or for a request without one: four algorithms as pure
//! functions over the usable backends of a pool.
//!
//! The caller has already left out every backend that may not be chosen (down, drain, maint, at its cap).
//! A weight of 0 is never chosen either. All arithmetic is on integers, so that every node and every
//! replay of the log comes to the same choice.

mod bounded_load;
mod fewest_sessions;
mod rendezvous;
mod two_choices;
mod weighted_round_robin;

pub use bounded_load::within_bound;
pub use fewest_sessions::fewest_sessions;
pub use rendezvous::rendezvous;
pub use two_choices::two_choices;
pub use weighted_round_robin::{RoundRobin, weighted_round_robin};

use crate::ids::BackendId;

/// A backend that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The backend.
    pub backend: BackendId,
    /// Its share of new sessions; 0 means none.
    pub weight: u32,
}
