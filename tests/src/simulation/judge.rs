//! Judges what a node's state has become since the last look: I1, I2, I3 and I8, whose word a verdict
//! stands on, and that ids are permanent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stickler_core::document::cluster::{Affinity, WhenDown, WhenFull};
use stickler_core::ids::{BackendId, JobId, LogIndex, NodeId};
use stickler_core::invariants::{may_end, stays_or_is_forced};
use stickler_core::state::{
    AtDeadline, BackendRecord, Binding, Catalog, Cause, Ended, Job, Jobs, MoveReason, Record, SessionKey,
    Verdict, View, Work,
};

use super::job_promises::Spread;
use super::ledger::{Ledger, now};
use super::observer::HEARD_OF;
use super::pool_changes::{OneEntry, beyond_bound};

/// What one process of a node has shown at the last look.
pub struct Judge {
    node: NodeId,
    ledger: Ledger,
    applied: LogIndex,
    bindings: BTreeMap<SessionKey, Binding>,
    catalog: Arc<Catalog>,
    jobs: Arc<Jobs>,
    spread: Spread,
}

impl Judge {
    /// Has seen nothing yet.
    #[must_use]
    pub fn new(node: NodeId, ledger: Ledger) -> Self {
        Self {
            node,
            ledger,
            applied: LogIndex(0),
            bindings: BTreeMap::new(),
            catalog: Arc::default(),
            jobs: Arc::default(),
            spread: Spread::default(),
        }
    }

    /// Takes in what has changed.
    pub fn look(&mut self, view: &View) {
        let mut changed = Vec::new();
        view.table.visit(|session, record| {
            if record.changed_at() > self.applied {
                changed.push((*session, *record));
            }
            true
        });
        changed.sort_unstable_by_key(|(session, _)| *session);
        self.closing(view);
        self.bound(view, &changed);
        for (session, record) in changed {
            self.changed(view, session, &record);
        }
        if !Arc::ptr_eq(&self.catalog, &view.catalog) {
            self.names(&view.catalog);
            self.verdicts(view);
            self.pool_changes(view);
            self.catalog = Arc::clone(&view.catalog);
        }
        for session in view.jobs.announced.keys() {
            self.ledger.open().evidence.room.is_announced(now(), session.key);
        }
        self.jobs = Arc::clone(&view.jobs);
        self.evening_out();
        self.caps(view);
        self.applied = view.applied;
    }

    fn changed(&mut self, view: &View, session: SessionKey, record: &Record) {
        self.ledger.note(
            format_args!("node-{}", self.node),
            format_args!("at {} in cluster time: {} is {record:?}", view.time, session.key),
        );
        let seen = self.ledger.open().evidence.history.record(self.node, view.applied, session, record);
        if let Err(violation) = seen {
            self.ledger.violated(violation);
        }
        let before = match record {
            Record::Binding(binding) => {
                let bound = self.ledger.open().evidence.bound(now(), session, binding);
                if let Err(broken) = bound {
                    self.ledger.violated(broken);
                }
                let policy = view.catalog.affinity(session.affinity);
                if policy.is_some_and(|policy| policy.rebind_rate.is_some()) && is_gone(binding.cause) {
                    self.ledger.open().evidence.leaving.moves(now(), session.key, binding.epoch);
                }
                self.bindings.insert(session, *binding)
            }
            Record::Alias(_) | Record::Ended(_) => {
                let mut contents = self.ledger.open();
                contents.evidence.contest(now(), session);
                if matches!(record, Record::Alias(_)) {
                    contents.evidence.renamed.insert(session);
                }
                drop(contents);
                self.bindings.remove(&session)
            }
        };
        match (before, record) {
            (Some(before), Record::Binding(after)) => {
                if before.bound_at != after.bound_at && evicts(view, session) {
                    // It may have made room in between, and has begun anew.
                    self.ledger.open().evidence.evicted(before.epoch);
                }
                self.moved(view, session, &before, after);
            }
            (Some(before), Record::Ended(ended)) => self.ended(view, session, &before, ended),
            _ => {}
        }
    }

