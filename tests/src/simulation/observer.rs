//! Looks at one node whenever its state has changed, and hands what it shows to those who judge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::{Epoch, LogIndex, NodeId};
use stickler_core::lease::{Footing, Standing};
use stickler_core::routing::{Step, decide_located, validate};
use stickler_core::state::View;
use stickler_core::time::ClusterTime;
use stickler_raft::Cluster;

use super::document::all_shops;
use super::judge::Judge;
use super::ledger::{Ledger, now};

/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// How often the state hash is asked for, and how many times rarer the whole table is looked at.
const HASH: Duration = Duration::from_millis(50);
const WHOLE: u64 = 5;

/// How far cluster time may be apart between what a node has heard and what it has applied, where there is one leader.
pub const HEARD_OF: Duration = Duration::from_millis(400);

/// What one look shows.
pub struct Look<'a> {
    /// The applied state.
    pub view: &'a View,
    /// On what footing the node stands.
    pub standing: &'a Standing,
    /// Whether it leads.
    pub leads: bool,
}

/// What one process of a node has shown so far.
pub struct Observer {
    node: NodeId,
    cluster: Cluster,
    ledger: Ledger,
    judge: Judge,
    applied: LogIndex,
    footing: Option<Footing>,
    /// When this process started, until it holds its first lease.
    back: Option<Duration>,
    led: Option<(u64, &'static str, Option<NodeId>)>,
    /// Whether it held office when it was last looked at.
    leads: bool,
    hashes: u64,
    /// The last epoch that each shop has forgotten.
    forgotten: BTreeMap<&'static str, Epoch>,
}

impl Observer {
    /// An observer of a node that has just started.
    #[must_use]
    pub fn new(cluster: Cluster, ledger: Ledger) -> Self {
        let node = cluster.node();
        let judge = Judge::new(node, ledger.clone());
        let (applied, back) = (LogIndex(0), Some(now()));
        ledger.open().evidence.begins(now(), node);
        Self {
            node,
            cluster,
            ledger,
            judge,
            applied,
            footing: None,
            back,
            led: None,
            leads: false,
            hashes: 0,
            forgotten: BTreeMap::new(),
        }
    }

