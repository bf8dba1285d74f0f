//! How openraft is set up, with reasons.

use openraft::{Config, SnapshotPolicy};

/// openraft's configuration.
///
/// A voter refuses votes for `election_timeout_max` after the leader's last message, and its own timer
/// adds another time-out to that; so 200 ms is the most that lets new binds resume within 300 ms of a
/// leader's death. Heartbeats come four times in that, so that one lost or late message elects nobody.
pub(crate) fn openraft() -> Config {
    Config {
        cluster_name: "stickler".to_owned(),
        heartbeat_interval: 40,
        election_timeout_min: 150,
        election_timeout_max: 200,
        enable_pre_vote: Some(true),
        // The state machine is rebuilt in memory: a leader that comes back must be elected first.
        enable_leader_restore: Some(false),
        // The receiver verifies and applies the whole snapshot before it answers.
        install_snapshot_timeout: 60_000,
        // `snapshotter` decides; this is openraft's own trigger.
        snapshot_policy: SnapshotPolicy::Never,
        // A follower is sent the log as long as the leader has it: a snapshot moves far more.
        replication_lag_threshold: 200_000,
        max_in_snapshot_log_to_keep: 5_000,
        purge_batch_size: 500,
        // The log reader cuts a read by bytes as well.
        max_payload_entries: 512,
        ..Config::default()
    }
}
