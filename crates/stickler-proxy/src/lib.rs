//! Stickler's data plane: accepts clients, checks and forwards their HTTP requests, tunnels what they
//! upgrade, and probes backends. It names no consensus, no RPC and no store: what it routes by is handed in.

pub mod backend_connections;
pub mod body;
mod client_body;
mod client_stream;
pub mod exchange;
pub mod exchange_error;
pub mod framing;
pub mod framing_watch;
pub mod hold;
pub mod hook;
pub mod hop_by_hop;
pub mod in_flight;
mod places;
pub mod probe;
mod proxy_header;
pub mod request;
pub mod responses;
mod upgrade;
pub mod worker;
