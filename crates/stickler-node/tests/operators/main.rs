//! What operators and machines are promised of one node: the admin service on its socket, and the pages
//! `/livez`, `/readyz` and `/metrics`.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

mod audit;
mod backends;
mod documents;
mod explain;
mod keys;
mod sessions;
mod sockets;
mod status_pages;
mod support;
