//! The committed log, and what the product makes of it: `State::apply`, snapshots and `decide` run here as
//! they are. Consensus is not modelled: a node's log is a beginning of this one.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use stickler_core::affinity::recognise::{Found, Recognised};
use stickler_core::ids::{Epoch, LogIndex};
use stickler_core::lease::{Footing, Standing};
use stickler_core::routing::{Pools, Step, decide};
use stickler_core::state::{
    Batch, Bind, Command, MoveReason, Origin, Outcome, Rebind, Record, SessionKey, SnapshotHeader, Stamp,
    State, Unbind, UnbindOutcome, View,
};
use stickler_core::time::ClusterTime;

use crate::foundation::{ENDED_MEMORY, FOUNDATION, pieces, reports, session};
use crate::mistakes::Mistake;
use crate::promises::{Broken, broken_by};

/// How many entries of the model's log a node has applied; 0 is the foundation.
pub(crate) type Position = u8;

/// One more than the longest log of any bounds.
pub(crate) const POSITIONS: usize = 9;

pub(crate) const KEYS: usize = 2;

/// What a log entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Entry {
    /// The first of a leader's term.
    First,
    /// A majority's reports about a backend.
    Verdict { backend: u8, up: bool },
    /// A bind that was proposed by a view at `seen`.
    Bind { key: u8, candidate: u8, seen: Position },
    /// A move, because the backend is down or because an operator wants it.
    Rebind { key: u8, epoch: u8, operator: bool },
    /// An operator ends a session.
    Unbind { key: u8, epoch: u8 },
    /// Nothing, but so late that ended epochs are forgotten up to the leader's stable index.
    MuchLater { stable: Position },
}

/// A log up to one entry.
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    fingerprint: u64,
    parent: Option<Arc<Log>>,
    /// The state after the last entry, of a node that has applied every one, and of one that took over a
    /// snapshot at an earlier position.
    here: [OnceLock<Moment>; POSITIONS],
    mistake: Option<Mistake>,
}

/// The product's state after an entry.
pub(crate) struct Moment {
    pub(crate) view: View,
    pub(crate) outcome: Option<Outcome>,
    /// What a node with a lease does with a request, by its stable index and the request's key.
    steps: [[Step; KEYS]; POSITIONS],
    /// What is wrong with this view, as a continuation of the log before it.
    pub(crate) broken: Broken,
}

/// Every log that was reached, so that equal ones are worked out once.
#[derive(Default)]
pub(crate) struct Logs(Mutex<HashMap<Vec<Entry>, Arc<Log>>>);

impl Logs {
    pub(crate) fn empty(&self, mistake: Option<Mistake>) -> Arc<Log> {
        self.get(Vec::new(), None, mistake)
    }

    pub(crate) fn longer(&self, log: &Arc<Log>, entry: Entry) -> Arc<Log> {
        let entries = log.entries.iter().copied().chain([entry]).collect();
        self.get(entries, Some(log), log.mistake)
    }

    fn get(&self, entries: Vec<Entry>, parent: Option<&Arc<Log>>, mistake: Option<Mistake>) -> Arc<Log> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make = |entries: &Vec<Entry>| {
            let mut hasher = std::hash::DefaultHasher::new();
            entries.hash(&mut hasher);
            let (fingerprint, parent) = (hasher.finish(), parent.cloned());
            Arc::new(Log { entries: entries.clone(), fingerprint, parent, here: Default::default(), mistake })
        };
        Arc::clone(logs.entry(entries).or_insert_with_key(make))
    }
}

impl Log {
    pub(crate) fn end(&self) -> Position {
        Position::try_from(self.entries.len()).expect("bounds keep logs short")
    }

    /// The state of a node that has applied so much, the part up to `snapshot` as a snapshot.
    pub(crate) fn at(&self, applied: Position, snapshot: Position) -> &Moment {
        let mut log = self;
        while log.end() > applied {
            log = log.parent.as_deref().expect("a longer log has a shorter one before it");
        }
        log.here[usize::from(snapshot)].get_or_init(|| log.replay(snapshot))
    }

    fn replay(&self, snapshot: Position) -> Moment {
        let mut state = rebuilt(&FOUNDATION.header, FOUNDATION.records.clone());
        let mut outcome = None;
        for position in 1..=self.end() {
            outcome = self.apply(&mut state, position);
            if position == snapshot {
                state = self.restored(&state);
            }
        }
        let view = state.view();
        let steps = std::array::from_fn(|stable| {
            std::array::from_fn(|key| {
                let recognised = recognised(u8::try_from(key).expect("there are two"));
                let stable = index(Position::try_from(stable).expect("logs are short"));
                let catalog = &view.catalog;
                let affinity = catalog.affinity(FOUNDATION.affinity).expect("the document has it");
                let standing = Standing { footing: Footing::Leased, stable, time: view.time };
                decide(
                    &view,
                    &standing,
                    &Pools::one(FOUNDATION.pool),
                    (FOUNDATION.affinity, affinity),
                    &recognised,
                )
            })
        });
        let broken = broken_by(self, &view);
        Moment { view, outcome, steps, broken }
    }

