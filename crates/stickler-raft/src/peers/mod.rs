//! The other nodes: who may speak, over which connections, and what is said.

mod bodies;
mod gatekeeper;
mod link;
mod network;
mod service;

pub(crate) use bodies::{Greeting, LeaseMessage, LeaseNews, NotCommitted, ProposeAnswer, ProposeRequest};
pub(crate) use gatekeeper::Gatekeeper;
pub(crate) use link::{Lane, Links, Target, body, value};
pub(crate) use network::PeerNetwork;
pub(crate) use service::{PeerService, serve};
