//! One job, as far as this process has got with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::{BackendId, Epoch, JobId, NodeId};
use stickler_core::receipt::Wait;
use stickler_core::state::{
    Announce, Announced, AtDeadline, ChangeJob, Command, Job, JobChange, Jobs, MOST_ANNOUNCED, MoveReason,
    Outcome, Rebind, RebindOutcome, Record, SessionKey, Unbind, View, Withdraw, Withdrawn, Work,
};
use stickler_core::time::ClusterTime;
use stickler_raft::{Cluster, Persistence};
use stickler_rt::Moment;
use tokio::task::JoinSet;

use super::candidates::{Candidate, find};
use super::{PATIENCE, hooks};

/// Sessions that are announced in one entry, at most.
const AT_ONCE: u64 = 200;

/// Sessions that one walk through the table finds.
const FOUND: usize = 2000;

/// How long a session that was not quiet is left alone.
const REST: Duration = Duration::from_secs(5);

/// The same, where it was quiet on some node.
const SHORT_REST: Duration = Duration::from_millis(700);

/// A new leader announces nothing for so long: until its book is complete nothing could move.
const NEW_LEADER: Duration = Duration::from_millis(1200);

/// Longest wait for the leader's own book.
const BOOK: Duration = Duration::from_millis(40);

/// Sessions that leave at a deadline, in one go.
const LATE: usize = 500;

type Seen = (SessionKey, Epoch);

/// What a session came to whose turn it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Moved,
    HookFailed,
    /// Nobody takes it, or it has changed.
    Stays,
}

/// What this process knows of a job beside the state.
#[derive(Default)]
pub(super) struct AtWork {
    /// When this process has taken it up.
    began: Option<Moment>,
    /// From the last walk.
    found: Vec<Candidate>,
    /// Where announced sessions are to go, where the job does not say.
    destinations: BTreeMap<SessionKey, BackendId>,
    /// Sessions whose turn it is.
    moving: BTreeSet<Seen>,
    turns: JoinSet<(Seen, Turn)>,
    /// Until when a session is left alone; for ever after its hook has failed.
    rests: BTreeMap<Seen, ClusterTime>,
}

impl AtWork {
    /// Does what is due.
    pub(super) async fn go_on(&mut self, cluster: &Cluster, jobs: &Jobs, (id, job): (JobId, &Job)) {
        self.take_turns(cluster, id).await;
        let now = cluster.view().time.max(cluster.standing().time);
        if job.is_late(now) {
            return self.end(cluster, (id, job), now).await;
        }
        let own: Vec<(&SessionKey, &Announced)> =
            jobs.announced.iter().filter(|(_, announced)| announced.job == id).collect();
        self.let_move(cluster, (id, job), &own).await;
        self.let_go(cluster, (id, job), &own, now).await;
        self.announce(cluster, (id, job), own.len(), now).await;
    }

    /// Takes in what has become of sessions whose turn it was.
    async fn take_turns(&mut self, cluster: &Cluster, id: JobId) {
        let mut failed = Vec::new();
        while let Some(Ok((seen, turn))) = self.turns.try_join_next() {
            self.moving.remove(&seen);
            self.destinations.remove(&seen.0);
            match turn {
                Turn::Moved => {}
                Turn::HookFailed => {
                    self.rests.insert(seen, ClusterTime(u64::MAX));
                    failed.push(seen);
                }
                Turn::Stays => {
                    let now = cluster.view().time;
                    self.rests.insert(seen, now + REST);
                }
            }
        }
        if !failed.is_empty() {
            withdraw(cluster, id, failed, Withdrawn::HookFailed).await;
        }
    }

