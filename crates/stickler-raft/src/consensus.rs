//! One node's consensus, put together from its parts, and the handle by which the rest of the node uses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use openraft_rt::deterministic_rng::DeterministicRng;
use rand::RngCore;
use stickler_core::affinity::sealing::SealingKeyId;
use stickler_core::ids::{BackendId, ClusterId, Incarnation, LogIndex, NodeId};
use stickler_core::lease::Standing;
use stickler_core::load::BackendLoad;
use stickler_core::receipt::{Receipt, Wait};
use stickler_core::secrets::SecretsKey;
use stickler_core::state::{Catalog, Command, State, View};
use stickler_rt::{Listener, Outside, Shutdown, incoming, watch};

use crate::blocking::Blocking;
use crate::disk::{Disk, DiskError};
use crate::founding::MembershipError;
use crate::hand_over::{HandOverError, ask_to_hand_over, hand_over};
use crate::key_rotation::{KeySource, RotationError};
use crate::loads::{LoadSource, OwnLoad, ask_all};
use crate::machine::StateMachine;
use crate::office::{Term, office_queue};
use crate::peers::{Gatekeeper, Links, PeerNetwork, PeerService, serve};
use crate::proposals::{Answer, Persistence, Proposals, ProposeError, leader_log};
use crate::published::Published;
use crate::raft::{Member, Raft, Types};
use crate::receipts::Receipts;
use crate::runtime::OrderedRuntime;
use crate::store::StoreFailure;
use crate::tasks::Tasks;

/// Who the node is among its peers.
#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    /// This node.
    pub node: NodeId,
    /// The founding members with their addresses, this node included.
    pub members: BTreeMap<NodeId, SocketAddr>,
    /// The node's key for the cluster's secrets; `None` where they are kept in the clear.
    pub secrets: Option<SecretsKey>,
}

/// Why consensus could not start. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node's disk does not open; the error says which file and what to do.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is on the disk can't be taken up; the message names what.
    #[error("the log or the snapshot can't be taken up: {0}")]
    Recover(String),
}

/// The handle to a running node's consensus. Clones are the same node.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    incarnation: Incarnation,
    outside: Outside,
    raft: Raft,
    published: Arc<Published>,
    proposals: Proposals,
    receipts: Receipts,
    gatekeeper: Arc<Gatekeeper>,
    links: Arc<Links>,
    term: watch::Receiver<Option<Term>>,
    membership: watch::Receiver<Option<MembershipError>>,
    health: crate::store::StoreHealth,
    blocking: Blocking,
    keys: KeySource,
    load: OwnLoad,
}

/// What a node says of itself to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusStatus {
    /// leader, follower, candidate, learner, or stopped.
    pub role: &'static str,
    /// The current term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The last entry known to be committed.
    pub committed: LogIndex,
    /// The last entry applied, and the state hash there.
    pub applied: LogIndex,
    /// See `applied`.
    pub state_hash: u128,
    /// What is left of the lease.
    pub lease_left: Duration,
    /// On what footing the node stands.
    pub standing: Standing,
}

/// One member, by the replicated membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub node: NodeId,
    /// Its address and directory.
    pub member: Member,
    /// Whether it votes.
    pub voter: bool,
}

impl Cluster {
    /// Opens the node's disk and starts its consensus on the current runtime. `listener` is where the
    /// other nodes reach it. Everything ends with `shutdown`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: ConsensusConfig,
        outside: Outside,
        disk: Disk,
        listener: Box<dyn Listener>,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        let opened = disk.open()?;
        let gatekeeper = Arc::new(Gatekeeper::new(Arc::clone(&opened.identity)));
        let links = Arc::new(Links::new(Arc::clone(&outside.network), Arc::clone(&gatekeeper)));
        let published = Arc::new(Published::new(State::new().view()));
        let machine = StateMachine::new(
            Arc::clone(&published),
            Arc::clone(&gatekeeper),
            opened.snapshots.clone(),
            opened.blocking,
        );
        let network =
            PeerNetwork { links: Arc::clone(&links), own: config.node.0, blocking: opened.blocking };
        // openraft draws its election time-outs from a seed of this process, so that a simulation repeats.
        let seed = outside.seed.child("raft").rng().next_u64();
        let starting = opened.log.start(config.node.0, network, machine);
        let raft = DeterministicRng::<OrderedRuntime>::scope(seed, starting)
            .await
            .map_err(|error| StartError::Recover(error.to_string()))?;

