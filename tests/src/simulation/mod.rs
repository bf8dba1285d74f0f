//! A deterministic simulation: three whole nodes with their data planes, shops and clients, on turmoil's
//! network, driven from one seed.
//!
//! Everything that a run draws (faults, delays, clients' choices, keys) comes from its seed, and each run
//! has a thread of its own. Nothing here looks at a real clock. What is promised is checked in four places:
//!
//! - [`observer`] looks at each node whenever its state changes: I1, I2, I3 and I9, by the predicates of
//!   `stickler_core::invariants`, and by which epoch it would route each session right then (I5).
//! - [`wire`] sits on each connection to a shop and sees requests as their first byte leaves (I5).
//! - [`oracle`] is each client's own record: what it was told is there, stays there (I4, I6). What it
//!   could not learn counts as neither done nor refused.
//! - [`world`] heals everything at the end, and wants leases, binds and complete carts through every node.

pub mod clients;
pub mod document;
pub mod faults;
pub mod http;
pub mod ledger;
pub mod links;
pub mod node_host;
pub mod observer;
pub mod oracle;
pub mod panics;
pub mod shop_host;
pub mod wire;
pub mod world;

pub use world::{Run, run};
