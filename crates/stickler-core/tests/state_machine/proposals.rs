//! What the small numbers of an action mean in a world's present state.

use std::time::Duration;
use stickler_core::affinity::sealing::SealingKeyId;

use stickler_core::discovery::DiscoveredBackend;
use stickler_core::document::cluster::Rate;
use stickler_core::ids::{BackendId, Epoch, JobId, KeyHash, LogIndex, NodeId, PoolId, Revision};
use stickler_core::secrets::KeptSecret;
use stickler_core::state::{
    Admin, Announce, ApplyDocument, AtDeadline, Bind, ChangeJob, Command, Discover, Expire, Finding,
    JobChange, MoveReason, NotBefore, Origin, Quiet, Rebind, Removal, Report, Retire, RotateKey, SessionKey,
    SetAdmin, StartJob, Suspect, Touch, Unbind, Use, Withdraw, Withdrawn, Work,
};

use crate::documents::document;
use crate::steps::Action;
use crate::world::{SHORTEST_MEMORY, World, records};

impl World {
    fn pick_session(&self, number: u8) -> SessionKey {
        let number = usize::from(number);
        // Half of the keys are of the newest affinity, the other half of any other, removed ones included.
        let newest = self.affinities.len() - 1;
        let affinity = self.affinities[if number % 2 == 0 { newest } else { number % newest.max(1) }];
        SessionKey { affinity, key: KeyHash(number as u128 / 2) }
    }

    /// One of the catalog's backends; sometimes one that is no longer in it.
    pub fn pick_backend(&self, number: u8) -> BackendId {
        let view = self.state.view();
        let now: Vec<BackendId> = view.catalog.backends.keys().copied().collect();
        let choice = if number % 8 == 7 { &self.backends } else { &now };
        choice[usize::from(number / 8) % choice.len()]
    }

    fn epoch(&self, session: SessionKey, wrong: bool) -> Epoch {
        let epoch = self.state.view().table.get(&session).map_or(Epoch(0), |record| record.epoch());
        if wrong { Epoch(epoch.0.saturating_sub(1)) } else { epoch }
    }

    pub fn command(&mut self, action: &Action) -> Option<Command> {
        let view = self.state.view();
        let wrong_revision = |revision: Revision, wrong: bool| Revision(revision.0 + u64::from(wrong));
        Some(match *action {
            Action::Place { session, pool, candidate, behind } => {
                let pools = &view.catalog.pools;
                let pool = if pool == 3 { PoolId(999) } else { pools[usize::from(pool) % pools.len()] };
                let candidate = (candidate % 3 > 0).then(|| self.pick_backend(candidate));
                self.bind_behind(session, Origin::Place { pool, candidate }, behind)
            }
            Action::Adopt { session, backend, behind } => {
                self.bind_behind(session, Origin::Adopt { backend: self.pick_backend(backend) }, behind)
            }
            Action::Inherit { session, from, wrong } => {
                let session = self.pick_session(session);
                let from = SessionKey { key: self.pick_session(from).key, ..session };
                let backend = view.locate(from)?.binding.backend;
                self.bind(
                    session,
                    Origin::Inherit { from: from.key, epoch: self.epoch(from, wrong), backend },
                )
            }
            Action::Rebind { session, reason, candidate, wrong } => {
                let session = self.pick_session(session);
                let reason = [
                    MoveReason::BackendDown,
                    MoveReason::BackendMaint,
                    MoveReason::BackendRemoved,
                    MoveReason::DrainDeadline,
                    MoveReason::Operator,
                    MoveReason::BackendRestarted,
                    MoveReason::BackendBack,
                    MoveReason::Job,
                ][usize::from(reason)];
                let candidate = (candidate % 3 > 0).then(|| self.pick_backend(candidate));
                Command::Rebind(Rebind { session, epoch: self.epoch(session, wrong), reason, candidate })
            }
            Action::Unbind { session, wrong } => {
                let session = self.pick_session(session);
                Command::Unbind(Unbind { session, epoch: self.epoch(session, wrong) })
            }
            Action::Touch { session, age, wrong } => {
                let session = self.pick_session(session);
                let uses = vec![Use { session, epoch: self.epoch(session, wrong), age: u64::from(age / 16) }];
                Command::Touch(Touch { uses })
            }
            Action::Expire => {
                let sessions =
                    records(&view).into_iter().map(|(session, record)| (session, record.epoch())).collect();
                Command::Expire(Expire { sessions })
            }
            Action::Report { node, backend, up, older } => {
                let backend = self.pick_backend(backend);
                let newer = self.report(NodeId(u64::from(node)), backend, up);
                match newer {
                    Command::Report(report) if older => {
                        Command::Report(Report { sequence: report.sequence / 2, ..report })
                    }
                    newer => newer,
                }
            }
            Action::Suspect { node, backend } => Command::Suspect(Suspect {
                node: NodeId(u64::from(node)),
                backend: self.pick_backend(backend),
            }),
            Action::SetAdmin { backend, admin, wrong } => {
                let backend = self.pick_backend(backend);
                let expected =
                    view.catalog.backends.get(&backend).map_or(Revision(0), |backend| backend.revision);
                let admin = [
                    Admin::Ready,
                    Admin::Ready,
                    Admin::Maint,
                    Admin::Drain { deadline: None },
                    Admin::Drain { deadline: Some(900) },
                ][usize::from(admin)];
                Command::SetAdmin(SetAdmin { backend, admin, expected: wrong_revision(expected, wrong) })
            }
            Action::Apply { shape, removal, wrong } => Command::ApplyDocument(Box::new(ApplyDocument {
                document: document(shape),
                expected: wrong_revision(view.catalog.revision, wrong),
                removal: [
                    Removal::Now,
                    Removal::Drain { deadline: None },
                    Removal::Drain { deadline: Some(900) },
                ][usize::from(removal)],
            })),
            Action::Discover { pool, found, wrong } => {
                let pools = &view.catalog.pools;
                let pool = pools[usize::from(pool) % pools.len()];
                let known = view.catalog.discovered.get(&pool).map_or(Revision(0), |known| known.revision);
                let backends = (0..6).filter(|number| found >> number & 1 == 1).map(discovered).collect();
                Command::Discover(Discover { pool, expected: wrong_revision(known, wrong), backends })
            }
            Action::Retire => {
                Command::Retire(Retire { backends: view.catalog.backends.keys().copied().collect() })
            }
            Action::RotateKey { wrong } => {
                let newest = view.catalog.ring.newest().map_or(0, |newest| newest.id.0);
                let expected = SealingKeyId(newest.saturating_sub(u32::from(wrong)));
                Command::RotateKey(RotateKey { expected, secret: KeptSecret::clear(&[newest as u8; 32]) })
            }
            Action::NotBefore { affinity, backend, age } => Command::NotBefore(NotBefore {
                affinity: (affinity % 3 > 0)
                    .then(|| self.affinities[usize::from(affinity) % self.affinities.len()]),
                backend: (backend % 3 > 0).then(|| self.pick_backend(backend)),
                age: age.into(),
            }),
            Action::StartJob { work, backend, to, wrong } => self.start_job(work, backend, to, wrong),
            Action::ChangeJob { which, change, wrong } => {
                let jobs: Vec<_> = view.jobs.jobs.iter().collect();
                let (id, job) = jobs.get(usize::from(which) % jobs.len().max(1))?;
                let change =
                    [JobChange::Pause, JobChange::Resume, JobChange::Cancel, JobChange::Finish { left: 1 }]
                        [usize::from(change)];
                let expected = wrong_revision(job.revision, wrong);
                Command::ChangeJob(ChangeJob { job: **id, expected, change })
            }
            Action::Announce { wrong } => {
                let sessions = records(&view).into_iter();
                let sessions = sessions.map(|(session, _)| (session, self.epoch(session, wrong))).collect();
                Command::Announce(Announce { job: view.jobs.last, sessions })
            }
            Action::Withdraw => {
                let sessions = view.jobs.announced.iter().map(|(session, it)| (*session, it.epoch)).collect();
                Command::Withdraw(Withdraw { job: view.jobs.last, sessions, why: Withdrawn::NotQuiet })
            }
            Action::Quiet { node } => {
                let sessions = view.jobs.announced.iter().map(|(session, it)| (*session, it.epoch)).collect();
                Command::Quiet(Quiet { node: NodeId(node.into()), sessions })
            }
            Action::Answer { node: Some(node), backend, drains, life } => {
                let backend = self.pick_backend(backend);
                self.find(NodeId(u64::from(node)), backend, answer(drains, life))
            }
            Action::Answer { node: None, .. }
            | Action::Verdict { .. }
            | Action::Voters { .. }
            | Action::Again { .. } => return None,
        })
    }

