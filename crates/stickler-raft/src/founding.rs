//! How a cluster comes to be: the founder, the founding member with the lowest id, greets the others until
//! all have said by which data directory they are known, and then writes the first membership. Everybody
//! else waits to be spoken to, and finds out early when its directory is not the one that is expected.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::{ClusterId, DirectoryId, NodeId};
use stickler_core::secrets::{KeptSecret, Purpose, SecretsKey};
use stickler_core::state::{Command, Found};
use stickler_rt::{Seed, Shutdown, watch};

use crate::office::Term;
use crate::peers::{Greeting, Lane, Links, Target, body, value};
use crate::proposals::LeaderLog;
use crate::published::Published;
use crate::raft::{Member, Raft};
use crate::store::codec::Kind;
use crate::store::{ClusterError, IdentityStore};

/// Pause between two rounds of greetings.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_millis(1000);

/// Why a node can't become a member. It stops; an operator decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The data directory was emptied or exchanged: restore it, or remove the member and let it join anew.
    #[error(
        "cluster {cluster} knows node {node} by data directory {known}, but this one is {own}: the directory \
         was emptied or exchanged; restore it, or remove the member and let it join anew"
    )]
    OtherDirectory {
        /// The cluster that was reached.
        cluster: ClusterId,
        /// This node.
        node: NodeId,
        /// The directory in the membership.
        known: DirectoryId,
        /// This node's.
        own: DirectoryId,
    },
    /// Another process answers at a member's address: correct the `[[member]]` addresses.
    #[error("node {found} answers at {address}, where node {expected} should")]
    OtherNode {
        /// The address in the node file.
        address: SocketAddr,
        /// Who should answer there.
        expected: NodeId,
        /// Who does.
        found: NodeId,
    },
    /// The node belongs to another cluster than its peers.
    #[error("{0}")]
    Cluster(String),
    /// The first membership could not be written.
    #[error("the cluster could not be founded: {0}")]
    Initialize(String),
}

/// The task that founds a cluster, or waits for one.
pub(crate) struct Founding {
    pub(crate) own: NodeId,
    pub(crate) members: BTreeMap<NodeId, SocketAddr>,
    pub(crate) identity: Arc<dyn IdentityStore>,
    pub(crate) raft: Raft,
    pub(crate) links: Arc<Links>,
    pub(crate) seed: Seed,
}

impl Founding {
    /// Ends when the node is a member, or can't become one.
    pub(crate) async fn run(self) -> Result<(), MembershipError> {
        let mut known: BTreeMap<NodeId, DirectoryId> = BTreeMap::new();
        known.insert(self.own, self.identity.identity().directory);
        while !self.is_member().await {
            for (node, address) in &self.members {
                if *node != self.own
                    && let Some(greeting) = self.greet(*node, *address).await
                {
                    self.check(&greeting, *node, *address)?;
                    match greeting.cluster {
                        // Somebody is a member already: this node waits to be spoken to.
                        Some(_) => known.remove(node),
                        None => known.insert(*node, greeting.directory),
                    };
                }
            }
            let founder = self.members.keys().next() == Some(&self.own);
            if founder && known.len() == self.members.len() {
                return self.found(&known).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn is_member(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(false)
    }

    async fn greet(&self, node: NodeId, address: SocketAddr) -> Option<Greeting> {
        let target = Target { node, address, directory: None };
        let request = self.links.request(&target, body(Kind::PeerRequest, &()).ok()?).ok()?;
        let mut client = self.links.client(&target, Lane::Consensus);
        match tokio::time::timeout(PATIENCE, client.hello(request)).await {
            Ok(Ok(answer)) => value(Kind::PeerAnswer, answer.get_ref()).ok(),
            Ok(Err(status)) => {
                tracing::debug!(%node, %address, %status, "greeting not answered");
                None
            }
            Err(_) => None,
        }
    }

    fn check(&self, greeting: &Greeting, node: NodeId, address: SocketAddr) -> Result<(), MembershipError> {
        if greeting.node != node {
            return Err(MembershipError::OtherNode { address, expected: node, found: greeting.node });
        }
        let own = self.identity.identity().directory;
        match (greeting.cluster, greeting.knows_you_as) {
            (Some(cluster), Some(known)) if known != own => {
                Err(MembershipError::OtherDirectory { cluster, node: self.own, known, own })
            }
            _ => Ok(()),
        }
    }

    /// Records the cluster's name first: a founder that dies in between goes on with the same one.
    async fn found(&self, known: &BTreeMap<NodeId, DirectoryId>) -> Result<(), MembershipError> {
        let mut drawn = [0; 16];
        self.seed.child("cluster id").fill(&mut drawn);
        let drawn = ClusterId(u128::from_le_bytes(drawn));
        let cluster = self.identity.identity().cluster.unwrap_or(drawn);
        self.identity
            .learn_cluster(cluster)
            .map_err(|error: ClusterError| MembershipError::Cluster(error.to_string()))?;
        let members: BTreeMap<u64, Member> = self
            .members
            .iter()
            .filter_map(|(node, address)| {
                known.get(node).map(|directory| (node.0, Member { address: *address, directory: *directory }))
            })
            .collect();
        tracing::info!(%cluster, members = members.len(), "founding the cluster");
        self.raft.initialize(members).await.map_err(|error| MembershipError::Initialize(error.to_string()))
    }
}

/// The task that writes the cluster's birth into the log, once, when this node first leads a cluster that has
/// none.
pub(crate) struct Birth {
    pub(crate) identity: Arc<dyn IdentityStore>,
    pub(crate) published: Arc<Published>,
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) leader_log: LeaderLog,
    pub(crate) seed: Seed,
    /// The node's key for the cluster's secrets: they are wrapped for ever if it has one now.
    pub(crate) secrets: Option<SecretsKey>,
}

impl Birth {
    /// Runs until the cluster is founded, or until `shutdown`.
    pub(crate) async fn record(mut self, shutdown: Shutdown) {
        loop {
            let leads = self.term.borrow_and_update().is_some();
            if self.published.view().catalog.found.is_some() {
                return;
            }
            if leads && let Some(cluster) = self.identity.identity().cluster {
                let found = Command::Found(self.draw(cluster));
                if self.leader_log.propose(vec![found]).await.is_ok() {
                    return;
                }
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                changed = self.term.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(PAUSE), if leads => {}
            }
        }
    }

    fn draw(&self, cluster: ClusterId) -> Found {
        let keep = |secret: &[u8], purpose: Purpose, name: &str| {
            let mut nonce = [0; 24];
            self.seed.child(name).fill(&mut nonce);
            let wrap = |key| KeptSecret::wrap(secret, key, nonce, cluster, purpose);
            self.secrets.as_ref().map_or_else(|| KeptSecret::clear(secret), wrap)
        };
        let mut hash_key = [0; 16];
        self.seed.child("hash key").fill(&mut hash_key);
        let mut sealing_secret = [0; 32];
        self.seed.child("sealing secret").fill(&mut sealing_secret);
        Found {
            cluster,
            hash_key: keep(&hash_key, Purpose::HashKey, "nonce of the hash key"),
            sealing_secret: keep(&sealing_secret, Purpose::SealingKey, "nonce of the sealing secret"),
        }
    }
}
