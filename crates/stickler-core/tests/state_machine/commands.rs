//! What each command may do, and that its outcome says what it did.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stickler_core::document::cluster::{Balance, WhenBack, WhenFull};
use stickler_core::ids::{BackendId, LogIndex};
use stickler_core::state::{
    AdminState, AtDeadline, Bind, BindOutcome, BindRefusal, Binding, Cause, Command, Expire, JobState,
    MoveReason, Origin, Outcome, Rebind, RebindOutcome, Record, SessionKey, Touch, Unbind, UnbindOutcome,
    Verdict, Work,
};

use crate::config;
use crate::steps::steps;
use crate::world::{Applied, Entry, World, count, live, run};

type Records = BTreeMap<SessionKey, Record>;

/// The live binding that a key leads to, or the index that ended the key.
fn lookup(records: &Records, asked: SessionKey) -> Result<(SessionKey, Binding), LogIndex> {
    let mut path = vec![asked];
    let mut ended = LogIndex(0);
    while let (true, Some(record)) = (path.len() <= 9, records.get(&path[path.len() - 1])) {
        ended = ended.max(record.changed_at());
        match record {
            Record::Binding(binding) => return Ok((path[path.len() - 1], *binding)),
            Record::Alias(alias) => path.push(SessionKey { key: alias.to, ..asked }),
            Record::Ended(_) => break,
        }
    }
    Err(ended)
}

impl Applied {
    /// Forgetting apart, the records of `sessions` alone may have changed.
    fn changed_only(&self, sessions: &[SessionKey]) {
        let remembered = |records: &Records| -> Records {
            let other = |(session, record): &(SessionKey, Record)| {
                !sessions.contains(session) && !matches!(record, Record::Ended(_))
            };
            records.clone().into_iter().filter(other).collect()
        };
        assert_eq!(remembered(&self.before), remembered(&self.after), "{:?}", self.outcomes);
    }

    /// The records after whatever the entry's stamp made forgettable was forgotten.
    fn when_commands_began(&self) -> Records {
        let Some(limits) = self.view_before.catalog.limits() else { return Records::new() };
        let over = |record: &Record| {
            let Record::Ended(ended) = record else { return false };
            ended.changed_at <= self.view.stable && self.view.time > ended.ended_at + limits.ended_memory
        };
        self.before.clone().into_iter().filter(|(_, record)| !over(record)).collect()
    }

    /// How many sessions a backend had before, and whether that is as many as it may have.
    fn was_full(&self, backend: BackendId) -> bool {
        let cap = self.view.catalog.backends[&backend].max_sessions.unwrap_or(u64::MAX);
        let evicted = self.evicted();
        let counts = |session: &SessionKey, binding: &Binding| {
            binding.backend == backend && evicted.is_none_or(|(evicted, _)| evicted != *session)
        };
        count(&self.before, counts) >= cap
    }

    /// The session that ended although the command is a bind.
    fn evicted(&self) -> Option<(SessionKey, Binding)> {
        let Entry::Batch(batch) = &self.entry else { return None };
        let Some(Command::Bind(_)) = batch.commands.first() else { return None };
        let ended = |session: &SessionKey| matches!(self.after.get(session), Some(Record::Ended(_)));
        let mut gone = self.before.iter().filter_map(|(session, record)| match record {
            Record::Binding(binding) if ended(session) => Some((*session, *binding)),
            _ => None,
        });
        let evicted = gone.next();
        assert!(gone.next().is_none(), "one session makes room for one");
        evicted
    }

    fn takes_new(&self, backend: BackendId) -> bool {
        self.view.catalog.backends.get(&backend).is_some_and(|record| {
            let ready = record.admin == AdminState::Ready && record.health.verdict == Verdict::Up;
            ready && !record.health.drains && record.weight > 0 && record.leaving.is_none()
        })
    }
}