    /// Moves the sessions that are quiet on every node that holds a lease.
    async fn let_move(
        &mut self,
        cluster: &Cluster,
        (id, job): (JobId, &Job),
        own: &[(&SessionKey, &Announced)],
    ) {
        let early = deliberate::active(Fault::MoveBeforeQuiet);
        // Only what all nodes that hold a lease have applied: with more on its way all the time, the newest announcement
        // may never be among that.
        let stable = cluster.standing().stable;
        let ripe = |it: &Announced| early || it.at <= stable && !it.quiet.is_empty();
        let Some(newest) = own.iter().filter(|(_, it)| ripe(it)).map(|(_, it)| it.at).max() else { return };
        let receipt = cluster.receipt(newest, Wait::Leased, BOOK).await;
        if !receipt.reached && !early {
            return;
        }
        let members = cluster.members();
        let leased: BTreeSet<NodeId> =
            members.iter().map(|it| it.node).filter(|node| !receipt.without_lease.contains(node)).collect();
        for (session, announced) in own {
            let seen = (**session, announced.epoch);
            let quiet = early || announced.at <= newest && announced.quiet.is_superset(&leased);
            // What has had its turn may be in an old view of the state.
            if quiet && !self.rests.contains_key(&seen) && self.moving.insert(seen) {
                let to = self.destinations.get(&seen.0).copied();
                self.turns.spawn(turn(cluster.clone(), id, job.hook.clone(), seen, to));
            }
        }
    }

    /// Lets go of sessions that were held for long enough: an exchange of theirs goes on.
    async fn let_go(
        &mut self,
        cluster: &Cluster,
        (id, job): (JobId, &Job),
        own: &[(&SessionKey, &Announced)],
        now: ClusterTime,
    ) {
        let held = |(session, announced): &&(&SessionKey, &Announced)| {
            announced.time + job.hold < now && !self.moving.contains(&(**session, announced.epoch))
        };
        let mut sessions: Vec<Seen> = Vec::new();
        let clock = cluster.outside().clock.now();
        let new = clock.since(*self.began.get_or_insert(clock)) < NEW_LEADER + job.hold;
        for (session, announced) in own.iter().filter(held) {
            let seen = (**session, announced.epoch);
            // What some node has quiet, or nobody could say to a leader, waits for no exchange.
            let rest = if announced.quiet.is_empty() && !new { REST } else { SHORT_REST };
            self.rests.insert(seen, now + rest);
            sessions.push(seen);
        }
        if sessions.is_empty() {
            return;
        }
        withdraw(cluster, id, sessions, Withdrawn::NotQuiet).await;
    }

    /// Announces as many sessions as are due.
    async fn announce(
        &mut self,
        cluster: &Cluster,
        (id, job): (JobId, &Job),
        announced: usize,
        now: ClusterTime,
    ) {
        let clock = cluster.outside().clock.now();
        if clock.since(*self.began.get_or_insert(clock)) < NEW_LEADER && job.announced > 0 {
            return;
        }
        let room = MOST_ANNOUNCED.saturating_sub(announced + self.moving.len()) as u64;
        let due = job.due(now).min(AT_ONCE).min(room);
        if due == 0 {
            return;
        }
        self.rests.retain(|_, until| *until > now);
        let mut young = false;
        if self.found.is_empty() {
            // Counts are even only once what is under way has arrived.
            if matches!(job.work, Work::Rebalance { .. }) && (announced > 0 || !self.moving.is_empty()) {
                return;
            }
            let job = job.clone();
            let Ok((found, left_out)) = cluster.walk(move |view| find(view, now, &job, FOUND)).await else {
                return;
            };
            (self.found, young) = (found, left_out);
        }
        let mut sessions = Vec::new();
        while (sessions.len() as u64) < due
            && let Some((session, epoch, to)) = self.found.pop()
        {
            let seen = (session, epoch);
            if self.rests.contains_key(&seen) || self.moving.contains(&seen) {
                continue;
            }
            if let Some(to) = to {
                self.destinations.insert(session, to);
            }
            sessions.push(seen);
        }
        if sessions.is_empty() {
            let waits = self.rests.values().any(|until| *until < ClusterTime(u64::MAX));
            if announced == 0 && self.moving.is_empty() && self.found.is_empty() && !young && !waits {
                let left = self.rests.len() as u64;
                finish(cluster, (id, job), left).await;
            }
            return;
        }
        let command = Command::Announce(Announce { job: id, sessions });
        let _ = cluster.propose(command, PATIENCE, Persistence::Retry).await;
    }

