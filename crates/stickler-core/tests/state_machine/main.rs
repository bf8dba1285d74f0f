//! What the binding state machine promises, over random logs and by example.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod aliases;
mod by_rule;
mod choices;
mod commands;
mod conflicts;
mod documents;
mod evictions;
mod explanations;
mod invariants;
mod jobs;
mod lifetimes;
mod marks;
mod moves;
mod pool_changes;
mod proposals;
mod replicas;
mod rotation;
mod snapshots;
mod steps;
mod verdicts;
mod world;

/// The same cases on every run.
fn config(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x5717),
        failure_persistence: None,
        ..Default::default()
    }
}
