//! Jobs: many sessions that move one after the other because an operator wants a backend empty or a pool even.
//!
//! A move is announced first. Every node then holds the session's new requests, and says so once its last exchange has
//! ended; only then the leader proposes the move. Jobs and announcements are replicated, so that the next leader goes on
//! where the last one died (docs/adr/0011).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::State;
use super::backends::AdminState;
use super::command::{Announce, ChangeJob, JobChange, Quiet, StartJob, Withdraw, Withdrawn};
use super::outcome::{JobOutcome, Outcome};
use super::record::{Binding, Cause, MoveReason, Record, SessionKey};
use crate::deliberate::{self, Fault};
use crate::document::cluster::Rate;
use crate::ids::{AffinityId, BackendId, Epoch, JobId, LogIndex, NodeId, PoolId, Revision};
use crate::time::ClusterTime;

/// Jobs that are remembered. The oldest that are over go first.
const MOST_JOBS: usize = 64;

/// Sessions that may be announced at once: requests of theirs are held.
pub const MOST_ANNOUNCED: usize = 1024;

/// All jobs, and the sessions whose move is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Jobs {
    /// The last id that was given out.
    pub last: JobId,
    /// Those that go on, and the last ones that are over.
    pub jobs: BTreeMap<JobId, Job>,
    /// Sessions that are about to move.
    #[serde(with = "pairs")]
    pub announced: BTreeMap<SessionKey, Announced>,
}

/// A map as a list of pairs: formats for people have no keys but texts.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Announced, SessionKey};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<SessionKey, Announced>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<SessionKey, Announced>, D::Error> {
        Ok(Vec::<(SessionKey, Announced)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// What is to be done.
    pub work: Work,
    /// The pool in which it is done. One job at a time is at work in a pool.
    pub pool: PoolId,
    /// Sessions of this affinity alone; `None`: of all.
    pub affinity: Option<AffinityId>,
    /// How fast.
    pub rate: Rate,
    /// How long the requests of a session are held before it is let go, to be tried again later.
    pub hold: Duration,
    /// When it is over, whatever is left; `None`: when nothing is left.
    pub deadline: Option<ClusterTime>,
    /// What becomes of sessions that are left then.
    pub at_deadline: AtDeadline,
    /// Who is told of each session before it moves: see the node's hooks.
    pub hook: Option<String>,
    /// Whether it goes on.
    pub state: JobState,
    /// Raised by every change of `state`.
    pub revision: Revision,
    /// When it was begun.
    pub began: ClusterTime,
    /// When `state` last changed.
    pub since: ClusterTime,
    /// Sessions that were announced before it last began or went on: its pace counts from there.
    pub announced_before: u64,
    /// Sessions whose move was announced.
    pub announced: u64,
    /// Sessions that have moved.
    pub moved: u64,
    /// Announced moves that were taken back since an exchange went on for too long.
    pub not_quiet: u64,
    /// Sessions that stay since their hook failed.
    pub hooks_failed: u64,
    /// Sessions that were left when it was over.
    pub left: u64,
    /// The last epoch before it began, and the last one that it gave: what it did can be told by that.
    pub epochs: (Epoch, Epoch),
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Work {
    /// Moves all sessions away from a backend, which drains.
    Evacuate {
        /// The backend.
        backend: BackendId,
        /// Where to; `None`: wherever the pool's algorithm says.
        to: Option<BackendId>,
    },
    /// Evens out the bound sessions of the pool, with as few moves as that takes.
    Rebalance {
        /// The most moves.
        most: u64,
    },
    /// Moves sessions back that another job has moved, as long as they are where it has put them.
    Undo {
        /// The other job.
        of: JobId,
        /// The epochs that it gave: above the first, up to the second.
        epochs: (Epoch, Epoch),
    },
}

/// Whether a job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// It does.
    Running,
    /// Until an operator lets it go on.
    Paused,
    /// It has done what it could.
    Done,
    /// An operator has ended it.
    Cancelled,
}

/// What becomes of the sessions that a job has left at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AtDeadline {
    /// They stay.
    Skip,
    /// They end.
    Close,
    /// They move, whatever goes on.
    Move,
}

/// A session whose move is announced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Announced {
    /// By which job.
    pub job: JobId,
    /// The epoch that is to end.
    pub epoch: Epoch,
    /// The log entry of the announcement.
    pub at: LogIndex,
    /// Cluster time at it.
    pub time: ClusterTime,
    /// Nodes that hold the session's requests, and on which no exchange of it goes on.
    pub quiet: BTreeSet<NodeId>,
}

impl Jobs {
    /// The job that is at work in a pool, or paused there.
    #[must_use]
    pub fn in_pool(&self, pool: PoolId) -> Option<(JobId, &Job)> {
        self.jobs.iter().find(|(_, job)| job.pool == pool && !job.is_over()).map(|(id, job)| (*id, job))
    }

    /// Whether the move of this epoch of a session is announced.
    #[must_use]
    pub fn is_announced(&self, session: SessionKey, epoch: Epoch) -> bool {
        !self.announced.is_empty() && self.announced.get(&session).is_some_and(|it| it.epoch == epoch)
    }
}

