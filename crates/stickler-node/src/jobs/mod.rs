//! Carries jobs out while this node leads: announces sessions at the job's rate, waits until all nodes that hold a lease
//! have them quiet, has the application told, and moves them. All that the next leader needs is in the state.

mod at_work;
mod candidates;
mod hooks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::JobId;
use stickler_core::state::JobState;
use stickler_raft::Cluster;
use stickler_rt::Shutdown;

use at_work::AtWork;
pub(crate) use candidates::count;

use crate::leading::next_turn;

/// How often the jobs are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Longest wait for the outcome of a change.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries jobs out until `shutdown`.
pub(crate) async fn run(cluster: Cluster, shutdown: Shutdown) {
    let mut at_work: BTreeMap<JobId, AtWork> = BTreeMap::new();
    while let Some(leads) = next_turn(&cluster, &shutdown, TICK).await {
        if !leads {
            at_work.clear();
            continue;
        }
        let jobs = Arc::clone(&cluster.view().jobs);
        let running = jobs.jobs.iter().filter(|(_, job)| job.state == JobState::Running);
        let running: BTreeMap<JobId, _> = running.map(|(id, job)| (*id, job)).collect();
        at_work.retain(|id, _| running.contains_key(id));
        for (id, job) in running {
            at_work.entry(id).or_default().go_on(&cluster, &jobs, (id, job)).await;
        }
    }
}
