//! What operators do on a node. They use its handle to the cluster, as its admin service does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use stickler_core::by_rule::{Deed, Rule};
use stickler_core::document::cluster::Rate;
use stickler_core::ids::{BackendId, Epoch, LogIndex, Revision};
use stickler_core::receipt::{Receipt, Wait};
use stickler_core::state::{
    Admin, AdminState, ApplyDocument, BackendRecord, Binding, ChangeJob, Command, JobChange, JobOutcome,
    Outcome, RebindOutcome, Record, Removal, RotateOutcome, SessionKey, SetAdmin, StartJob, UnbindOutcome,
    Work,
};
use stickler_node::by_rule::{Job, Seen};
use stickler_raft::{Cluster, Persistence};

use super::document::{SHOPS, document};
use super::ledger::{Ledger, now};
use super::plan::{Act, JobPlan, JobWork, Operation};
use super::pool_changes::DocumentPlan;
use super::pool_settings::PoolSettings;
use super::shop_host::TOLD;

/// Longest wait for a change.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for a change of a shop's admin state: who wants it back at the end must have the last word.
const ADMIN_PATIENCE: Duration = Duration::from_millis(900);

/// Sessions in a second that an operator ends or moves by rule: some of them after faults have come and gone.
const RATE: u32 = 20;

/// How long a job holds a session's requests.
const HOLD: Duration = Duration::from_millis(800);

/// How often an operator looks whether there is a cluster.
const LOOK: Duration = Duration::from_millis(10);

