//! The HTTP engine as a black box: real loopback sockets, raw clients and raw backends.
//!
//! - `forwarding`: what passes through, and what does not.
//! - `streaming`: bodies pass as they come, with back-pressure, and end with their clients.
//! - `connections`: reuse, retries, what a failed exchange says.
//! - `refusals`: framing that could smuggle, heads too large, clients too many.
//! - `tunnels`: WebSockets.
//! - `probing`: backends up and down.
//! - `proxy_headers`: connections that begin with a header of the PROXY protocol.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panic")]

mod connections;
mod forwarding;
mod probing;
mod proxy_headers;
mod refusals;
mod streaming;
mod support;
mod tunnels;