    fn start_job(&self, work: u8, backend: u8, to: u8, wrong: bool) -> Command {
        let view = self.state.view();
        let work = match work {
            0 => Work::Evacuate {
                backend: self.pick_backend(backend),
                to: (!to.is_multiple_of(2)).then(|| self.pick_backend(to)),
            },
            1 => Work::Rebalance { most: u64::from(to) },
            _ => Work::Undo {
                of: JobId(view.jobs.last.0.saturating_sub(u64::from(to % 3))),
                epochs: Default::default(),
            },
        };
        Command::StartJob(StartJob {
            expected: JobId(view.jobs.last.0 + u64::from(wrong)),
            work,
            pool: view.catalog.pools.first().copied(),
            affinity: backend.is_multiple_of(4).then(|| self.affinities[0]),
            rate: Rate { most: 10, period: Duration::from_secs(1) },
            hold: Duration::from_secs(1),
            deadline: to.is_multiple_of(3).then_some(Duration::from_secs(2)),
            at_deadline: if to.is_multiple_of(2) { AtDeadline::Move } else { AtDeadline::Skip },
            hook: None,
        })
    }

    fn bind_behind(&self, session: u8, origin: Origin, behind: u8) -> Command {
        let seen = LogIndex((self.log.len() as u64).saturating_sub(u64::from(behind)));
        let deadline = self.time() + SHORTEST_MEMORY / (1 + u32::from(behind));
        Command::Bind(Bind { session: self.pick_session(session), origin, seen, deadline })
    }
}

/// One of six backends, two of which the document may name as well.
pub fn discovered(number: u8) -> DiscoveredBackend {
    let name = if number < 2 { format!("shop-{}", number + 2) } else { format!("ip-{number}") };
    let port = if number < 1 { 8 } else { 7 };
    DiscoveredBackend { name, address: ([127, 0, 1, number + 2], port).into(), weight: 100 }
}

/// What a backend that is up says of itself; life 0 does not tell.
pub fn answer(drains: bool, life: u8) -> Finding {
    Finding { up: true, drains, instance: (life > 0).then(|| format!("life-{life}")) }
}
