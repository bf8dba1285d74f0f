//! I8: a session ends for all at one index, never early, at most a fifth of its time-out late.

use std::time::Duration;

use proptest::prelude::*;
use stickler_core::ids::KeyHash;
use stickler_core::invariants::History;
use stickler_core::state::{
    ApplyDocument, Batch, Command, Deadlines, Expire, Record, Removal, SessionKey, SnapshotSuperseded, Stamp,
    State, Touch, Unbind, Use, View, deadline, unreported,
};
use stickler_core::time::ClusterTime;

use crate::config;
use crate::documents::document;
use crate::world::{World, live, records};

/// What a leader does with the sessions that come up: those that are over it proposes to end, those that
/// live on it looks at again.
fn expiries(view: &View, deadlines: &Deadlines, now: ClusterTime) -> Vec<Command> {
    let mut sessions = Vec::new();
    for session in deadlines.due(now, 1000) {
        let Some(record) = view.table.get(&session) else { continue };
        let ends = match record {
            Record::Binding(binding) => match view.catalog.affinity(session.affinity) {
                Some(policy) => deadline(&binding, policy),
                None => now,
            },
            Record::Alias(alias) => alias.until,
            Record::Ended(_) => continue,
        };
        if ends <= now {
            sessions.push((session, record.epoch()));
        } else {
            deadlines.schedule(session, ends);
        }
    }
    if sessions.is_empty() { Vec::new() } else { vec![Command::Expire(Expire { sessions })] }
}

/// What a node reports of a session that it last served at `used`.
fn report(view: &View, session: SessionKey, used: ClusterTime, now: ClusterTime) -> Option<Command> {
    let binding = live(&records(view), session)?;
    let policy = view.catalog.affinity(session.affinity)?;
    let age = u64::try_from(now.since(used).as_millis()).unwrap();
    let uses = vec![Use { session, epoch: binding.epoch, age }];
    (used > binding.last_use && used.since(binding.last_use) > unreported(policy.idle_timeout))
        .then_some(Command::Touch(Touch { uses }))
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn a_session_ends_in_time_after_its_last_real_use(
        shape in prop_oneof![Just(0u16), Just(1 << 9), Just(1 << 11), Just(1 << 9 | 1 << 11)],
        pauses in proptest::collection::vec(0..240u64, 0..30),
        way in 0..2usize,
    ) {
        let mut world = World::new(shape);
        let session = world.session(1);
        let mut history = History::default();
        let bind = world.place(session, None);
        world.commands(vec![bind]);
        history.used(session, world.time());
        let policy = world.state.view().catalog.affinity(session.affinity).unwrap().clone();
        // Time goes in ticks of a 512th of the time-out; a proposal takes up to two of them.
        let tick = policy.idle_timeout / 512;
        let mut next_uses: Vec<u64> = pauses.iter().scan(0, |sum, pause| { *sum += pause; Some(*sum) }).collect();
        next_uses.reverse();
        let mut last_use = world.time();
        let mut under_way = std::collections::VecDeque::new();
        let mut now = 0u64;
        loop {
            let view = world.state.view();
            let Some(binding) = live(&records(&view), session) else { break };
            history.lives(session, &binding, &policy, world.time()).unwrap();
            while next_uses.last().is_some_and(|at| *at <= now) {
                next_uses.pop();
                last_use = world.time();
                history.used(session, last_use);
            }
            let mut proposed = expiries(&view, &world.state.view().deadlines, view.time);
            proposed.extend(report(&view, session, last_use, world.time()));
            under_way.push_back(proposed);
            // The answer to a use that came before the expiry, but whose report did not, is no real use.
            let commands = if under_way.len() > way { under_way.pop_front().unwrap() } else { Vec::new() };
            let applied = world.commands(commands);
            if live(&applied.after, session).is_none() {
                history.expired(session, &binding, &policy, world.time()).unwrap();
            }
            world.wait(tick);
            now += 1;
        }
    }
}

/// The sessions of `keys`, bound in one entry.
fn bind_all(world: &mut World, keys: std::ops::Range<u128>) -> Vec<SessionKey> {
    let sessions: Vec<SessionKey> = keys.map(|key| world.session(key)).collect();
    let binds = sessions.iter().map(|session| world.place(*session, None)).collect();
    world.commands(binds);
    sessions
}

fn due(state: &State, now: ClusterTime) -> Vec<SessionKey> {
    let mut due = state.view().deadlines.due(now, usize::MAX);
    due.sort_unstable();
    due
}

#[test]
fn the_sessions_of_a_removed_affinity_end_also_on_a_node_that_was_restored() {
    let mut world = World::new(0);
    let affinity = world.state.view().catalog.affinities[0];
    let session = SessionKey { affinity, key: KeyHash(5) };
    let bind = world.place(session, None);
    world.commands(vec![bind]);
    let expected = world.state.view().catalog.revision;
    let apply = ApplyDocument { document: document(1 << 12), expected, removal: Removal::Now };
    world.commands(vec![Command::ApplyDocument(Box::new(apply))]);
    let snapshot = world.state.begin_snapshot();
    let header = snapshot.header.clone();
    let mut restored = State::restore(&header);
    snapshot
        .read::<SnapshotSuperseded>(9, |records| {
            restored.restore_records(records);
            Ok(())
        })
        .unwrap();
    let mut restored = restored.finish_restore(&header).unwrap();
    assert_eq!(due(&restored, world.time()), [session]);
    let epoch = restored.view().table.get(&session).unwrap().epoch();
    let commands = vec![Command::Expire(Expire { sessions: vec![(session, epoch)] })];
    let stamp = Stamp { time: world.time(), ..Stamp::default() };
    let index = stickler_core::ids::LogIndex(world.seen().0 + 1);
    restored.apply(index, &Batch { stamp, commands });
    assert_eq!(live(&records(&restored.view()), session), None);
}

#[test]
fn binding_and_unbinding_in_a_loop_grows_nothing() {
    let mut world = World::new(0);
    for round in 0..60u128 {
        let sessions = bind_all(&mut world, round * 200..(round + 1) * 200);
        let table = world.state.view().table;
        let unbind = |session: SessionKey| Unbind { session, epoch: table.get(&session).unwrap().epoch() };
        let unbinds = sessions.into_iter().map(|session| Command::Unbind(unbind(session))).collect();
        world.commands(unbinds);
        world.wait(Duration::from_millis(2900));
    }
    let remembered = world.state.view().table.len();
    assert!(remembered <= 800, "{remembered} ended sessions are remembered");
    let left = due(&world.state, ClusterTime(u64::MAX)).len();
    assert!(left <= 4096 + 2 * 800 + 200, "{left} entries are left in the index of deadlines");
}

#[test]
fn time_that_a_new_leader_stamps_too_low_stands_still() {
    let mut world = World::new(0);
    world.wait(Duration::from_secs(10));
    let before = world.commands(Vec::new()).view;
    let index = stickler_core::ids::LogIndex(world.seen().0 + 1);
    world.state.apply(index, &Batch { stamp: Stamp::default(), commands: Vec::new() });
    let after = world.state.view();
    assert_eq!((after.time, after.stable), (before.time, before.stable));
}