    fn apply(&self, state: &mut State, position: Position) -> Option<Outcome> {
        let at = index(position);
        let entry = self.entries[usize::from(position) - 1];
        let Some(commands) = self.commands(state, entry, at) else {
            state.advance(at);
            return None;
        };
        let stable = if let Entry::MuchLater { stable } = entry { index(stable) } else { LogIndex(0) };
        let stamp = Stamp { time: self.time(position), stable, wall: 0 };
        let outcome = state.apply(at, &Batch { stamp, commands }).pop();
        if self.mistake == Some(Mistake::EpochsRestart)
            && outcome == Some(Outcome::Unbind(UnbindOutcome::Unbound))
        {
            let (header, records) = pieces(state);
            *state = rebuilt(&SnapshotHeader { epoch: Epoch(0), ..header }, records);
        }
        if let (Some(Mistake::MoveKeepsEpoch), Entry::Rebind { key, epoch, .. }) = (self.mistake, entry) {
            let (header, mut records) = pieces(state);
            for (_, record) in records.iter_mut().filter(|(name, _)| *name == session(key)) {
                if let Record::Binding(binding) = record {
                    binding.epoch = Epoch(epoch.into());
                }
            }
            *state = rebuilt(&header, records);
        }
        outcome
    }

    /// The product's commands of an entry; `None` for a leader's first, which has none.
    fn commands(&self, state: &State, entry: Entry, at: LogIndex) -> Option<Vec<Command>> {
        let [first, second] = FOUNDATION.backends;
        let backend = |number: u8| if number == 0 { first } else { second };
        let command = match entry {
            Entry::First => return None,
            Entry::MuchLater { .. } => return Some(Vec::new()),
            Entry::Verdict { backend: number, up } => return Some(reports(backend(number), up, at.0)),
            Entry::Bind { key, candidate, seen } => {
                let origin = Origin::Place { pool: FOUNDATION.pool, candidate: Some(backend(candidate)) };
                let deadline = self.time(seen) + ENDED_MEMORY / 2;
                let seen = if self.mistake == Some(Mistake::RetryRevives) { at } else { index(seen) };
                Command::Bind(Bind { session: session(key), origin, seen, deadline })
            }
            Entry::Rebind { key, epoch, operator } => {
                let mut rebind = Rebind {
                    session: session(key),
                    epoch: Epoch(epoch.into()),
                    reason: if operator { MoveReason::Operator } else { MoveReason::BackendDown },
                    // The operator wants it on the second backend; else there is but one to go to.
                    candidate: operator.then_some(second),
                };
                if let (Some(Mistake::MoveWithoutEpoch), Some(record)) =
                    (self.mistake, state.view().table.get(&session(key)))
                {
                    rebind.epoch = record.epoch();
                }
                Command::Rebind(rebind)
            }
            Entry::Unbind { key, epoch } => {
                Command::Unbind(Unbind { session: session(key), epoch: Epoch(epoch.into()) })
            }
        };
        Some(vec![command])
    }

    /// Cluster time at a position: it stands still but for the entries that say how late it is.
    pub(crate) fn time(&self, position: Position) -> ClusterTime {
        let later = |entry: &&Entry| matches!(entry, Entry::MuchLater { .. });
        let times = self.entries.iter().take(position.into()).filter(later).count();
        let step = (ENDED_MEMORY + Duration::from_millis(1)).as_millis();
        ClusterTime(u64::try_from(times as u128 * step).expect("logs are short"))
    }

    /// What a node has that took over a snapshot of this state.
    fn restored(&self, state: &State) -> State {
        let (header, mut records) = pieces(state);
        if self.mistake != Some(Mistake::SnapshotForgetsPending) {
            return rebuilt(&header, records).finish_restore(&header).expect("a snapshot is the state");
        }
        for (_, record) in &mut records {
            if let Record::Binding(binding) = record {
                binding.usable_from = LogIndex(0);
            }
        }
        rebuilt(&header, records)
    }
}

fn rebuilt(header: &SnapshotHeader, records: Vec<(SessionKey, Record)>) -> State {
    let mut state = State::restore(header);
    state.restore_records(records);
    state
}

impl Moment {
    /// What a node with a lease does with a request of a key.
    pub(crate) fn step(&self, key: u8, stable: Position) -> &Step {
        &self.steps[usize::from(stable)][usize::from(key)]
    }
}

fn recognised(key: u8) -> Recognised {
    let found = Found { method: 0, key: session(key).key, token: None, sealed_with: None };
    Recognised { found: vec![found], passed_over: Vec::new(), routes: Vec::new() }
}

/// A position as the product counts it.
pub(crate) fn index(position: Position) -> LogIndex {
    LogIndex(FOUNDATION.header.applied.0 + u64::from(position))
}

impl Hash for Log {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.fingerprint);
    }
}

impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Log {}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.entries.fmt(f)
    }
}