    /// Looks until the node is gone; `each` is called at every look.
    pub async fn run(mut self, mut each: impl FnMut(&Look<'_>)) {
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

    fn look(&mut self, each: &mut impl FnMut(&Look<'_>)) {
        let view = View::clone(&self.cluster.view());
        let standing = self.cluster.standing();
        let leads = self.cluster.leads();
        each(&Look { view: &view, standing: &standing, leads });
        if leads && !std::mem::replace(&mut self.leads, leads) {
            self.ledger.count("terms of office seen");
            self.ledger.open().evidence.progress.takes_office(now());
        }
        self.leads = leads;
        let before = self.footing.replace(standing.footing);
        self.ledger.open().evidence.stands(self.node, standing.footing);
        if before != Some(standing.footing) {
            self.ledger.note(
                format_args!("node-{}", self.node),
                format_args!("footing {:?}, stable {}", standing.footing, standing.stable),
            );
        }
        self.shops(&view, view.time.max(standing.time));
        if view.applied != self.applied {
            if before == Some(Footing::Isolated) && standing.footing == Footing::Isolated {
                self.isolated_and_fed(&view);
            }
            self.applied = view.applied;
            self.ledger.open().evidence.progress.has_applied(now(), view.applied);
            self.judge.look(&view);
        }
        if standing.footing == Footing::Leased {
            self.knows_shops(&view);
            self.caught_up(&view);
            self.time(&view, &standing);
            self.routes(&view, &standing);
        }
    }

    /// I5: a node that was away holds its first lease once it has applied what was committed when it came back.
    fn caught_up(&mut self, view: &View) {
        let Some(back) = self.back.take() else { return };
        let wanted = self.ledger.open().evidence.progress.due_when_back(back);
        if view.applied < wanted {
            self.ledger.violated(format_args!(
                "I5 OneOwner: node {} has a lease at entry {}, and {wanted} was applied when it came back",
                self.node, view.applied
            ));
        }
    }

    /// What checks are for: this node has every shop for what it is.
    fn knows_shops(&self, view: &View) {
        let mut contents = self.ledger.open();
        let evidence = &mut contents.evidence;
        let mut known = Ok(());
        for (id, record) in &view.catalog.backends {
            if let Some(shop) = evidence.pool_changes.shops.get(&record.address.ip()).copied() {
                known = known.and(evidence.shops.are_known(now(), self.node, (*id, shop), record));
            }
        }
        drop(contents);
        if let Err(broken) = known {
            self.ledger.violated(broken);
        }
    }

    /// Which shops sessions may leave, by this node's state.
    fn shops(&mut self, view: &View, time: ClusterTime) {
        let backends = || view.catalog.backends.values();
        let mut contents = self.ledger.open();
        for (id, backend) in &view.catalog.backends {
            contents.evidence.forgets(*id, backend.health.forgotten);
            if backend.leaving.is_some() && backend.health.is_down() || backend.has_left(time) {
                // Nobody waits for it any more, even if the next document names it again.
                contents.evidence.forgets(*id, view.epoch);
            }
        }
        for shop in all_shops() {
            let at = contents.evidence.pool_changes.address_of(shop);
            let kept =
                backends().find(|backend| Some(backend.address.ip()) == at && backend.keeps_bound(time));
            let forgotten = kept.map(|backend| backend.health.forgotten);
            let known = self.forgotten.insert(shop, forgotten.unwrap_or_default());
            if forgotten.is_none() || known.is_some_and(|known| forgotten > Some(known)) {
                contents.evidence.shop_gone(now(), shop);
            }
        }
    }

    /// I5: a node that takes in entries has a leader, and must catch up before it routes by what it has.
    fn isolated_and_fed(&self, view: &View) {
        self.ledger.violated(format_args!(
            "I5 OneOwner: node {} counts as isolated, and has come from entry {} to {}",
            self.node, self.applied, view.applied
        ));
    }

    /// I8: what a node takes for cluster time is not behind what the log says. Both stem from leaders'
    /// clocks, and a node may have heard of the newest one an answer ago.
    fn time(&self, view: &View, standing: &Standing) {
        if standing.time + HEARD_OF < view.time {
            self.ledger.violated(format_args!(
                "I8 OneTime: it is {} on node {}, and {} in its log",
                standing.time, self.node, view.time
            ));
        }
    }

    /// I5: by which epoch the node would route every session about which nodes may disagree, right now.
    fn routes(&self, view: &View, standing: &Standing) {
        let mut contents = self.ledger.open();
        let mut found = Ok(());
        for asked in contents.evidence.contested(now()) {
            let policy = view.catalog.affinity(asked.affinity);
            let (Some(policy), Some(located)) = (policy, view.locate(asked)) else { continue };
            if let Step::Forward(ticket) = decide_located(view, standing, policy, &located, asked)
                && validate(&ticket, view, standing, policy.when_isolated).is_ok()
                && let Some(routed) = ticket.session
            {
                found = found.and(contents.evidence.routes(now(), self.node, asked.key, routed.epoch));
            }
        }
        drop(contents);
        if let Err(broken) = found {
            self.ledger.violated(broken);
        }
    }

    /// I1, I2 and I9 of everything there is, and who leads.
    async fn hash(&mut self) {
        self.hashes += 1;
        if self.hashes.is_multiple_of(WHOLE) {
            let view = Arc::clone(&self.cluster.view());
            let seen = self.ledger.open().evidence.history.view(self.node, &view);
            if let Err(violation) = seen {
                self.ledger.violated(violation);
            }
        }
        let status = self.cluster.status().await;
        if status.role == "stopped" {
            return;
        }
        let checked = self.ledger.open().evidence.history.hash(self.node, status.applied, status.state_hash);
        if let Err(violation) = checked {
            self.ledger.violated(violation);
        }
        let led = (status.term, status.role, status.leader);
        if self.led.replace(led) != Some(led) {
            let leader = status.leader.map_or(0, |leader| leader.0);
            self.ledger.note(
                format_args!("node-{}", self.node),
                format_args!("{} in term {}, led by {leader}", status.role, status.term),
            );
        }
        self.ledger.note(
            format_args!("node-{}", self.node),
            format_args!("applied {} hash {:032x}", status.applied, status.state_hash),
        );
    }
}
