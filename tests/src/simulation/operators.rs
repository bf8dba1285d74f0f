//! What operators do on a node. They use its handle to the cluster, as its admin service does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use stickler_core::ids::Revision;
use stickler_core::state::{
    Admin, AdminState, ApplyDocument, BackendRecord, Binding, Command, MoveReason, Outcome, Rebind, Record,
    RotateOutcome, SessionKey, SetAdmin, Unbind, UnbindOutcome,
};
use stickler_raft::{Cluster, Persistence};

use super::document::{SHOPS, document};
use super::ledger::{Ledger, now};
use super::plan::{Act, Operation};

/// Longest wait for a change.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest wait for a change of a shop's admin state: who wants it back at the end must have the last word.
const ADMIN_PATIENCE: Duration = Duration::from_millis(900);

/// How often an operator looks whether a change has reached every node with a lease.
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
    /// Apply the document without the shop at this position.
    Document(usize),
    /// Add a sealing key.
    Rotate,
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
                self.apply(SHOPS.len() - 1, Revision(0)).await;
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
            Order::Document(absent) => {
                let revision = self.cluster.view().catalog.revision;
                self.apply(absent, revision).await;
            }
            Order::Rotate => self.rotate().await,
        }
    }

    async fn propose(&self, command: Command) -> Option<(u64, Outcome)> {
        let answer = self.cluster.propose(command, PATIENCE, Persistence::Report).await.ok()?;
        Some((answer.index.0, answer.outcome))
    }

    async fn apply(&self, absent: usize, expected: Revision) {
        let document = document(&self.shops, absent);
        self.propose(Command::ApplyDocument(Box::new(ApplyDocument { document, expected }))).await;
    }

    /// Adds a key after the newest that is seen here. Clients of Stickler's cookie must not notice.
    async fn rotate(&self) {
        let newest = self.cluster.view().catalog.ring.newest().map(|newest| newest.key.id());
        if let Some(newest) = newest {
            let answer = self.propose(self.cluster.rotation(newest)).await;
            if matches!(answer, Some((_, Outcome::Rotate(RotateOutcome::Rotated(_))))) {
                self.ledger.count("sealing keys added");
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
        self.ledger.open().evidence.operates(session);
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

    /// Moves a session to another shop, whichever is the first that takes sessions.
    async fn rebind(&self, session: SessionKey, seen: &Binding) {
        let candidate = {
            let view = self.cluster.view();
            let now_at = view.locate(session).map_or(seen.backend, |located| located.binding.backend);
            let mut others = view.catalog.backends_of(seen.pool);
            others.find(|(id, backend)| *id != now_at && backend.takes_new()).map(|(id, _)| id)
        };
        if candidate.is_some() {
            self.ledger.count("sessions moved by hand");
            self.ledger.open().evidence.moves_asked.insert((session, seen.epoch));
            let (epoch, reason) = (seen.epoch, MoveReason::Operator);
            self.propose(Command::Rebind(Rebind { session, epoch, reason, candidate })).await;
        }
    }

    /// Ends a session, and waits for the receipt: until every node that holds a lease has seen it end.
    async fn unbind(&self, session: SessionKey, seen: &Binding) {
        self.ledger.count("sessions ended by hand");
        self.ledger.open().evidence.unbinds_asked.insert((session, seen.epoch));
        let answer = self.propose(Command::Unbind(Unbind { session, epoch: seen.epoch })).await;
        let Some((index, Outcome::Unbind(UnbindOutcome::Unbound))) = answer else { return };
        while self.cluster.standing().stable.0 < index {
            tokio::time::sleep(LOOK).await;
        }
        self.ledger.count("receipts");
        self.ledger.open().evidence.receipt(now(), session, seen.epoch);
    }
}

fn is_as_wanted(state: AdminState, wanted: Admin) -> bool {
    matches!((state, wanted), (AdminState::Ready, Admin::Ready) | (AdminState::Maint, Admin::Maint))
}