    /// I3: a move must be borne out by the state right before its entry or right after it. Where this node
    /// was not looked at in between, and the shop's state has changed, nothing is known.
    fn moved(&self, view: &View, session: SessionKey, before: &Binding, after: &Binding) {
        let late = self.may_be_late(view, before);
        if after.cause == Cause::Moved(MoveReason::Job) && late {
            self.ledger.open().evidence.forced(after.epoch);
        }
        let one_step = self.applied.0 + 1 >= after.changed_at.0;
        if before.backend == after.backend || before.bound_at != after.bound_at || !one_step {
            return;
        }
        self.ledger.count("moves judged");
        if after.cause == Cause::Moved(MoveReason::Job) {
            let one_entry = view.applied.0 <= self.applied.0 + 1;
            let judged = self.moved_by_job((session, before, after), one_entry, late);
            judged.unwrap_or_else(|broken| self.ledger.violated(broken));
        }
        let refuses = view.catalog.affinity(session.affinity).is_some_and(has_refused);
        if refuses && is_gone(after.cause) {
            self.ledger
                .violated(format_args!("failover: {session:?} is to stay where it is, and is {after:?}"));
        }
        let forced = [&self.catalog, &view.catalog]
            .into_iter()
            .any(|catalog| stays_or_is_forced(before, after, catalog, view.time));
        let since = |catalog: &Catalog| {
            catalog.backends.get(&before.backend).map(|backend| (backend.health.since, backend.revision))
        };
        if !forced && since(&self.catalog) == since(&view.catalog) {
            self.ledger.violated(format_args!("I3 NoUnforcedMove: {session:?}: {before:?} became {after:?}"));
        }
        if !matches!(after.cause, Cause::Moved(_)) {
            self.ledger.violated(format_args!("I3 NoUnforcedMove: {session:?}: {after:?} does not say why"));
        }
        let asked = self.ledger.open().evidence.operator_asked(session, before, after);
        if !asked && after.cause == Cause::Moved(MoveReason::Operator) {
            self.ledger.violated(format_args!(
                "I3 NoUnforcedMove: {session:?}: an operator's move hit {before:?}, which nobody had seen"
            ));
        }
    }

    /// Whether a job may have moved this since its time was over: one that was not at its end when this node was last
    /// looked at.
    fn may_be_late(&self, view: &View, before: &Binding) -> bool {
        let was_over = |id: &JobId| self.jobs.jobs.get(id).is_some_and(Job::is_over);
        let mut jobs = self.jobs.jobs.iter().chain(&view.jobs.jobs);
        jobs.any(|(id, job)| {
            let moves = job.at_deadline == AtDeadline::Move && job.is_late(view.time);
            moves && !was_over(id) && job.pool == before.pool
        })
    }

    /// How sessions are spread while a job evens them out.
    fn evening_out(&mut self) {
        let evens = |job: &Job| !job.is_over() && matches!(job.work, Work::Rebalance { .. });
        if self.jobs.jobs.values().any(evens) {
            self.spread.is(now(), &counted(&self.bindings));
        }
    }

    /// Jobs end the sessions that are left at their deadline, where they say so.
    fn closing(&self, view: &View) {
        let before = self.jobs.jobs.values();
        let closes = |job: &&Job| job.at_deadline == AtDeadline::Close && job.is_late(view.time + HEARD_OF);
        for job in before.chain(view.jobs.jobs.values()).filter(closes).filter(|job| !job.is_over()) {
            for (session, binding) in self.bindings.iter().filter(|(session, it)| job.concerns(**session, it))
            {
                self.ledger.open().evidence.may_be_closed(*session, binding.epoch);
            }
        }
    }

    /// I3: a job moves what it has announced, or what is left when its time is over; not while it is paused; and what its
    /// work is.
    fn moved_by_job(
        &self,
        (session, before, after): (SessionKey, &Binding, &Binding),
        one_entry: bool,
        late: bool,
    ) -> Result<(), String> {
        let unannounced = || Err(format!("I3 NoUnforcedMove: {session:?}: no job has announced {after:?}"));
        let Some((id, job)) = self.jobs.in_pool(before.pool) else { return unannounced() };
        self.ledger.open().evidence.jobs.is_at_work(id, after.changed_at)?;
        match job.work {
            Work::Evacuate { .. } => {}
            Work::Undo { of, .. } => {
                self.ledger.count("undone moves judged");
                self.ledger.open().evidence.jobs.undoes(of, before, after)?;
            }
            Work::Rebalance { .. } if one_entry && !late => {
                let on = |backend: &BackendId| counted(&self.bindings).get(backend).copied().unwrap_or(0);
                // As it was before this entry.
                let from = (before.backend, on(&before.backend) + 1);
                let to = (after.backend, on(&after.backend).saturating_sub(1));
                self.ledger.count("evened out moves judged");
                self.spread.evens_out(now(), from, to)?;
            }
            Work::Rebalance { .. } => {}
        }
        self.ledger.open().evidence.jobs.gives(after.epoch, id);
        if late {
            self.ledger.count("late moves");
            return Ok(());
        }
        let announced = self.jobs.announced.get(&session);
        let announced = announced.filter(|announced| announced.epoch == before.epoch && announced.job == id);
        if announced.is_none() {
            return unannounced();
        }
        self.ledger.count("announced moves judged");
        if job.hook.is_none() {
            return Ok(());
        }
        self.ledger.open().evidence.jobs.is_agreed(id, (session.key, before.epoch))
    }