impl Job {
    /// Whether nothing comes of it any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, JobState::Done | JobState::Cancelled)
    }

    /// Whether its time is over at this time.
    #[must_use]
    pub fn is_late(&self, now: ClusterTime) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether the job is about this session, as it is bound now.
    #[must_use]
    pub fn concerns(&self, session: SessionKey, binding: &Binding) -> bool {
        if self.affinity.is_some_and(|affinity| affinity != session.affinity) {
            return false;
        }
        match self.work {
            Work::Evacuate { backend, .. } => binding.backend == backend,
            Work::Rebalance { .. } => binding.pool == self.pool,
            Work::Undo { epochs: (after, last), .. } => {
                let by_job = binding.cause == Cause::Moved(MoveReason::Job) && binding.pool == self.pool;
                if deliberate::active(Fault::UndoEverything) {
                    return binding.pool == self.pool && binding.home.backend().is_some();
                }
                by_job && after < binding.epoch && binding.epoch <= last && binding.home.backend().is_some()
            }
        }
    }

    /// How many sessions may be announced by now, by its rate.
    #[must_use]
    pub fn due(&self, now: ClusterTime) -> u64 {
        let time = now.since(self.since).as_millis();
        let paced = u128::from(self.rate.most) * time / self.rate.period.as_millis().max(1);
        let due = self.announced_before.saturating_add(u64::try_from(paced).unwrap_or(u64::MAX));
        due.saturating_sub(self.announced)
    }
}

impl State {
    fn jobs_mut(&mut self) -> &mut Jobs {
        Arc::make_mut(&mut self.jobs)
    }

    pub(super) fn start_job(&mut self, start: &StartJob) -> JobOutcome {
        if self.jobs.last != start.expected {
            return JobOutcome::Changed(self.jobs.last);
        }
        let Some((work, pool)) = self.work(start) else { return JobOutcome::Unknown };
        if let Some((busy, _)) = self.jobs.in_pool(pool) {
            return JobOutcome::Busy(busy);
        }
        if let Work::Evacuate { backend, .. } = work {
            self.drain_for(backend);
        }
        let (now, epoch) = (self.time, self.epoch);
        let job = Job {
            work,
            pool,
            affinity: start.affinity,
            rate: start.rate,
            hold: start.hold,
            deadline: start.deadline.map(|after| now + after),
            at_deadline: start.at_deadline,
            hook: start.hook.clone(),
            state: JobState::Running,
            revision: Revision(0),
            began: now,
            since: now,
            announced_before: 0,
            announced: 0,
            moved: 0,
            not_quiet: 0,
            hooks_failed: 0,
            left: 0,
            epochs: (epoch, epoch),
        };
        let jobs = self.jobs_mut();
        jobs.last = JobId(jobs.last.0 + 1);
        let id = jobs.last;
        jobs.jobs.insert(id, job);
        while jobs.jobs.len() > MOST_JOBS
            && let Some(oldest) = jobs.jobs.iter().find(|(_, job)| job.is_over()).map(|(id, _)| *id)
        {
            jobs.jobs.remove(&oldest);
        }
        JobOutcome::Done(id)
    }

    /// What a job is to do, if there is something to do it to.
    fn work(&self, start: &StartJob) -> Option<(Work, PoolId)> {
        match start.work {
            Work::Evacuate { backend, to } => {
                let pool = self.catalog.backends.get(&backend)?.pool;
                let fits =
                    |to| to != backend && self.catalog.backends.get(&to).is_some_and(|it| it.pool == pool);
                to.is_none_or(fits).then_some((start.work, pool))
            }
            Work::Rebalance { .. } => {
                start.pool.filter(|pool| self.catalog.pool(*pool).is_some()).map(|pool| (start.work, pool))
            }
            Work::Undo { of, .. } => {
                let job = self.jobs.jobs.get(&of).filter(|job| job.is_over())?;
                Some((Work::Undo { of, epochs: job.epochs }, job.pool))
            }
        }
    }

    /// A backend that is evacuated takes no new sessions meanwhile, or it would never be empty.
    fn drain_for(&mut self, backend: BackendId) {
        let now = self.time;
        if let Some(record) = Arc::make_mut(&mut self.catalog).backends.get_mut(&backend)
            && record.admin == AdminState::Ready
        {
            record.admin = AdminState::Drain { deadline: None };
            record.admin_since = now;
            record.revision = Revision(record.revision.0 + 1);
        }
    }

