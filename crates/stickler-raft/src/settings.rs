//! How openraft is set up, with reasons.

use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

/// How long a voter refuses every vote and pre-vote after the leader's last message: openraft takes its
/// `election_timeout_max` for it.
pub(crate) const LEADER_LEASE: Duration = Duration::from_millis(200);

/// openraft's configuration.
///
/// A voter refuses votes for `election_timeout_max` after the leader's last message; so 200 ms is the most that
/// lets new binds resume within 300 ms of a leader's death. Heartbeats come four times in that, so that one lost
/// or late message elects nobody.
pub(crate) fn openraft() -> Config {
    Config {
        cluster_name: "stickler".to_owned(),
        heartbeat_interval: 40,
        // The time in which a vote must be answered: a round trip between nodes and a synced write. As long as
        // openraft permits; that two nodes' timers then end together matters less, see `election`.
        election_timeout_min: LEADER_LEASE.as_millis() as u64 - 1,
        election_timeout_max: LEADER_LEASE.as_millis() as u64,
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