    /// I8: a session ends by its application, by an operator who saw this epoch of it, or when its time is
    /// over, and not before. The last use may have been later than what was seen of it, never earlier.
    fn ended(&self, view: &View, session: SessionKey, before: &Binding, ended: &Ended) {
        let Some(policy) = view.catalog.affinity(session.affinity) else { return };
        let contents = self.ledger.open();
        let evidence = &contents.evidence;
        let wanted = evidence.renamed.contains(&session)
            || evidence.logouts.contains(&session.key)
            || evidence.unbinds_asked.contains(&(session, ended.epoch));
        let forgotten = evidence.is_forgotten(session.key, before.epoch);
        drop(contents);
        let (earliest, _) = may_end(before.bound_at, before.last_use, policy);
        if wanted || before.epoch != ended.epoch {
            return;
        }
        let home = view.catalog.backends.get(&before.backend);
        let lost = forgotten || home.is_none_or(|home| home.has_left(view.time));
        if lost && has_refused(policy) {
            return self.ledger.count("lost sessions ended");
        }
        if ended.ended_at < earliest && evicts(view, session) {
            return self.evicted(view, session, before);
        }
        self.ledger.count("expiries judged");
        if ended.ended_at < earliest {
            self.ledger.violated(format_args!(
                "I8 OneTime: {session:?} ended at {}, not before {earliest}, and nobody ended it: {before:?}",
                ended.ended_at
            ));
        }
    }

    /// I3: what makes room is the idlest session of its affinity. Only judged where no more than one entry lies
    /// between two looks.
    fn evicted(&self, view: &View, session: SessionKey, before: &Binding) {
        self.ledger.open().evidence.evicted(before.epoch);
        if view.applied.0 > self.applied.0 + 1 {
            return;
        }
        self.ledger.count("evictions judged");
        for (other, known) in self.bindings.iter().filter(|(other, _)| other.affinity == session.affinity) {
            // The entry may have reported a use before it.
            if let Some(Record::Binding(now)) = view.table.get(other)
                && now.epoch == known.epoch
                && now.last_use < before.last_use
            {
                self.ledger.violated(format_args!(
                    "I3 NoUnforcedMove: {session:?} made room, last used at {}, and {other:?} was not used since {}",
                    before.last_use, now.last_use
                ));
            }
        }
    }

    /// Backends come and go as was asked for. Only judged where no more than one entry lies between two looks.
    fn pool_changes(&self, view: &View) {
        if view.applied.0 > self.applied.0 + 1 {
            return;
        }
        let entry = OneEntry { before: &self.catalog, view, bindings: &self.bindings };
        let broken = self.ledger.open().evidence.pool_changes.broken(&entry);
        broken.into_iter().for_each(|broken| self.ledger.violated(broken));
    }

    /// The bound of a pool's load holds. Only judged where one session was placed, and nothing else has changed.
    fn bound(&self, view: &View, changed: &[(SessionKey, Record)]) {
        let one_entry = view.applied.0 <= self.applied.0 + 1 && Arc::ptr_eq(&self.catalog, &view.catalog);
        if let [(session, Record::Binding(placed))] = changed
            && one_entry
            && placed.cause == Cause::Placed
            && !self.bindings.contains_key(session)
        {
            self.ledger.count("placed sessions judged");
            if let Some(broken) = beyond_bound(view, placed) {
                self.ledger.violated(broken);
            }
        }
    }

    /// Caps are exact.
    fn caps(&self, view: &View) {
        for affinity in &view.catalog.affinities {
            let most = view.catalog.affinity(*affinity).and_then(|policy| policy.max_sessions);
            let sessions = view.counts.of_affinity(*affinity);
            if let Some(most) = most.filter(|most| sessions > *most) {
                self.ledger.violated(format_args!("{sessions} sessions of an affinity that may have {most}"));
            }
        }
    }

