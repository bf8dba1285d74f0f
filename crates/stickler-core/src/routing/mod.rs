//! Where a request goes: decided by pure functions from the published state, the node's standing and what
//! was recognised in the request. The caller carries out the step that it is told and comes back.

mod choice;
pub mod explain;
mod failover;
mod plan;
mod step;
mod ticket;

pub use choice::{Chooser, ChosenFor, NotTaking, choose, choose_by_hash};
pub use failover::{leaves_at_once, lets_go, why_gone};
pub use plan::{Plan, Pools};
pub use step::{ChooseBy, Held, Mint, Refusal, Step, Until, decide, decide_located};
pub use ticket::{Routed, Stale, Ticket, validate};