        let (leader_log, log_queue) = leader_log();
        let (office_handle, office) = office_queue();
        let (proposals, waiting) = Proposals::new(outside.clock.clone());
        let load = OwnLoad::default();
        let service = PeerService {
            raft: raft.clone(),
            gatekeeper: Arc::clone(&gatekeeper),
            snapshots: opened.snapshots.clone(),
            leader_log: leader_log.clone(),
            office: office_handle.clone(),
            blocking: opened.blocking,
            load: load.clone(),
        };
        let serving = shutdown.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(service, incoming(listener), serving).await {
                tracing::error!(%error, "the peer service ended");
            }
        });
        let incarnation = opened.identity.identity().incarnation;
        let keys = KeySource::new(&outside.seed, config.secrets.clone());
        let tasks = Tasks {
            config: &config,
            outside: &outside,
            raft: &raft,
            published: &published,
            links: &links,
            leader_log: &leader_log,
            identity: &opened.identity,
            keys: &keys,
            blocking: opened.blocking,
            shutdown: &shutdown,
        };
        let receipts = Receipts {
            own: config.node,
            raft: raft.clone(),
            published: Arc::clone(&published),
            office: office_handle.clone(),
            links: Arc::clone(&links),
        };
        let term = tasks.lead(log_queue, office);
        tasks.follow(waiting, office_handle, incarnation);
        let membership = tasks.join(&term);
        let shared = Shared {
            node: config.node,
            incarnation,
            outside,
            raft,
            published,
            proposals,
            receipts,
            gatekeeper,
            links,
            term,
            membership,
            health: opened.health,
            blocking: opened.blocking,
            keys,
            load,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Cluster {
    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// This node's process.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// What the node gets from outside.
    #[must_use]
    pub fn outside(&self) -> &Outside {
        &self.shared.outside
    }

    /// The applied state, as it is now. Never waits.
    #[must_use]
    pub fn view(&self) -> Guard<Arc<View>> {
        self.shared.published.view()
    }

    /// On what footing this node stands right now, by the real clock. Never waits.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.shared.published.standing(self.shared.outside.clock.now().0)
    }

    /// Yields whenever view, stable index or footing have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.published.changes()
    }

    /// Yields whenever document or backends have changed.
    #[must_use]
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.shared.published.catalog()
    }

    /// Proposes a command and waits for its outcome, `patience` at most.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(
        &self,
        command: Command,
        patience: Duration,
        persistence: Persistence,
    ) -> Result<Answer, ProposeError> {
        self.shared.proposals.propose(command, patience, persistence).await
    }

    /// The command that adds a sealing key after `newest`, with a secret that was drawn for it. A second one is
    /// the same, so that a retry is one.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn rotation(&self, newest: SealingKeyId) -> Result<Command, RotationError> {
        self.shared.keys.rotation(&self.view().catalog, newest)
    }

    /// The node's key for the cluster's secrets, if it has one.
    #[must_use]
    pub fn secrets(&self) -> Option<&SecretsKey> {
        self.shared.keys.secrets()
    }

    /// Proposes what nobody waits for.
    pub fn submit(&self, command: Command, patience: Duration) {
        self.shared.proposals.submit(command, patience);
    }

    /// A receipt for what was committed at `index`: given once what it waits for has come (I7), and after `patience`
    /// in any case, with what is known by then.
    pub async fn receipt(&self, index: LogIndex, wait: Wait, patience: Duration) -> Receipt {
        self.shared.receipts.receipt(index, wait, patience).await
    }

    /// Has `work` go through the state as it is now, where a walk through all sessions keeps nobody waiting.
    ///
    /// # Errors
    /// When the work panicked, or the node is stopping.
    pub async fn walk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&View) -> T + Send + 'static,
    ) -> std::io::Result<T> {
        let view = Arc::clone(&self.view());
        self.shared.blocking.run(move || work(&view)).await
    }

    /// The cluster that this node belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.shared.gatekeeper.cluster()
    }

    /// Whether this node leads and may write.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.shared.term.borrow().is_some()
    }

    /// Why this node can't become a member, once that is known. The process should stop then.
    #[must_use]
    pub fn membership_error(&self) -> watch::Receiver<Option<MembershipError>> {
        self.shared.membership.clone()
    }

    /// What made the disk fail; the node then acknowledges nothing and leads nobody.
    #[must_use]
    pub fn store_failure(&self) -> Option<StoreFailure> {
        self.shared.health.failure()
    }

    /// What this node says of itself to operators.
    pub async fn status(&self) -> ConsensusStatus {
        let metrics = self.shared.raft.metrics().borrow().clone();
        let hash =
            self.shared.raft.with_state_machine(|machine| Box::pin(async move { machine.hash() })).await;
        let role = match (&metrics.running_state, metrics.state) {
            (Err(_), _) => "stopped",
            (Ok(()), openraft::ServerState::Leader) => "leader",
            (Ok(()), openraft::ServerState::Follower) => "follower",
            (Ok(()), openraft::ServerState::Candidate) => "candidate",
            (Ok(()), openraft::ServerState::Learner) => "learner",
            (Ok(()), openraft::ServerState::Shutdown) => "stopped",
        };
        let (applied, state_hash) = hash.unwrap_or((self.view().applied, 0));
        let now = self.shared.outside.clock.now().0;
        ConsensusStatus {
            role,
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            committed: LogIndex(metrics.local_committed.map_or(0, |log_id| log_id.index())),
            applied,
            state_hash,
            lease_left: self.shared.published.lease_left(now),
            standing: self.shared.published.standing(now),
        }
    }

    /// The members, by the membership that this node knows.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        let metrics = self.shared.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        membership
            .nodes()
            .map(|(id, member)| MemberStatus {
                node: NodeId(*id),
                member: member.clone(),
                voter: voters.contains(id),
            })
            .collect()
    }

    /// Has this node's load told by `source` from now on, to whoever asks. Only the first one counts.
    pub fn tell_load(&self, source: LoadSource) {
        self.shared.load.tell(source);
    }

    /// What all nodes have these backends do, by their own word. A node that does not answer within half a second is
    /// left out.
    pub async fn loads(&self, backends: &[BackendId]) -> BTreeMap<NodeId, Vec<BackendLoad>> {
        let shared = &self.shared;
        let others = self.members().into_iter().map(|member| member.node).filter(|node| *node != shared.node);
        let targets = others.filter_map(|node| shared.links.target(node)).collect();
        let mut loads = ask_all(&shared.links, targets, backends).await;
        loads.insert(shared.node, shared.load.of(backends));
        loads
    }

    /// Makes a snapshot now and forgets the log that it covers, so that a node that was away for long gets
    /// the snapshot.
    ///
    /// # Errors
    /// When consensus has stopped, or the snapshot was not there within `patience`.
    pub async fn compact(&self, patience: Duration) -> Result<LogIndex, ProposeError> {
        let raft = &self.shared.raft;
        let wanted = self.view().applied.0;
        raft.trigger().snapshot().await.map_err(|_| ProposeError::Stopped)?;
        let covers = |metrics: &openraft::RaftMetrics<Types>| {
            metrics.snapshot.as_ref().map(openraft::LogId::index).filter(|covered| *covered >= wanted)
        };
        let made = raft
            .wait(Some(patience))
            .metrics(|metrics| covers(metrics).is_some(), "a snapshot")
            .await
            .map_err(|_| ProposeError::Unavailable)?;
        let covered = covers(&made).unwrap_or(wanted);
        raft.trigger().purge_log(covered).await.map_err(|_| ProposeError::Stopped)?;
        Ok(LogIndex(covered))
    }

    /// If this node leads, hands leadership to the voter that lacks the least, and waits until that one leads,
    /// a second at most. Sessions that are known are served meanwhile, new ones wait.
    ///
    /// # Errors
    /// [`HandOverError`], which is of no concern to a node that only wants to be rid of its office.
    pub async fn give_up_office(&self) -> Result<NodeId, HandOverError> {
        hand_over(&self.shared.raft, None).await
    }

    /// Has the leader, whichever node that is, hand leadership to `to`, or to any other voter. Returns who leads
    /// then.
    ///
    /// # Errors
    /// [`HandOverError`].
    pub async fn hand_over(&self, to: Option<NodeId>) -> Result<NodeId, HandOverError> {
        let shared = &self.shared;
        let leader = shared.raft.metrics().borrow().current_leader.map(NodeId);
        let leader = leader.ok_or(HandOverError::NoLeader)?;
        if leader == shared.node {
            return hand_over(&shared.raft, to).await;
        }
        let target = shared.links.target(leader).ok_or(HandOverError::NoLeader)?;
        ask_to_hand_over(&shared.links, &target, to).await
    }

    /// Ends consensus and waits until it has. The shutdown token should have been triggered.
    pub async fn stop(&self) {
        let raft = self.shared.raft.clone();
        // A task of its own: openraft panics in every other call when this one is dropped before its end.
        let stopping = tokio::spawn(async move { raft.shutdown().await });
        if let Err(error) | Ok(Err(error)) = stopping.await {
            tracing::debug!(%error, "consensus had ended already");
        }
    }
}
