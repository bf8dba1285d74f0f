//! Stickler's decisions: ids, time, documents, routes, affinity, bindings, health, balancing.
//!
//! Everything in here is pure: no IO, no clock, no ambient randomness. Time, random bytes and views are
//! parameters, so that a property test, a simulation and a production node run the same code.

pub mod affinity;
pub mod balance;
pub mod by_rule;
pub mod client_address;
pub mod deliberate;
pub mod discovery;
pub mod document;
pub mod ejection;
pub mod heaviest;
pub mod hook;
pub mod ids;
pub mod invariants;
pub mod lease;
pub mod leaving;
pub mod load;
pub mod rebalance;
pub mod receipt;
pub mod redirect;
pub mod request_queue;
pub mod retry_budget;
pub mod routes;
pub mod routing;
pub mod secrets;
pub mod source_rates;
pub mod state;
pub mod time;
