//! What jobs have been told to do and not to do, by operators and by the application.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch, JobId, KeyHash, LogIndex, Revision};
use stickler_core::state::{Binding, Cause, MoveReason};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct JobPromises {
    /// Jobs that an operator has paused: the last revision of the job that this gave, and the entry.
    paused: BTreeMap<JobId, (Revision, LogIndex)>,
    /// The last revision at which somebody has wanted a job to go on.
    may_go_on: BTreeMap<JobId, Revision>,
    /// By which job each epoch was given.
    gave: BTreeMap<Epoch, JobId>,
    /// Idempotency keys of what an application has agreed to.
    agreed: BTreeSet<String>,
}

impl JobPromises {
    /// Takes in that an operator is told that a job, which was at this revision, is paused by this entry.
    pub fn is_paused(&mut self, job: JobId, seen: Revision, by: LogIndex) {
        self.paused.insert(job, (Revision(seen.0 + 1), by));
    }

    /// Takes in that an operator wants a job to go on which is at this revision.
    pub fn may_go_on(&mut self, job: JobId, seen: Revision) {
        let last = self.may_go_on.entry(job).or_default();
        *last = seen.max(*last);
    }

    /// A job is at work by this entry.
    ///
    /// # Errors
    /// When it is paused.
    pub fn is_at_work(&self, job: JobId, by: LogIndex) -> Result<(), String> {
        let Some((revision, paused)) = self.paused.get(&job) else { return Ok(()) };
        let goes_on = self.may_go_on.get(&job).is_some_and(|seen| seen >= revision);
        if goes_on || by <= *paused {
            return Ok(());
        }
        Err(format!("jobs: a session was moved at {by} by job {job}, which is paused since {paused}"))
    }

    /// Takes in that a job has given an epoch.
    pub fn gives(&mut self, epoch: Epoch, job: JobId) {
        self.gave.insert(epoch, job);
    }

    /// A job that undoes another one moves what that one has moved, and back to where it was.
    ///
    /// # Errors
    /// When it moves something else, or to somewhere else.
    pub fn undoes(&self, of: JobId, before: &Binding, after: &Binding) -> Result<(), String> {
        let gave = self.gave.get(&before.epoch);
        if before.cause != Cause::Moved(MoveReason::Job) || gave.is_some_and(|gave| *gave != of) {
            return Err(format!("jobs: what job {of} has not moved was undone for it: {before:?}"));
        }
        if before.home.backend() != Some(after.backend) {
            return Err(format!("jobs: an undo of job {of} has moved {before:?} to {}", after.backend));
        }
        Ok(())
    }

    /// Takes in that an application agrees to what a hook says.
    pub fn agrees(&mut self, idempotency_key: String) {
        self.agreed.insert(idempotency_key);
    }

    /// A job has the application told before it moves a session that has this epoch.
    ///
    /// # Errors
    /// When the application has not agreed.
    pub fn is_agreed(&self, job: JobId, (session, epoch): (KeyHash, Epoch)) -> Result<(), String> {
        if self.agreed.contains(&format!("{job}-{session}-{epoch}")) {
            return Ok(());
        }
        Err(format!("jobs: {session} was moved by job {job}, and the application has not agreed"))
    }
}

/// How a pool's sessions were spread while a job evens them out, by what one node has shown.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    /// When the first backend was last seen to have no fewer than the second.
    more: BTreeMap<(BackendId, BackendId), Duration>,
}

/// How long ago it may have been decided to move a session: some are planned together, and move at the job's pace, each when
/// it is quiet.
const DECIDED: Duration = Duration::from_secs(5);

/// By how many sessions the backend that gets one may be ahead of the one that loses it, in any case.
const AHEAD: usize = 3;

impl Spread {
    /// Takes in how many sessions each backend has.
    pub fn is(&mut self, at: Duration, sessions: &BTreeMap<BackendId, usize>) {
        for (one, has) in sessions {
            let fewer = sessions.iter().filter(|(_, others)| *others <= has);
            self.more.extend(fewer.map(|(other, _)| ((*one, *other), at)));
        }
    }

    /// A job that evens sessions out takes them from where more are. `from` and `to` are the backends and how many sessions
    /// each had before the move.
    ///
    /// # Errors
    /// When there were fewer all the time.
    pub fn evens_out(
        &self,
        at: Duration,
        from: (BackendId, usize),
        to: (BackendId, usize),
    ) -> Result<(), String> {
        let had_more = self.more.get(&(from.0, to.0)).is_some_and(|seen| *seen + DECIDED >= at);
        if had_more || to.1 <= from.1 + AHEAD {
            return Ok(());
        }
        Err(format!("jobs: to even sessions out, one was moved from {from:?} to {to:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(3);

    #[test]
    fn a_job_moves_nobody_unless_the_application_agrees() {
        let (session, mut jobs) = ((KeyHash(7), Epoch(5)), JobPromises::default());
        assert!(jobs.is_agreed(JOB, session).is_err());
        jobs.agrees(format!("3-{}-6", session.0));
        assert!(jobs.is_agreed(JOB, session).is_err());
        jobs.agrees(format!("3-{}-5", session.0));
        assert!(jobs.is_agreed(JOB, session).is_ok());
    }

    #[test]
    fn a_job_that_is_paused_moves_nobody_until_it_goes_on() {
        let mut jobs = JobPromises::default();
        jobs.is_paused(JOB, Revision(0), LogIndex(8));
        assert!(jobs.is_at_work(JOB, LogIndex(8)).is_ok());
        assert!(jobs.is_at_work(JOB, LogIndex(9)).is_err());
        jobs.may_go_on(JOB, Revision(0));
        assert!(jobs.is_at_work(JOB, LogIndex(9)).is_err(), "that was before the pause, and changes nothing");
        jobs.may_go_on(JOB, Revision(1));
        assert!(jobs.is_at_work(JOB, LogIndex(9)).is_ok());
        jobs.is_paused(JOB, Revision(2), LogIndex(20));
        assert!(jobs.is_at_work(JOB, LogIndex(21)).is_err(), "paused once more");
    }

    #[test]
    fn sessions_are_evened_out_from_where_more_are_or_were() {
        let (one, other, second) = (BackendId(1), BackendId(2), Duration::from_secs(1));
        let mut spread = Spread::default();
        let evens_out = |spread: &Spread, at: u32, from, to| {
            spread.evens_out(second * at, (one, from), (other, to)).is_ok()
        };
        assert!(evens_out(&spread, 9, 4, 7), "it may have changed");
        assert!(!evens_out(&spread, 9, 4, 8));
        spread.is(second * 6, &BTreeMap::from([(one, 5), (other, 4)]));
        spread.is(second * 7, &BTreeMap::from([(one, 4), (other, 9)]));
        assert!(evens_out(&spread, 9, 4, 8), "it had more when that was decided");
        assert!(!evens_out(&spread, 12, 4, 8), "that was long ago");
        assert!(spread.evens_out(second * 9, (other, 4), (one, 8)).is_ok());
    }
}
