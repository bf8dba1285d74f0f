//! Jobs, as operators begin them and wait for them.

use std::time::Duration;

use stickler_proto::admin::{Job, StartJobRequest};

use super::ScenarioError;
use super::front::Front;
use super::users;
use crate::rig::admin::Listed;
use crate::rig::{Rig, RigError};

/// How often a job is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Begins a session for each of these clients on the first backend, which has been made ready and stays it, as the others are
/// in the end. The place of the leader, and all sessions.
pub(super) async fn begin_on_first(
    rig: &mut Rig,
    front: &Front,
    path: &'static str,
    names: impl IntoIterator<Item = String>,
) -> Result<(usize, Listed), ScenarioError> {
    let backends = rig.backend_names();
    for (place, name) in backends.iter().enumerate() {
        let admin = if place == 0 { "ready" } else { "maint" };
        rig.admin(0).set_backend(name, admin).await.map_err(RigError::from)?;
    }
    rig.settle().await?;
    users::begin(front, path, names).await?;
    for name in &backends[1..] {
        rig.admin(0).set_backend(name, "ready").await.map_err(RigError::from)?;
    }
    let leader = rig.settle().await?;
    Ok((leader, rig.sessions().await?.swap_remove(0)))
}

/// Begins a job through this node, which knows it at once: its number.
pub(super) async fn start(
    rig: &mut Rig,
    asked: usize,
    request: StartJobRequest,
) -> Result<u64, ScenarioError> {
    let newest = rig.admin(asked).jobs().await.map_err(RigError::from)?.last().map_or(0, |job| job.id);
    let request = StartJobRequest { expected_job: newest, ..request };
    let job = rig.admin(asked).start_job(request).await.map_err(RigError::from)?;
    find(rig, asked, job).await.map_err(ScenarioError::Scene)?;
    Ok(job)
}

/// Begins to move all sessions of the backend of this name elsewhere, so many in a second.
pub(super) async fn evacuate(
    rig: &mut Rig,
    asked: usize,
    from: &str,
    rate: u32,
) -> Result<u64, ScenarioError> {
    let backend = rig.admin(asked).backend(from).await.map_err(RigError::from)?.id;
    let request = StartJobRequest {
        work: "evacuate".to_owned(),
        backend,
        rate,
        hold_milliseconds: 2000,
        ..StartJobRequest::default()
    };
    start(rig, asked, request).await
}

/// The job, as this node knows it.
pub(super) async fn find(rig: &mut Rig, asked: usize, job: u64) -> Result<Job, String> {
    let jobs = rig.admin(asked).jobs().await.map_err(|error| error.to_string())?;
    jobs.into_iter().find(|found| found.id == job).ok_or_else(|| "the job is gone".to_owned())
}

/// Waits until a job has moved so many sessions.
pub(super) async fn until_moved(rig: &mut Rig, asked: usize, job: u64, enough: u64) -> Result<(), RigError> {
    rig.until("the job has moved so many", async |rig| {
        let moved = find(rig, asked, job).await?.moved;
        if moved >= enough { Ok(()) } else { Err(format!("{moved} of {enough} have moved")) }
    })
    .await
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
