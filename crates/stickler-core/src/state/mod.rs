//! The replicated state: bindings and the catalog of what they are bound to.
//!
//! [`State::apply`] is the only way to change it, and it alone decides, from replicated state: two nodes
//! that applied the same entries are the same (I9). Readers hold a [`View`], published after each entry.

mod backends;
mod bind;
mod catalog;
mod command;
mod conflicts;
mod counts;
mod deadlines;
mod hash;
mod idle;
mod jobs;
mod lifetime;
mod marks;
mod memory;
mod operate;
mod outcome;
mod rebind;
mod record;
mod ring;
mod room;
mod snapshot;
mod table;
mod verdict;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use backends::{AdminState, BackendRecord, Discovered, Leaving, Source};
pub use catalog::{Catalog, Founded};
pub use command::*;
pub use conflicts::{Conflict, Conflicts};
pub use counts::Counts;
pub use deadlines::{Deadlines, deadline, unreported};
pub use hash::digest;
pub use jobs::{Announced, AtDeadline, Job, JobState, Jobs, MOST_ANNOUNCED, Work};
pub use marks::{Mark, RETURN_WINDOW};
pub use outcome::*;
pub use record::*;
pub use ring::{MAX_SEALING_KEYS, Ring, RingKey};
pub use snapshot::{RestoreError, SnapshotHeader, StateSnapshot};
pub use table::{BindingTable, SnapshotSuperseded};
pub use verdict::{Finding, Health, MAX_INSTANCE, ReportedHealth, Verdict};
pub use view::{Located, View};

use crate::ids::{Epoch, LogIndex, NodeId};
use crate::time::ClusterTime;
use hash::HashSum;
use idle::IdleOrder;
use memory::EndedMemory;
use verdict::Life;

/// How many entries the index of deadlines may hold beyond twice the table's before it is made anew.
const DEADLINES_SPARED: usize = 4096;

/// The whole replicated state, owned by whoever applies the log.
#[derive(Debug, Default)]
pub struct State {
    /// The last entry that was applied.
    applied: LogIndex,
    /// Cluster time at that entry.
    time: ClusterTime,
    /// The wall clock of the leader that stamped it, for people.
    wall: u64,
    /// The highest stable index that an entry carried.
    stable: LogIndex,
    /// The last entry whose ended epochs were forgotten: a bind that had seen less may belong to one.
    forgotten: LogIndex,
    /// The last epoch that was drawn.
    epoch: Epoch,
    catalog: Arc<Catalog>,
    jobs: Arc<Jobs>,
    table: Arc<BindingTable>,
    /// Hash of all records.
    records: HashSum,
    /// Derived from the table: how many sessions each backend and affinity has.
    counts: Arc<Counts>,
    /// Derived from the table: what is to be forgotten, and when.
    ended: EndedMemory,
    /// Derived from the table: which sessions make room for others.
    idle: IdleOrder,
    /// Derived from the table, and not replicated: see `deadlines`.
    deadlines: Arc<Deadlines>,
}

impl State {
    /// The state of a cluster before its first entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the entry at `index`, and returns one outcome for each of its commands. Entries come in the
    /// order of the log, each once.
    pub fn apply(&mut self, index: LogIndex, batch: &Batch) -> Vec<Outcome> {
        self.advance(index);
        self.time = self.time.max(batch.stamp.time);
        self.wall = batch.stamp.wall;
        self.stable = self.stable.max(batch.stamp.stable);
        self.forget_ended();
        self.retire_keys();
        self.forget_marks();
        batch.commands.iter().map(|command| self.apply_one(command)).collect()
    }

    /// Notes an entry that carries no commands: a membership, or a new leader's first.
    pub fn advance(&mut self, index: LogIndex) {
        debug_assert!(index > self.applied || index == LogIndex(0), "entries come once, in order");
        self.applied = index;
    }

