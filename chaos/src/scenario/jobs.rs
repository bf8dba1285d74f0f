//! Jobs, as operators begin them and wait for them.

use std::time::Duration;

use stickler_proto::admin::{Job, StartJobRequest};

use super::ScenarioError;
use crate::rig::{Rig, RigError};

/// How often a job is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Begins a job through this node, and waits until it has heard of it from the leader: its number.
pub(super) async fn start(
    rig: &mut Rig,
    asked: usize,
    request: StartJobRequest,
) -> Result<u64, ScenarioError> {
    let newest = rig.admin(asked).jobs().await.map_err(RigError::from)?.last().map_or(0, |job| job.id);
    let request = StartJobRequest { expected_job: newest, ..request };
    let job = rig.admin(asked).start_job(request).await.map_err(RigError::from)?;
    rig.until("the node knows the job", async |rig| find(rig, asked, job).await.map(drop)).await?;
    Ok(job)
}

/// The job, as this node knows it.
pub(super) async fn find(rig: &mut Rig, asked: usize, job: u64) -> Result<Job, String> {
    let jobs = rig.admin(asked).jobs().await.map_err(|error| error.to_string())?;
    jobs.into_iter().find(|found| found.id == job).ok_or_else(|| "the job is gone".to_owned())
}

/// The job, once it is done. The run's own limit ends the wait for one that never is.
pub(super) async fn done(rig: &mut Rig, asked: usize, job: u64) -> Result<Job, ScenarioError> {
    loop {
        let found = find(rig, asked, job).await.map_err(ScenarioError::Scene)?;
        if found.state == "done" {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
    }
}
