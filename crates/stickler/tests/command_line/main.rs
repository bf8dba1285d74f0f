//! The binary as operators and their scripts see it: messages, exit codes, and what they can rely on.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

mod failover_page;
mod mistakes;
mod running;
mod starting;
mod support;
mod unreachable;
