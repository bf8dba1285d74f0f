//! What jobs have been told to do and not to do, by operators and by the application.

use std::collections::{BTreeMap, BTreeSet};

use stickler_core::ids::{Epoch, JobId, KeyHash, LogIndex};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct JobPromises {
    /// Jobs that an operator has paused, with the entry.
    paused: BTreeMap<JobId, LogIndex>,
    /// Jobs that somebody has wanted to go on.
    may_go_on: BTreeSet<JobId>,
    /// Idempotency keys of what an application has agreed to.
    agreed: BTreeSet<String>,
}

impl JobPromises {
    /// Takes in that an operator is told that a job is paused, by this entry.
    pub fn is_paused(&mut self, job: JobId, by: LogIndex) {
        self.paused.insert(job, by);
    }

    /// Takes in that an operator wants a job to go on.
    pub fn may_go_on(&mut self, job: JobId) {
        self.may_go_on.insert(job);
    }

    /// Takes in that an application agrees to what a hook says.
    pub fn agrees(&mut self, idempotency_key: String) {
        self.agreed.insert(idempotency_key);
    }

    /// A job moves a session by this entry: `told` is whether the application must have agreed.
    ///
    /// # Errors
    /// When the job is paused, or the application has not agreed.
    pub fn moves(
        &self,
        job: JobId,
        (session, epoch): (KeyHash, Epoch),
        by: LogIndex,
        told: bool,
    ) -> Result<(), String> {
        if let Some(paused) = self.paused.get(&job).filter(|_| !self.may_go_on.contains(&job))
            && by > *paused
        {
            return Err(format!(
                "jobs: {session} was moved at {by} by job {job}, which is paused since {paused}"
            ));
        }
        if told && !self.agreed.contains(&format!("{job}-{session}-{epoch}")) {
            return Err(format!(
                "jobs: {session} was moved by job {job}, and the application has not agreed"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_moves_nobody_while_it_is_paused_or_unless_the_application_agrees() {
        let (job, session, mut jobs) = (JobId(3), (KeyHash(7), Epoch(5)), JobPromises::default());
        let moves = |jobs: &JobPromises, by, told| jobs.moves(job, session, LogIndex(by), told);
        assert!(moves(&jobs, 9, false).is_ok());
        assert!(moves(&jobs, 9, true).is_err());
        jobs.agrees(format!("3-{}-6", session.0));
        assert!(moves(&jobs, 9, true).is_err());
        jobs.agrees(format!("3-{}-5", session.0));
        assert!(moves(&jobs, 9, true).is_ok());
        jobs.is_paused(job, LogIndex(8));
        assert!(moves(&jobs, 8, true).is_ok());
        assert!(moves(&jobs, 9, true).is_err());
        jobs.may_go_on(job);
        assert!(moves(&jobs, 9, true).is_ok());
    }
}