/// What the world asks of a running node or its operator.
#[derive(Clone, Debug)]
pub enum Order {
    /// Let the clock run at this rate.
    Skew(f64),
    /// Make a snapshot now.
    Compact,
    /// Hand leadership over.
    HandOver,
    /// Stop the process in good order, and stay away for so long.
    Stop(Duration),
    /// Change a shop's admin state.
    Admin(&'static str, Admin),
    /// Move or end a session.
    Session(Operation),
    /// Apply a document.
    Document(DocumentPlan),
    /// Add a sealing key.
    Rotate,
    /// Begin a job.
    Job(JobPlan),
    /// Pause the jobs that are not over, let them go on, or end them.
    ChangeJobs(JobChange),
}

/// Somebody at one node. Clones are the same.
#[derive(Clone)]
pub struct Operator {
    /// The node.
    pub cluster: Cluster,
    /// Where what is asked for is noted.
    pub ledger: Ledger,
    /// The shops that a document may name.
    pub shops: BTreeMap<&'static str, IpAddr>,
    /// What documents say about the requests of each node.
    pub pool: PoolSettings,
}

impl Operator {
    /// Applies the cluster's first document, as soon as there is a cluster.
    pub async fn begin(self) {
        loop {
            let (founded, begun) = {
                let view = self.cluster.view();
                (view.catalog.found.is_some(), view.catalog.document.is_some())
            };
            if begun {
                return;
            }
            if founded {
                // An unknown outcome is looked at, and the revision keeps a second attempt from doing harm.
                let first = DocumentPlan { absent: SHOPS.len() - 1, removal: Removal::Now, moved: false };
                self.apply(&first, Revision(0)).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Does what was ordered.
    pub async fn carry_out(self, order: Order) {
        match order {
            // Carried out where the clock and the process are.
            Order::Skew(_) | Order::Stop(_) => {}
            Order::HandOver => {
                let _ = self.cluster.hand_over(None).await;
            }
            Order::Compact => drop(self.cluster.compact(PATIENCE).await),
            Order::Admin(shop, admin) => self.set_admin(shop, admin).await,
            Order::Session(operation) => self.operate(operation).await,
            Order::Document(plan) => {
                let revision = self.cluster.view().catalog.revision;
                self.apply(&plan, revision).await;
            }
            Order::Rotate => self.rotate().await,
            Order::Job(plan) => self.begin_job(plan).await,
            Order::ChangeJobs(change) => self.change_jobs(change).await,
        }
    }

    async fn propose(&self, command: Command) -> Option<(LogIndex, Outcome)> {
        let answer = self.cluster.propose(command, PATIENCE, Persistence::Report).await.ok()?;
        Some((answer.index, answer.outcome))
    }

    async fn apply(&self, plan: &DocumentPlan, expected: Revision) {
        let document = document(&self.shops, plan, &self.pool);
        let removal = plan.removal;
        self.ledger.open().evidence.pool_changes.applies(expected, removal);
        self.propose(Command::ApplyDocument(Box::new(ApplyDocument { document, expected, removal }))).await;
    }

    /// Adds a key after the newest that is seen here. Clients of Stickler's cookie must not notice.
    async fn rotate(&self) {
        let newest = self.cluster.view().catalog.ring.newest().map(|newest| newest.id);
        if let Some(rotation) = newest.and_then(|newest| self.cluster.rotation(newest).ok()) {
            let answer = self.propose(rotation).await;
            if matches!(answer, Some((_, Outcome::Rotate(RotateOutcome::Rotated(_))))) {
                self.ledger.count("sealing keys added");
            }
        }
    }

    async fn begin_job(&self, plan: JobPlan) {
        let start = {
            let view = self.cluster.view();
            let named =
                |shop: &str| view.catalog.backends.iter().find(|(_, it)| it.name == shop).map(|(id, _)| *id);
            let work = match plan.work {
                JobWork::Evacuate(shop) => {
                    let Some(backend) = named(shop) else { return };
                    Work::Evacuate { backend, to: None }
                }
                JobWork::Rebalance => Work::Rebalance { most: u64::MAX },
                JobWork::Undo => Work::Undo { of: view.jobs.last, epochs: (Epoch(0), Epoch(0)) },
            };
            StartJob {
                expected: view.jobs.last,
                work,
                pool: view.catalog.pools.first().copied(),
                affinity: None,
                rate: Rate { most: plan.rate, period: Duration::from_secs(1) },
                hold: HOLD,
                deadline: plan.deadline.map(Duration::from_millis),
                at_deadline: plan.at_deadline,
                hook: plan.tells.then(|| format!("http://{{backend}}{TOLD}")),
            }
        };
        let proposed =
            self.cluster.propose(Command::StartJob(start), ADMIN_PATIENCE, Persistence::Report).await;
        if proposed.is_ok_and(|answer| matches!(answer.outcome, Outcome::Job(JobOutcome::Done(_)))) {
            self.ledger.count("jobs begun");
        }
    }

    async fn change_jobs(&self, change: JobChange) {
        let changes: Vec<ChangeJob> = {
            let view = self.cluster.view();
            let at_work = view.jobs.jobs.iter().filter(|(_, job)| !job.is_over());
            at_work.map(|(id, job)| ChangeJob { job: *id, expected: job.revision, change }).collect()
        };
        for change in changes {
            let job = change.job;
            if change.change == JobChange::Resume {
                self.ledger.open().evidence.jobs.may_go_on(job, change.expected);
            }
            let seen = change.expected;
            let pauses = change.change == JobChange::Pause;
            let change = Command::ChangeJob(change);
            let answer = self.cluster.propose(change, ADMIN_PATIENCE, Persistence::Report).await;
            if let Ok(answer) = answer
                && pauses
                && matches!(answer.outcome, Outcome::Job(JobOutcome::Done(_)))
            {
                self.ledger.count("jobs paused");
                self.ledger.open().evidence.jobs.is_paused(job, seen, answer.index);
            }
        }
    }

    async fn set_admin(&self, shop: &str, admin: Admin) {
        let known = {
            let view = self.cluster.view();
            let named = |backend: &BackendRecord| backend.name == shop && !is_as_wanted(backend.admin, admin);
            let found = view.catalog.backends.iter().find(|(_, backend)| named(backend));
            found.map(|(id, backend)| (*id, backend.revision))
        };
        if let Some((backend, expected)) = known {
            let command = Command::SetAdmin(SetAdmin { backend, admin, expected });
            let _ = self.cluster.propose(command, ADMIN_PATIENCE, Persistence::Report).await;
        }
    }

    /// Looks, thinks, and acts by what was seen: meanwhile the session may have moved or ended.
    async fn operate(&self, operation: Operation) {
        let Some((session, binding)) = self.pick(operation.pick) else { return };
        self.ledger.open().evidence.operates(session, binding.epoch);
        tokio::time::sleep(operation.thinks).await;
        self.ledger.note(
            format_args!("operator at node {}", self.cluster.node()),
            format_args!("{:?} {} epoch {}", operation.act, session.key, binding.epoch),
        );
        match operation.act {
            Act::Move => self.rebind(session, &binding).await,
            Act::MoveTwice => {
                self.rebind(session, &binding).await;
                self.rebind(session, &binding).await;
            }
            Act::Unbind => self.unbind(session, &binding).await,
            Act::UnbindByRule => self.by_rule(session, &binding, Deed::Unbind).await,
            Act::MoveByRule => {
                if let Some(to) = self.another(session, &binding) {
                    self.by_rule(session, &binding, Deed::Move { to }).await;
                }
            }
            Act::MoveAndUnbind => {
                self.rebind(session, &binding).await;
                self.unbind(session, &binding).await;
            }
        }
    }

    /// The session at a position, in the order of their keys.
    fn pick(&self, position: u64) -> Option<(SessionKey, Binding)> {
        let mut bindings = BTreeMap::new();
        self.cluster.view().table.visit(|session, record| {
            if let Record::Binding(binding) = record {
                bindings.insert(*session, *binding);
            }
            true
        });
        let position = usize::try_from(position).unwrap_or(0).checked_rem(bindings.len())?;
        bindings.into_iter().nth(position)
    }

    /// Another shop than the session's, whichever is the first that takes sessions.
    fn another(&self, session: SessionKey, seen: &Binding) -> Option<BackendId> {
        let view = self.cluster.view();
        let now_at = view.locate(session).map_or(seen.backend, |located| located.binding.backend);
        let mut others = view.catalog.backends_of(seen.pool);
        others.find(|(id, backend)| *id != now_at && backend.takes_new()).map(|(id, _)| id)
    }

    /// Moves a session to another shop.
    async fn rebind(&self, session: SessionKey, seen: &Binding) {
        let Some(to) = self.another(session, seen) else { return };
        self.ledger.count("sessions moved by hand");
        self.asks(&[(session, seen.epoch)], Deed::Move { to });
        let answer = self.propose(Deed::Move { to }.command(session, seen.epoch)).await;
        if let Some((index, Outcome::Rebind(RebindOutcome::Moved(_)))) = answer {
            self.receipt(index, &[(session, seen.epoch)]).await;
        }
    }

    /// Ends a session.
    async fn unbind(&self, session: SessionKey, seen: &Binding) {
        self.ledger.count("sessions ended by hand");
        self.asks(&[(session, seen.epoch)], Deed::Unbind);
        let answer = self.propose(Deed::Unbind.command(session, seen.epoch)).await;
        if let Some((index, Outcome::Unbind(UnbindOutcome::Unbound))) = answer {
            self.receipt(index, &[(session, seen.epoch)]).await;
        }
    }

    /// Ends or moves all sessions that are what the one is that was seen: of its affinity, and on its backend.
    async fn by_rule(&self, session: SessionKey, seen: &Binding, deed: Deed) {
        let rule = Rule { affinity: Some(session.affinity), backend: Some(seen.backend), older_than: None };
        self.ledger.count("rules given");
        let number = (deed == Deed::Unbind).then(|| self.ledger.open().evidence.gives_rule(now()));
        let job = Job::begin(&self.cluster, rule, deed, RATE).await;
        if let Some(number) = number {
            // A proposal whose answer did not come may be on its way for as long again.
            let later = if job.is_ok() { Duration::ZERO } else { PATIENCE * 2 };
            self.ledger.open().evidence.rule_is_given(number, now() + later);
        }
        let Ok(mut job) = job else { return };
        let mut all = Vec::new();
        loop {
            let Ok(sessions) = job.next().await else { return };
            if sessions.is_empty() {
                break;
            }
            self.asks(&sessions, deed);
            if job.carry_out(&sessions).await.is_err() {
                return;
            }
            all.extend(sessions);
        }
        self.ledger.count("rules carried out");
        self.given(&job.receipt().await, &all);
    }

    /// Notes what is asked for, before it is.
    fn asks(&self, sessions: &[Seen], deed: Deed) {
        let mut contents = self.ledger.open();
        for (session, epoch) in sessions {
            contents.evidence.operates(*session, *epoch);
            let asked = match deed {
                Deed::Unbind => &mut contents.evidence.unbinds_asked,
                Deed::Move { .. } => &mut contents.evidence.moves_asked,
            };
            asked.insert((*session, *epoch));
        }
    }

    /// Waits for the receipt: until every node that holds a lease has seen these epochs end.
    async fn receipt(&self, index: LogIndex, ended: &[Seen]) {
        self.given(&self.cluster.receipt(index, Wait::Leased, PATIENCE).await, ended);
    }

    fn given(&self, receipt: &Receipt, ended: &[Seen]) {
        if !receipt.reached {
            return;
        }
        self.ledger.count("receipts");
        if !receipt.without_lease.is_empty() {
            self.ledger.count("receipts that name nodes");
        }
        self.ledger.note(
            format_args!("operator at node {}", self.cluster.node()),
            format_args!("receipt at index {}, without a lease: {:?}", receipt.index, receipt.without_lease),
        );
        let mut contents = self.ledger.open();
        for (session, epoch) in ended {
            contents.evidence.receipt(now(), *session, *epoch, &receipt.without_lease);
        }
    }
}

fn is_as_wanted(state: AdminState, wanted: Admin) -> bool {
    matches!((state, wanted), (AdminState::Ready, Admin::Ready) | (AdminState::Maint, Admin::Maint))
}