    /// Takes over the voters of a membership entry; their reports are the ones that count.
    pub fn set_voters(&mut self, voters: BTreeSet<NodeId>) {
        if self.catalog.voters == voters {
            return;
        }
        let now = self.time;
        let catalog = Arc::make_mut(&mut self.catalog);
        for (id, backend) in &mut catalog.backends {
            if backend.health.keep_voters(&voters, now) == Life::Another {
                backend.health.forgets(self.epoch, self.counts.of_backend(*id));
            }
        }
        catalog.voters = voters;
    }

    /// What readers see of this state; cheap, to be published after each entry.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            applied: self.applied,
            time: self.time,
            epoch: self.epoch,
            stable: self.stable,
            catalog: Arc::clone(&self.catalog),
            jobs: Arc::clone(&self.jobs),
            table: Arc::clone(&self.table),
            counts: Arc::clone(&self.counts),
            deadlines: Arc::clone(&self.deadlines),
        }
    }

    /// The hash of everything that is replicated (I9).
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.header().hash()
    }

    fn apply_one(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Found(found) => self.found(found),
            Command::Bind(bind) => Outcome::Bind(self.bind(bind)),
            Command::Rebind(rebind) => Outcome::Rebind(self.rebind(rebind)),
            Command::Unbind(unbind) => Outcome::Unbind(self.unbind(unbind)),
            Command::Touch(touch) => self.touch(touch),
            Command::Expire(expire) => self.expire(expire),
            Command::Report(report) => self.report(report),
            Command::Suspect(suspect) => self.suspect(suspect),
            Command::SetAdmin(set) => Outcome::Admin(self.set_admin(set)),
            Command::ApplyDocument(apply) => Outcome::Admin(self.apply_document(apply)),
            Command::RotateKey(rotate) => Outcome::Rotate(self.rotate_key(rotate)),
            Command::NotBefore(wanted) => Outcome::Marked(self.not_before(wanted)),
            Command::ServedIsolated(report) => self.served_isolated(report),
            Command::StartJob(start) => Outcome::Job(self.start_job(start)),
            Command::ChangeJob(change) => Outcome::Job(self.change_job(change)),
            Command::Announce(announce) => self.announce(announce),
            Command::Withdraw(withdraw) => self.withdraw(withdraw),
            Command::Quiet(quiet) => self.quiet(quiet),
            Command::Discover(discover) => self.discover(discover),
            Command::Retire(retire) => self.retire(retire),
        }
    }

    fn next_epoch(&mut self) -> Epoch {
        self.epoch = self.epoch.next();
        self.epoch
    }

    /// Writes a record and keeps everything that is derived from it in step.
    fn put(&mut self, session: SessionKey, record: Record) {
        if let Some(Record::Binding(old)) = self.table.get(&session) {
            self.counts.remove(session.affinity, old.backend);
            self.idle.remove(session, &old);
        }
        match record {
            Record::Binding(binding) => {
                self.counts.add(session.affinity, binding.backend);
                self.idle.add(session, &binding);
            }
            Record::Alias(alias) => self.deadlines.schedule(session, alias.until),
            Record::Ended(ended) => self.ended.note(session, &ended),
        }
        self.unannounce(session, &record);
        self.table.put(&mut self.records, session, record);
    }

    /// Ended records leave their deadline behind. Whoever binds and unbinds in a loop must not grow the index.
    fn spare_deadlines(&self) {
        if self.deadlines.len() > 2 * self.table.len() + DEADLINES_SPARED {
            self.reschedule();
        }
    }

    /// Makes the index of deadlines anew from the table.
    fn reschedule(&self) {
        let mut ends = Vec::with_capacity(self.table.len());
        self.table.visit(|session, record| {
            match record {
                Record::Binding(binding) => ends.push((*session, self.ends_at(*session, binding))),
                Record::Alias(alias) => ends.push((*session, alias.until)),
                Record::Ended(_) => {}
            }
            true
        });
        self.deadlines.replace(ends);
    }
}
