//! Jobs: what is announced, moved, counted and undone.

use std::time::Duration;

use stickler_core::document::cluster::Rate;
use stickler_core::ids::{BackendId, Epoch, JobId, NodeId, Revision};
use stickler_core::state::{
    AdminState, Announce, AtDeadline, ChangeJob, Command, JobChange, JobOutcome, JobState, MoveReason,
    Origin, Outcome, Quiet, Rebind, RebindOutcome, RebindRefusal, SessionKey, StartJob, Work,
};

use crate::world::World;

fn start(world: &mut World, work: Work, deadline: Option<Duration>) -> JobOutcome {
    let expected = world.state.view().jobs.last;
    let pool = world.state.view().catalog.pools.first().copied();
    let start = StartJob {
        expected,
        work,
        pool,
        affinity: None,
        rate: Rate { most: 10, period: Duration::from_secs(1) },
        hold: Duration::from_secs(2),
        deadline,
        at_deadline: AtDeadline::Move,
        hook: None,
    };
    match world.commands(vec![Command::StartJob(start)]).outcomes.remove(0) {
        Outcome::Job(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn begin(world: &mut World, key: u128, backend: BackendId) -> (SessionKey, Epoch) {
    let session = world.session(key);
    let bind = world.bind(session, Origin::Adopt { backend });
    world.commands(vec![bind]);
    (session, epoch(world, session))
}

fn epoch(world: &World, session: SessionKey) -> Epoch {
    world.state.view().table.get(&session).unwrap().epoch()
}

fn announce(world: &mut World, sessions: &[(SessionKey, Epoch)]) {
    let job = world.state.view().jobs.last;
    world.commands(vec![Command::Announce(Announce { job, sessions: sessions.to_vec() })]);
}

fn rebind(
    world: &mut World,
    (session, epoch): (SessionKey, Epoch),
    candidate: Option<BackendId>,
) -> RebindOutcome {
    let rebind = Rebind { session, epoch, reason: MoveReason::Job, candidate };
    match world.commands(vec![Command::Rebind(rebind)]).outcomes.remove(0) {
        Outcome::Rebind(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn change(world: &mut World, job: u64, change: JobChange) -> JobOutcome {
    let expected = world.state.view().jobs.jobs[&JobId(job)].revision;
    let change = ChangeJob { job: JobId(job), expected, change };
    match world.commands(vec![Command::ChangeJob(change)]).outcomes.remove(0) {
        Outcome::Job(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

const REFUSED: RebindOutcome = RebindOutcome::Refused(RebindRefusal::ReasonDoesNotHold);

#[test]
fn an_evacuation_drains_its_backend_and_moves_what_was_announced_and_nothing_else() {
    let mut world = World::new(0);
    let (from, to) = (world.backend(0), world.backend(1));
    let (one, other) = (begin(&mut world, 1, from), begin(&mut world, 2, from));
    let elsewhere = begin(&mut world, 3, to);
    assert_eq!(rebind(&mut world, one, None), REFUSED, "no job");
    assert_eq!(
        start(&mut world, Work::Evacuate { backend: from, to: Some(to) }, None),
        JobOutcome::Done(JobId(1))
    );
    let view = world.state.view();
    assert_eq!(view.catalog.backends[&from].admin, AdminState::Drain { deadline: None });
    assert_eq!(rebind(&mut world, one, None), REFUSED, "not announced");
    announce(&mut world, &[one, elsewhere, (other.0, Epoch(99))]);
    let announced: Vec<_> = world.state.view().jobs.announced.keys().copied().collect();
    assert_eq!(announced, [one.0], "neither one on another backend nor one by another epoch");
    world.commands(vec![Command::Quiet(Quiet { node: NodeId(2), sessions: vec![one] })]);
    assert_eq!(world.state.view().jobs.announced[&one.0].quiet, [NodeId(2)].into());
    assert!(matches!(rebind(&mut world, one, None), RebindOutcome::Moved(moved) if moved.backend == to));
    let job = world.state.view().jobs.jobs[&JobId(1)].clone();
    assert_eq!((job.moved, job.announced, world.state.view().jobs.announced.len()), (1, 1, 0));
}

#[test]
fn one_job_at_a_time_is_at_work_in_a_pool() {
    let mut world = World::new(0);
    let backend = world.backend(0);
    let evacuate = Work::Evacuate { backend, to: None };
    start(&mut world, evacuate, None);
    assert_eq!(start(&mut world, Work::Rebalance { most: 5 }, None), JobOutcome::Busy(JobId(1)));
    change(&mut world, 1, JobChange::Pause);
    assert_eq!(
        start(&mut world, Work::Rebalance { most: 5 }, None),
        JobOutcome::Busy(JobId(1)),
        "paused is not over"
    );
    change(&mut world, 1, JobChange::Cancel);
    assert_eq!(start(&mut world, Work::Rebalance { most: 5 }, None), JobOutcome::Done(JobId(2)));
    let expected = Revision(0);
    let late = ChangeJob { job: JobId(1), expected, change: JobChange::Resume };
    let outcome = world.commands(vec![Command::ChangeJob(late)]).outcomes.remove(0);
    assert_eq!(outcome, Outcome::Job(JobOutcome::Changed(JobId(1))), "over is over");
}

#[test]
fn a_paused_job_lets_go_of_what_it_has_announced() {
    let mut world = World::new(0);
    let from = world.backend(0);
    let one = begin(&mut world, 1, from);
    start(&mut world, Work::Evacuate { backend: from, to: None }, None);
    announce(&mut world, &[one]);
    change(&mut world, 1, JobChange::Pause);
    assert!(world.state.view().jobs.announced.is_empty());
    assert_eq!(rebind(&mut world, one, None), REFUSED);
    announce(&mut world, &[one]);
    assert!(world.state.view().jobs.announced.is_empty(), "nor does it announce");
    change(&mut world, 1, JobChange::Resume);
    announce(&mut world, &[one]);
    assert!(matches!(rebind(&mut world, one, None), RebindOutcome::Moved(_)));
}

#[test]
fn undoing_a_job_moves_back_what_is_where_it_has_put_it() {
    let mut world = World::new(0);
    let (from, to, third) = (world.backend(0), world.backend(1), world.backend(2));
    let sessions = [1, 2].map(|key| begin(&mut world, key, from));
    start(&mut world, Work::Evacuate { backend: from, to: Some(to) }, None);
    announce(&mut world, &sessions);
    for seen in sessions {
        assert!(matches!(rebind(&mut world, seen, None), RebindOutcome::Moved(_)));
    }
    assert_eq!(
        start(&mut world, Work::Undo { of: JobId(1), epochs: Default::default() }, None),
        JobOutcome::Unknown
    );
    change(&mut world, 1, JobChange::Finish { left: 0 });
    assert_eq!(world.state.view().jobs.jobs[&JobId(1)].state, JobState::Done);
    // An operator has moved one of them meanwhile, and a new one has begun there.
    let (moved, stays) = (sessions[0].0, sessions[1].0);
    let seen = epoch(&world, stays);
    let operator =
        Rebind { session: stays, epoch: seen, reason: MoveReason::Operator, candidate: Some(third) };
    world.commands(vec![Command::Rebind(operator)]);
    let new = begin(&mut world, 3, to);
    let revision = world.state.view().catalog.backends[&from].revision;
    let ready = stickler_core::state::SetAdmin {
        backend: from,
        admin: stickler_core::state::Admin::Ready,
        expected: revision,
    };
    world.commands(vec![Command::SetAdmin(ready)]);
    start(&mut world, Work::Undo { of: JobId(1), epochs: Default::default() }, None);
    let all = [moved, stays, new.0].map(|session| (session, epoch(&world, session)));
    announce(&mut world, &all);
    let announced: Vec<_> = world.state.view().jobs.announced.keys().copied().collect();
    assert_eq!(announced, [moved]);
    let back = rebind(&mut world, all[0], None);
    assert!(matches!(back, RebindOutcome::Moved(back) if back.backend == from), "{back:?}");
}

#[test]
fn at_its_deadline_a_job_moves_what_is_left_if_it_says_so() {
    let mut world = World::new(0);
    let from = world.backend(0);
    let one = begin(&mut world, 1, from);
    start(&mut world, Work::Evacuate { backend: from, to: None }, Some(Duration::from_secs(3)));
    assert_eq!(rebind(&mut world, one, None), REFUSED);
    world.wait(Duration::from_secs(3));
    assert!(matches!(rebind(&mut world, one, None), RebindOutcome::Moved(_)));
}

#[test]
fn a_job_is_paced_by_cluster_time_and_rests_while_it_is_paused() {
    let mut world = World::new(0);
    let from = world.backend(0);
    start(&mut world, Work::Evacuate { backend: from, to: None }, None);
    let due = |world: &World| world.state.view().jobs.jobs[&JobId(1)].due(world.time());
    assert_eq!(due(&world), 0);
    world.wait(Duration::from_millis(1500));
    assert_eq!(due(&world), 15);
    change(&mut world, 1, JobChange::Pause);
    world.wait(Duration::from_secs(100));
    change(&mut world, 1, JobChange::Resume);
    assert_eq!(due(&world), 0);
    world.wait(Duration::from_millis(300));
    assert_eq!(due(&world), 3);
}