    /// Ids are permanent.
    fn names(&self, catalog: &Catalog) {
        for (id, backend) in &catalog.backends {
            let known = self.ledger.open().evidence.names(*id, &backend.name, backend.address);
            if let Err(broken) = known {
                self.ledger.violated(broken);
            }
        }
    }

    /// A backend is down on the word of a majority of the voters. Only judged where no more than one entry
    /// lies between two looks.
    fn verdicts(&self, view: &View) {
        if view.applied.0 > self.applied.0 + 1 {
            return;
        }
        for (id, backend) in &view.catalog.backends {
            let Some(before) = self.catalog.backends.get(id) else { continue };
            self.life(view, before, (*id, backend));
            if before.health.verdict == Verdict::Down || backend.health.verdict != Verdict::Down {
                continue;
            }
            self.ledger.count("verdicts judged");
            let said = reported_down(before).chain(reported_down(backend));
            let down: BTreeSet<NodeId> = said.chain(reported_twice(before, backend)).collect();
            if down.len() * 2 <= view.catalog.voters.len() {
                self.ledger.violated(format_args!(
                    "I3 NoUnforcedMove: {} is down on the word of {down:?} of {:?}",
                    backend.name, view.catalog.voters
                ));
            }
        }
    }
}

impl Judge {
    /// A backend is in another life on the word of a majority of the voters.
    fn life(&self, view: &View, before: &BackendRecord, (id, after): (BackendId, &BackendRecord)) {
        if before.health.instance == after.health.instance {
            return;
        }
        self.ledger.count("lives judged");
        // What was bound there before is lost, and everybody is to know.
        let bound = self.bindings.values().filter(|it| it.backend == id && it.changed_at <= self.applied);
        let kept = bound.filter(|binding| binding.epoch > after.health.forgotten).count();
        if before.health.instance.is_some() && kept > 0 {
            self.ledger.violated(format_args!(
                "failover: {} has begun life {:?}, and {kept} sessions of its last one count as if it had them",
                after.name, after.health.instance
            ));
        }
        // An entry of several reports may have one that makes the majority and then one that takes its word back.
        let says = |backend: &BackendRecord| {
            let said = backend.health.reports.iter();
            let said = said.filter(|(_, report)| report.finding.instance == after.health.instance);
            said.map(|(node, _)| *node).collect::<Vec<_>>()
        };
        let words: BTreeSet<NodeId> =
            [says(before), says(after), reported_twice(before, after)].concat().into_iter().collect();
        if words.len() * 2 <= view.catalog.voters.len() {
            self.ledger.violated(format_args!(
                "I3 NoUnforcedMove: {} is in life {:?} on the word of {words:?} of {:?}",
                after.name, after.health.instance, view.catalog.voters
            ));
        }
    }
}

/// How many sessions each backend has.
fn counted(bindings: &BTreeMap<SessionKey, Binding>) -> BTreeMap<BackendId, usize> {
    let mut counted = BTreeMap::new();
    bindings.values().for_each(|binding| *counted.entry(binding.backend).or_default() += 1);
    counted
}

/// Whether an affinity has requests refused, or sent elsewhere, while the backend of their session is away.
const fn has_refused(affinity: &Affinity) -> bool {
    matches!(affinity.when_down, WhenDown::Reject | WhenDown::Redirect(_))
}

/// Whether a session has moved since its backend was gone.
const fn is_gone(cause: Cause) -> bool {
    use MoveReason::{BackendDown, BackendMaint, BackendRemoved, BackendRestarted, DrainDeadline};
    matches!(
        cause,
        Cause::Moved(BackendDown | BackendMaint | BackendRemoved | BackendRestarted | DrainDeadline)
    )
}

fn evicts(view: &View, session: SessionKey) -> bool {
    view.catalog.affinity(session.affinity).is_some_and(|policy| policy.when_full == WhenFull::EvictIdlest)
}

/// Nodes that have reported again, and up: the entry may have another report of theirs before that one.
fn reported_twice(before: &BackendRecord, after: &BackendRecord) -> Vec<NodeId> {
    let again = after.health.reports.iter().filter(|(node, report)| {
        let known = before.health.reports.get(node);
        known.is_none_or(|known| {
            (known.incarnation, known.sequence + 1) < (report.incarnation, report.sequence)
        })
    });
    again.map(|(node, _)| *node).collect()
}

fn reported_down(backend: &BackendRecord) -> impl Iterator<Item = NodeId> {
    backend.health.reports.iter().filter(|(_, report)| !report.finding.up).map(|(node, _)| *node)
}