    /// The job's time is over: what is left stays, ends or moves.
    async fn end(&mut self, cluster: &Cluster, (id, job): (JobId, &Job), now: ClusterTime) {
        // Not even the young ones are spared.
        let all = now + Duration::from_secs(3600);
        let found = job.clone();
        let Ok((left, _)) = cluster.walk(move |view| find(view, all, &found, LATE)).await else { return };
        let announced: Vec<Seen> = {
            let view = cluster.view();
            let own = view.jobs.announced.iter().filter(|(_, announced)| announced.job == id);
            own.map(|(session, announced)| (*session, announced.epoch)).collect()
        };
        let mut sessions: Vec<Candidate> = left;
        sessions.extend(announced.into_iter().map(|(session, epoch)| (session, epoch, None)));
        if sessions.is_empty() || job.at_deadline == AtDeadline::Skip {
            let left = if job.at_deadline == AtDeadline::Skip {
                let job = job.clone();
                cluster.walk(move |view| super::count(view, &job)).await.unwrap_or(0)
            } else {
                0
            };
            return finish(cluster, (id, job), left).await;
        }
        let commands = sessions.into_iter().map(|(session, epoch, candidate)| match job.at_deadline {
            AtDeadline::Close => Command::Unbind(Unbind { session, epoch }),
            AtDeadline::Move | AtDeadline::Skip => {
                Command::Rebind(Rebind { session, epoch, reason: MoveReason::Job, candidate })
            }
        });
        let answers =
            join_all(commands.map(|command| cluster.propose(command, PATIENCE, Persistence::Retry))).await;
        let refused = answers.iter().filter(|answer| {
            matches!(answer, Ok(answer) if matches!(answer.outcome, Outcome::Rebind(RebindOutcome::Refused(_))))
        });
        let refused = refused.count();
        if refused > 0 && refused == answers.len() {
            // Nobody takes them.
            finish(cluster, (id, job), refused as u64).await;
        }
    }
}

/// One session's turn: the application is told, and it moves.
async fn turn(
    cluster: Cluster,
    id: JobId,
    hook: Option<String>,
    (session, epoch): Seen,
    candidate: Option<BackendId>,
) -> (Seen, Turn) {
    let seen = (session, epoch);
    if let Some(hook) = hook {
        let backend = match View::clone(&cluster.view()).table.get(&session) {
            Some(Record::Binding(binding)) if binding.epoch == epoch => binding.backend,
            _ => return (seen, Turn::Stays),
        };
        let told = hooks::told(&cluster, &hook, id, seen, backend).await;
        if !told && !deliberate::active(Fault::MoveUntold) {
            return (seen, Turn::HookFailed);
        }
    }
    let rebind = Command::Rebind(Rebind { session, epoch, reason: MoveReason::Job, candidate });
    let answer = cluster.propose(rebind, PATIENCE, Persistence::Retry).await;
    let moved = matches!(answer.map(|answer| answer.outcome), Ok(Outcome::Rebind(RebindOutcome::Moved(_))));
    (seen, if moved { Turn::Moved } else { Turn::Stays })
}

async fn withdraw(cluster: &Cluster, job: JobId, sessions: Vec<Seen>, why: Withdrawn) {
    let command = Command::Withdraw(Withdraw { job, sessions, why });
    let _ = cluster.propose(command, PATIENCE, Persistence::Retry).await;
}

async fn finish(cluster: &Cluster, (id, job): (JobId, &Job), left: u64) {
    let change = ChangeJob { job: id, expected: job.revision, change: JobChange::Finish { left } };
    let _ = cluster.propose(Command::ChangeJob(change), PATIENCE, Persistence::Retry).await;
}