fn check_bind(applied: &Applied, bind: &Bind, outcome: &BindOutcome) {
    let found = lookup(&applied.when_commands_began(), bind.session);
    let (binding, created) = match outcome {
        BindOutcome::Refused(_) => return applied.changed_only(&[]),
        BindOutcome::Bound { session, binding, created } => {
            assert_eq!(live(&applied.after, *session), Some(*binding), "the outcome is what is there");
            (binding, *created)
        }
    };
    assert!(bind.deadline >= applied.view.time, "bound after its deadline");
    if let Origin::Adopt { backend } | Origin::Inherit { backend, .. } = bind.origin {
        assert_eq!(
            binding.backend, backend,
            "bound to another backend than the one that created the session"
        );
    }
    if !created {
        applied.changed_only(&[]);
        return assert_eq!(found.unwrap().1, *binding, "the first binder wins");
    }
    assert!(!applied.spent, "a retry made a session anew");
    assert_eq!(binding.epoch, applied.view.epoch);
    assert_eq!(binding.changed_at, applied.index);
    match (&bind.origin, found) {
        (Origin::Inherit { from, .. }, Ok((older, _))) => {
            assert_eq!(*from, older.key, "only the identifier in use changes its name");
            assert_eq!(binding.usable_from, applied.index);
        }
        (_, Ok(_)) => panic!("the first binder wins"),
        (_, Err(ended)) => {
            assert!(bind.seen >= ended, "belongs to a session that has ended");
            assert_eq!(binding.usable_from, ended, "usable while a node may route the old epoch");
        }
    }
    let mut may_change = vec![bind.session];
    if let Origin::Inherit { from, .. } = bind.origin {
        may_change.push(SessionKey { key: from, ..bind.session });
    }
    if let Some((evicted, _)) = applied.evicted() {
        check_eviction(applied, bind);
        may_change.push(evicted);
    }
    applied.changed_only(&may_change);
    let record = &applied.view.catalog.backends[&binding.backend];
    assert_eq!(binding.pool, record.pool);
    assert!(record.keeps_bound(applied.view.time));
    if let Origin::Place { pool, candidate } = bind.origin {
        assert!(applied.takes_new(binding.backend) && !applied.was_full(binding.backend));
        assert_eq!(binding.pool, pool);
        let advice =
            candidate.filter(|candidate| applied.takes_new(*candidate) && !applied.was_full(*candidate));
        let advice = advice.filter(|candidate| applied.view.catalog.backends[candidate].pool == pool);
        let policy = applied.view.catalog.pool(pool).unwrap();
        if policy.balance != Balance::FewestSessions && policy.bounded_load.is_none() {
            assert!(advice.is_none_or(|advice| advice == binding.backend), "good advice is taken");
        }
    }
}

/// A session is evicted by policy alone, for one of its own affinity, and only where that had no room.
fn check_eviction(applied: &Applied, bind: &Bind) {
    let (evicted, binding) = applied.evicted().unwrap();
    assert_eq!(evicted.affinity, bind.session.affinity, "it made room for another affinity");
    assert_ne!(evicted, bind.session);
    let catalog = &applied.view.catalog;
    let policy = catalog.affinity(evicted.affinity).unwrap();
    assert_eq!(policy.when_full, WhenFull::EvictIdlest);
    let of_affinity = |session: &SessionKey, _: &Binding| session.affinity == evicted.affinity;
    let affinity_full = policy.max_sessions.is_some_and(|most| count(&applied.before, of_affinity) >= most);
    let table_full = applied.when_commands_began().len() as u64 >= catalog.limits().unwrap().max_bindings;
    let cap = catalog.backends[&binding.backend].max_sessions.unwrap_or(u64::MAX);
    let on_backend = |_: &SessionKey, other: &Binding| other.backend == binding.backend;
    let backend_full = count(&applied.before, on_backend) >= cap;
    assert!(affinity_full || table_full || backend_full, "there was room");
    if !backend_full {
        let idler = |session: &SessionKey, other: &Binding| {
            let renamed = matches!(bind.origin, Origin::Inherit { from, .. } if from == session.key);
            session.affinity == evicted.affinity && other.last_use < binding.last_use && !renamed
        };
        assert_eq!(count(&applied.before, idler), 0, "another session was idle for longer");
    }
}

fn check_rebind(applied: &Applied, rebind: &Rebind, outcome: &RebindOutcome) {
    let before = live(&applied.before, rebind.session);
    let RebindOutcome::Moved(binding) = outcome else {
        if let RebindOutcome::Superseded(found) = outcome {
            assert_eq!(Some(*found), before);
        }
        return applied.changed_only(&[]);
    };
    assert!(!applied.spent, "a retry moved a session again");
    applied.changed_only(&[rebind.session]);
    assert_eq!(live(&applied.after, rebind.session), Some(*binding));
    let before = before.unwrap();
    assert_eq!(before.epoch, rebind.epoch);
    let anew = rebind.reason == MoveReason::BackendRestarted;
    assert!(anew || before.backend != binding.backend, "moved to where it was");
    assert_eq!((binding.epoch, binding.usable_from), (applied.view.epoch, applied.index));
    assert_eq!(binding.bound_at, before.bound_at);
    let stays = before.backend == binding.backend;
    assert!(applied.takes_new(binding.backend) && (stays || !applied.was_full(binding.backend)));
    let catalog = &applied.view.catalog;
    if anew {
        let left = &catalog.backends[&before.backend];
        assert!(left.health.forgotten >= before.epoch, "its backend has it");
        assert!(left.health.forgotten < binding.epoch, "it began anew for good");
        assert!(stays || !applied.takes_new(before.backend));
    }
    if rebind.reason == MoveReason::Job {
        check_job_move(applied, rebind, &before);
    }
    check_home(applied, rebind, (&before, binding));
    assert_eq!(binding.pool, catalog.backends[&binding.backend].pool);
    assert!(binding.pool == before.pool || catalog.pool(before.pool).is_none(), "left its pool");
    if rebind.reason == MoveReason::Operator {
        assert_eq!(rebind.candidate, Some(binding.backend));
    }
}