    pub(super) fn change_job(&mut self, change: &ChangeJob) -> JobOutcome {
        let (now, epoch) = (self.time, self.epoch);
        let Some(job) = self.jobs_mut().jobs.get_mut(&change.job) else { return JobOutcome::Unknown };
        if job.revision != change.expected || job.is_over() {
            return JobOutcome::Changed(change.job);
        }
        let state = match change.change {
            JobChange::Pause if !deliberate::active(Fault::IgnorePause) => JobState::Paused,
            JobChange::Pause | JobChange::Resume => JobState::Running,
            JobChange::Cancel => JobState::Cancelled,
            JobChange::Finish { left } => {
                job.left = left;
                JobState::Done
            }
        };
        (job.state, job.since, job.announced_before) = (state, now, job.announced);
        job.revision = Revision(job.revision.0 + 1);
        if job.is_over() {
            job.epochs.1 = epoch;
        }
        if state != JobState::Running {
            // What is held goes on where it is.
            self.jobs_mut().announced.retain(|_, announced| announced.job != change.job);
        }
        JobOutcome::Done(change.job)
    }

    pub(super) fn announce(&mut self, announce: &Announce) -> Outcome {
        let Some(job) = self.jobs.jobs.get(&announce.job).filter(|job| job.state == JobState::Running) else {
            return Outcome::Noted;
        };
        let concerned = |(session, epoch): &&(SessionKey, Epoch)| match self.table.get(session) {
            Some(Record::Binding(binding)) => binding.epoch == *epoch && job.concerns(*session, &binding),
            _ => false,
        };
        let fresh = |(session, _): &&(SessionKey, Epoch)| !self.jobs.announced.contains_key(session);
        let room = MOST_ANNOUNCED.saturating_sub(self.jobs.announced.len());
        let sessions: Vec<_> =
            announce.sessions.iter().filter(concerned).filter(fresh).take(room).copied().collect();
        let (at, time, job) = (self.applied, self.time, announce.job);
        let jobs = self.jobs_mut();
        for (session, epoch) in sessions {
            let announced = Announced { job, epoch, at, time, quiet: BTreeSet::new() };
            let new = jobs.announced.insert(session, announced).is_none();
            if let Some(job) = jobs.jobs.get_mut(&job).filter(|_| new) {
                job.announced += 1;
            }
        }
        Outcome::Noted
    }

    pub(super) fn withdraw(&mut self, withdraw: &Withdraw) -> Outcome {
        let jobs = self.jobs_mut();
        for (session, epoch) in &withdraw.sessions {
            let ours =
                jobs.announced.get(session).is_some_and(|it| (it.job, it.epoch) == (withdraw.job, *epoch));
            if !ours {
                continue;
            }
            jobs.announced.remove(session);
            if let Some(job) = jobs.jobs.get_mut(&withdraw.job) {
                match withdraw.why {
                    Withdrawn::NotQuiet => job.not_quiet += 1,
                    Withdrawn::HookFailed => job.hooks_failed += 1,
                }
            }
        }
        Outcome::Noted
    }

    pub(super) fn quiet(&mut self, quiet: &Quiet) -> Outcome {
        if self.jobs.announced.is_empty() {
            return Outcome::Noted;
        }
        let jobs = self.jobs_mut();
        for (session, epoch) in &quiet.sessions {
            if let Some(announced) = jobs.announced.get_mut(session).filter(|it| it.epoch == *epoch) {
                announced.quiet.insert(quiet.node);
            }
        }
        Outcome::Noted
    }

    /// Whether a job moves this session now: its move is announced, or its time is over and it moves what is left.
    pub(super) fn moves_by_job(&self, session: SessionKey, binding: &Binding) -> bool {
        let Some((id, job)) = self.jobs.in_pool(binding.pool) else { return false };
        if job.state != JobState::Running {
            return false;
        }
        let announced = self.jobs.announced.get(&session);
        let announced = announced.is_some_and(|it| it.job == id && it.epoch == binding.epoch);
        let late = job.is_late(self.time) && job.at_deadline == AtDeadline::Move;
        announced || late && job.concerns(session, binding)
    }

    /// Where a job moves a session, if it says so itself.
    pub(super) fn destination(&self, binding: &Binding, candidate: Option<BackendId>) -> Option<BackendId> {
        match self.jobs.in_pool(binding.pool)?.1.work {
            Work::Evacuate { to, .. } => to,
            Work::Rebalance { .. } => candidate,
            Work::Undo { .. } => binding.home.backend(),
        }
    }

    /// Whether sessions that a job has moved can be moved back one day.
    pub(super) fn remembers_home(&self, pool: PoolId) -> bool {
        self.jobs.in_pool(pool).is_some_and(|(_, job)| !matches!(job.work, Work::Undo { .. }))
    }

    /// Counts a move of the job that is at work in a pool.
    pub(super) fn count_job_move(&mut self, pool: PoolId, epoch: Epoch) {
        let Some((id, _)) = self.jobs.in_pool(pool) else { return };
        if let Some(job) = self.jobs_mut().jobs.get_mut(&id) {
            job.moved += 1;
            job.epochs.1 = epoch;
        }
    }

    /// A session that has another epoch, or none, is not about to move any more.
    pub(super) fn unannounce(&mut self, session: SessionKey, record: &Record) {
        let Some(announced) = self.jobs.announced.get(&session) else { return };
        if !matches!(record, Record::Binding(binding) if binding.epoch == announced.epoch) {
            self.jobs_mut().announced.remove(&session);
        }
    }
}
