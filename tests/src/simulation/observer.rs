//! Looks at one node whenever its state has changed, and checks what it shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::{LogIndex, NodeId};
use stickler_core::invariants::stays_or_is_forced;
use stickler_core::lease::{Footing, Standing};
use stickler_core::routing::{Step, decide_located, validate};
use stickler_core::state::{Binding, Catalog, Cause, Record, SessionKey, View};
use stickler_raft::Cluster;

use super::ledger::{Ledger, now};

/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// How often the state hash is asked for.
const HASH: Duration = Duration::from_millis(50);

/// What one process of a node has shown so far.
pub struct Observer {
    node: NodeId,
    cluster: Cluster,
    ledger: Ledger,
    applied: LogIndex,
    bindings: BTreeMap<SessionKey, Binding>,
    catalog: Arc<Catalog>,
    footing: Option<Footing>,
    led: Option<(u64, &'static str, Option<NodeId>)>,
}

impl Observer {
    /// An observer of a node that has just started.
    #[must_use]
    pub fn new(cluster: Cluster, ledger: Ledger) -> Self {
        Self {
            node: cluster.node(),
            cluster,
            ledger,
            applied: LogIndex(0),
            bindings: BTreeMap::new(),
            catalog: Arc::default(),
            footing: None,
            led: None,
        }
    }

    /// Looks until the node is gone; `each` is called at every look.
    pub async fn run(mut self, mut each: impl FnMut(&View, &Standing)) {
        let mut changes = self.cluster.changes();
        let mut hash_at = now();
        loop {
            changes.borrow_and_update();
            self.look(&mut each);
            if now() >= hash_at {
                hash_at = now() + HASH;
                self.hash().await;
            }
            tokio::select! {
                biased;
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn look(&mut self, each: &mut impl FnMut(&View, &Standing)) {
        let view = View::clone(&self.cluster.view());
        let standing = self.cluster.standing();
        each(&view, &standing);
        if self.footing.replace(standing.footing) != Some(standing.footing) {
            self.ledger
                .note(self.name(), format!("footing {:?}, stable {}", standing.footing, standing.stable));
        }
        self.shops(&view);
        if view.applied != self.applied {
            self.records(&view);
        }
        if standing.footing == Footing::Leased {
            self.routes(&view, &standing);
        }
    }

    fn name(&self) -> String {
        format!("node-{}", self.node)
    }

    /// Which shops sessions may leave, by this node's state.
    fn shops(&self, view: &View) {
        let mut contents = self.ledger.open();
        for backend in view.catalog.backends.values().filter(|backend| !backend.keeps_bound(view.time)) {
            contents.shop_gone(now(), &backend.name);
        }
    }

    /// I1, I2 and I3.
    fn records(&mut self, view: &View) {
        let found = self.ledger.open().history.view(self.node, view);
        if let Err(violation) = found {
            self.ledger.violated(violation);
        }
        let mut bindings = BTreeMap::new();
        view.table.visit(|session, record| {
            if let Record::Binding(binding) = record {
                bindings.insert(*session, *binding);
            }
            true
        });
        for (session, after) in &bindings {
            if let Some(before) = self.bindings.get(session) {
                self.moved(view, *session, before, after);
            }
        }
        self.bindings = bindings;
        self.applied = view.applied;
        self.catalog = Arc::clone(&view.catalog);
    }

    /// I3: a move must be borne out by the state right before its entry or right after it. Where this node
    /// was not looked at in between, and the shop's state has changed, nothing is known.
    fn moved(&self, view: &View, session: SessionKey, before: &Binding, after: &Binding) {
        let one_step = self.applied.0 + 1 >= after.changed_at.0;
        if before.backend == after.backend || before.bound_at != after.bound_at || !one_step {
            return;
        }
        self.ledger.count("moves judged");
        let forced = [&self.catalog, &view.catalog]
            .into_iter()
            .any(|catalog| stays_or_is_forced(before, after, catalog, view.time));
        let since = |catalog: &Catalog| {
            catalog.backends.get(&before.backend).map(|backend| (backend.health.since, backend.revision))
        };
        if !forced && since(&self.catalog) == since(&view.catalog) {
            self.ledger.violated(format!("I3 NoUnforcedMove: {session:?}: {before:?} became {after:?}"));
        }
        if !matches!(after.cause, Cause::Moved(_)) {
            self.ledger.violated(format!("I3 NoUnforcedMove: {session:?}: {after:?} does not say why"));
        }
    }

    /// I5: by which epoch the node would route every session that it knows, right now.
    fn routes(&self, view: &View, standing: &Standing) {
        let mut found = Ok(());
        let mut contents = self.ledger.open();
        view.table.visit(|asked, _| {
            let policy = view.catalog.affinity(asked.affinity);
            let (Some(policy), Some(located)) = (policy, view.locate(*asked)) else { return true };
            if let Step::Forward(ticket) = decide_located(view, standing, policy, &located, *asked)
                && validate(&ticket, view, standing, policy.when_isolated).is_ok()
                && let Some(routed) = ticket.session
            {
                found = contents.routes(now(), self.node, asked.key, routed.epoch);
            }
            found.is_ok()
        });
        drop(contents);
        if let Err(broken) = found {
            self.ledger.violated(broken);
        }
    }

    /// I9, and who leads.
    async fn hash(&mut self) {
        let status = self.cluster.status().await;
        let checked = self.ledger.open().history.hash(self.node, status.applied, status.state_hash);
        if let Err(violation) = checked {
            self.ledger.violated(violation);
        }
        let led = (status.term, status.role, status.leader);
        if self.led.replace(led) != Some(led) {
            if self.cluster.leads() {
                self.ledger.count("terms of office seen");
            }
            let leader = status.leader.map_or_else(|| "nobody".to_owned(), |leader| leader.to_string());
            self.ledger
                .note(self.name(), format!("{} in term {}, led by {leader}", status.role, status.term));
        }
        self.ledger.note(self.name(), format!("applied {} hash {:032x}", status.applied, status.state_hash));
    }
}