/// A job moves what is announced, or what is left when its time is over; and it counts that.
fn check_job_move(applied: &Applied, rebind: &Rebind, before: &Binding) {
    let jobs = &applied.view_before.jobs;
    let (id, job) = jobs.in_pool(before.pool).expect("a job is at work in the pool");
    assert_eq!(job.state, JobState::Running);
    let late = job.is_late(applied.view.time) && job.at_deadline == AtDeadline::Move;
    let left = late && job.concerns(rebind.session, before);
    assert!(jobs.is_announced(rebind.session, before.epoch) || left, "nobody was told");
    let after = &applied.view.jobs;
    assert_eq!(after.jobs[&id].moved, job.moved + 1);
    assert!(!after.announced.contains_key(&rebind.session));
}

/// What is announced is bound by the epoch that is to end, and one job at a time is at work in a pool.
fn check_jobs(applied: &Applied) {
    let jobs = &applied.view.jobs;
    for (session, announced) in &jobs.announced {
        let binding = live(&applied.after, *session).expect("what is announced is bound");
        assert_eq!(binding.epoch, announced.epoch);
        assert_eq!(jobs.jobs[&announced.job].state, JobState::Running);
    }
    let at_work = jobs.jobs.values().filter(|job| !job.is_over());
    let pools: Vec<_> = at_work.map(|job| job.pool).collect();
    let different: std::collections::BTreeSet<_> = pools.iter().collect();
    assert_eq!(pools.len(), different.len(), "two jobs in one pool");
}

/// A session goes back to where it had to leave from, and to nothing else.
fn check_home(applied: &Applied, rebind: &Rebind, (before, after): (&Binding, &Binding)) {
    let catalog = &applied.view.catalog;
    let kept = |home: BackendId| {
        let record = catalog.backends.get(&home);
        record.is_some_and(|record| record.health.forgotten < before.epoch).then_some(home)
    };
    let home = match rebind.reason {
        MoveReason::BackendDown | MoveReason::BackendMaint | MoveReason::DrainDeadline => {
            let by_job = before.cause == Cause::Moved(MoveReason::Job);
            kept(before.home.backend().filter(|_| !by_job).unwrap_or(before.backend))
        }
        MoveReason::BackendBack => {
            assert_eq!(Some(after.backend), before.home.backend().and_then(kept), "it was not its home");
            let policy = catalog.affinity(rebind.session.affinity).unwrap();
            assert_eq!(policy.when_back, WhenBack::Return);
            None
        }
        MoveReason::Job => match applied.view_before.jobs.in_pool(before.pool).unwrap().1.work {
            Work::Evacuate { .. } | Work::Rebalance { .. } => Some(before.backend),
            Work::Undo { .. } => None,
        },
        MoveReason::BackendRemoved | MoveReason::Operator | MoveReason::BackendRestarted => None,
    };
    assert_eq!(after.home.backend(), home);
}

fn check_unbind(applied: &Applied, unbind: &Unbind, outcome: UnbindOutcome) {
    if outcome == UnbindOutcome::Unbound {
        assert!(!applied.spent, "a retry ended a newer session");
        assert_eq!(live(&applied.before, unbind.session).unwrap().epoch, unbind.epoch);
        let Some(Record::Ended(ended)) = applied.after.get(&unbind.session) else { panic!("remembered") };
        assert_eq!((ended.epoch, ended.changed_at), (unbind.epoch, applied.index));
        applied.changed_only(&[unbind.session]);
    } else {
        assert_ne!(live(&applied.before, unbind.session).map(|binding| binding.epoch), Some(unbind.epoch));
        applied.changed_only(&[]);
    }
}

fn check_touch(applied: &Applied, touch: &Touch) {
    let touched: Vec<SessionKey> = touch.uses.iter().map(|used| used.session).collect();
    applied.changed_only(&touched);
    for used in &touch.uses {
        let (before, after) = (live(&applied.before, used.session), live(&applied.after, used.session));
        assert_eq!(before.is_some(), after.is_some());
        if let (Some(before), Some(after)) = (before, after) {
            assert!(
                before == after || before.epoch == used.epoch,
                "a use of another epoch counts for nothing"
            );
            assert!(before.last_use <= after.last_use && after.last_use <= applied.view.time);
            let same = Binding { last_use: before.last_use, changed_at: before.changed_at, ..after };
            assert_eq!(same, before, "a touch changes the last use alone");
        }
    }
}

fn check_expire(applied: &Applied, expire: &Expire) {
    for (session, record) in &applied.before {
        if applied.after.get(session) == Some(record) || matches!(record, Record::Ended(_)) {
            continue;
        }
        assert!(expire.sessions.contains(&(*session, record.epoch())), "ended by the wrong epoch");
        assert!(matches!(applied.after[session], Record::Ended(ended) if ended.epoch == record.epoch()));
        match record {
            Record::Binding(binding) => {
                let policy = applied.view.catalog.affinity(session.affinity);
                let earliest = policy.map(|policy| {
                    stickler_core::invariants::may_end(binding.bound_at, binding.last_use, policy).0
                });
                assert!(earliest.is_none_or(|earliest| earliest <= applied.view.time), "ended too early");
            }
            Record::Alias(alias) => {
                let dangling =
                    lookup(&applied.before, *session).is_err() || lookup(&applied.after, *session).is_err();
                assert!(alias.until <= applied.view.time || dangling);
            }
            Record::Ended(_) => {}
        }
    }
}

fn check(_: &World, applied: &Applied) {
    check_jobs(applied);
    let Entry::Batch(batch) = &applied.entry else { return applied.changed_only(&[]) };
    assert_eq!(batch.commands.len(), applied.outcomes.len());
    let Some(command) = batch.commands.first() else { return applied.changed_only(&[]) };
    match (command, &applied.outcomes[0]) {
        (Command::Bind(bind), Outcome::Bind(outcome)) => check_bind(applied, bind, outcome),
        (Command::Rebind(rebind), Outcome::Rebind(outcome)) => check_rebind(applied, rebind, outcome),
        (Command::Unbind(unbind), Outcome::Unbind(outcome)) => check_unbind(applied, unbind, *outcome),
        (Command::Touch(touch), Outcome::Noted) => check_touch(applied, touch),
        (Command::Expire(expire), Outcome::Noted) => check_expire(applied, expire),
        (
            _,
            Outcome::Noted | Outcome::Admin(_) | Outcome::Rotate(_) | Outcome::Marked(_) | Outcome::Job(_),
        ) => applied.changed_only(&[]),
        (command, outcome) => panic!("{outcome:?} is no outcome of {command:?}"),
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn every_command_does_what_its_outcome_says_and_nothing_else(shape in any::<u16>(), steps in steps(60)) {
        run(shape, &steps, check);
    }

    #[test]
    fn the_same_in_the_simplest_document(steps in steps(60)) {
        run(0, &steps, check);
    }
}

#[test]
fn a_late_retry_of_a_bind_is_refused_for_ever() {
    let mut world = World::new(0);
    let session = world.session(1);
    let bind = world.place(session, None);
    let bound = world.commands(vec![bind.clone()]);
    let epoch = live(&bound.after, session).unwrap().epoch;
    world.commands(vec![Command::Unbind(Unbind { session, epoch })]);
    let refused =
        |world: &mut World, bind: &Command| match world.commands(vec![bind.clone()]).outcomes.remove(0) {
            Outcome::Bind(BindOutcome::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        };
    assert_eq!(refused(&mut world, &bind), BindRefusal::Ended);
    for _ in 0..40 {
        world.wait(crate::world::SHORTEST_MEMORY / 10);
        refused(&mut world, &bind);
    }
    assert!(world.state.view().table.is_empty(), "the ended session was forgotten");
    assert_eq!(refused(&mut world, &bind), BindRefusal::Late);
}

#[test]
fn a_late_retry_at_the_very_end_of_the_memory_is_refused() {
    let mut world = World::new(1 << 14);
    let session = world.session(1);
    let bind = world.place(session, None);
    let bound = world.commands(vec![bind.clone()]);
    let epoch = live(&bound.after, session).unwrap().epoch;
    world.commands(vec![Command::Unbind(Unbind { session, epoch })]);
    world.wait(crate::world::SHORTEST_MEMORY);
    let late = world.commands(vec![bind]);
    assert!(matches!(late.outcomes[0], Outcome::Bind(BindOutcome::Refused(_))), "{:?}", late.outcomes);
}

#[test]
fn a_record_and_its_key_take_96_bytes() {
    assert!(size_of::<(SessionKey, Record)>() <= 96);
}
