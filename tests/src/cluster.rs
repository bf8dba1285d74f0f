//! Three consensus nodes in one process, over real sockets and real files.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::document::cluster::ClusterDocument;
use stickler_core::ids::{AffinityId, BackendId, KeyHash, LogIndex, NodeId, PoolId, Revision};
use stickler_core::state::{
    ApplyDocument, Bind, BindOutcome, Command, Finding, Origin, Outcome, Removal, Report, SessionKey,
};
use stickler_core::time::ClusterTime;
use stickler_raft::store::DataDirectory;
use stickler_raft::{Answer, Cluster, ConsensusConfig, Disk, Persistence, ProposeError};
use stickler_rt::{BindOptions, Clock, NameTable, Network, Outside, Seed, Shutdown, TaskSpawner, TcpNetwork};
use tempfile::TempDir;

/// How long a test waits for what must happen soon.
pub const SOON: Duration = Duration::from_secs(20);

/// Nodes that can be killed and started again.
pub struct TestCluster {
    directory: TempDir,
    members: BTreeMap<NodeId, SocketAddr>,
    running: BTreeMap<NodeId, RunningNode>,
    starts: u64,
}

/// One running node.
struct RunningNode {
    cluster: Cluster,
    shutdown: Shutdown,
}

impl TestCluster {
    /// Starts nodes 1 to `size` on directories of their own.
    pub async fn start(size: u64) -> Self {
        let mut members = BTreeMap::new();
        let mut listeners = Vec::new();
        for node in 1..=size {
            let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
            members.insert(NodeId(node), listener.local_address().expect("a bound socket has an address"));
            listeners.push((NodeId(node), listener));
        }
        let directory = TempDir::new().expect("a temporary directory");
        let mut cluster = Self { directory, members, running: BTreeMap::new(), starts: 0 };
        for (node, listener) in listeners {
            cluster.start_on(node, listener).await;
        }
        cluster
    }

    /// Starts a node again on what its directory holds.
    pub async fn restart(&mut self, node: NodeId) {
        let listener = listen(self.members[&node]).await;
        self.start_on(node, listener).await;
    }

    /// Ends a node without a word to the others; its directory stays.
    pub async fn kill(&mut self, node: NodeId) {
        if let Some(running) = self.running.remove(&node) {
            running.shutdown.trigger();
            running.cluster.stop().await;
        }
    }

    async fn start_on(&mut self, node: NodeId, listener: Box<dyn stickler_rt::Listener>) {
        self.starts += 1;
        let mut random = [0; 16];
        let seed = Seed::from_system().expect("the system gives randomness");
        seed.fill(&mut random);
        let path = self.path(node);
        // A node that was just killed may hold its files for a moment longer.
        let directory = until("the data directory is free", || {
            let opened = DataDirectory::open(&path, node, random);
            std::future::ready(opened.ok())
        })
        .await;
        let outside = Outside {
            network: Arc::new(TcpNetwork),
            resolver: Arc::new(NameTable::default()),
            clock: Clock::start(),
            seed,
            spawner: Arc::new(TaskSpawner),
        };
        let shutdown = Shutdown::new();
        let config = ConsensusConfig { node, members: self.members.clone(), secrets: None };
        let cluster = Cluster::start(config, outside, Disk::Directory(directory), listener, shutdown.clone())
            .await
            .expect("the node starts");
        self.running.insert(node, RunningNode { cluster, shutdown });
    }

    /// The data directory of a node.
    #[must_use]
    pub fn path(&self, node: NodeId) -> PathBuf {
        self.directory.path().join(format!("node-{node}"))
    }

    /// A running node.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &Cluster {
        &self.running[&node].cluster
    }

    /// All running nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Cluster)> {
        self.running.iter().map(|(node, running)| (*node, &running.cluster))
    }

    /// Waits until a running node leads.
    pub async fn leader(&self) -> NodeId {
        until("a leader", || {
            let leader = self.nodes().find(|(_, cluster)| cluster.leads()).map(|(node, _)| node);
            std::future::ready(leader)
        })
        .await
    }

    /// Waits until all running nodes have applied what the furthest has.
    pub async fn settled(&self) -> LogIndex {
        until("all nodes at one index", || {
            let applied: Vec<LogIndex> = self.nodes().map(|(_, cluster)| cluster.view().applied).collect();
            let same = applied.iter().all(|index| *index == applied[0]).then_some(applied[0]);
            std::future::ready(same)
        })
        .await
    }

    /// Applies a document through a running node, and has all its backends reported up by a majority.
    pub async fn apply(&self, document: ClusterDocument) -> Revision {
        let (_, cluster) = self.nodes().next().expect("a node runs");
        let expected = cluster.view().catalog.revision;
        let command =
            Command::ApplyDocument(Box::new(ApplyDocument { document, expected, removal: Removal::Now }));
        cluster.propose(command, SOON, Persistence::Retry).await.expect("the document is applied");
        self.report_all(true).await;
        cluster.view().catalog.revision
    }

    /// Has every voter report every backend.
    pub async fn report_all(&self, up: bool) {
        let (_, cluster) = self.nodes().next().expect("a node runs");
        let backends: Vec<BackendId> = cluster.view().catalog.backends.keys().copied().collect();
        for backend in backends {
            self.report(backend, up).await;
        }
    }

    /// Has every voter report one backend.
    pub async fn report(&self, backend: BackendId, up: bool) {
        let (_, cluster) = self.nodes().next().expect("a node runs");
        for node in self.members.keys() {
            let sequence = cluster.view().applied.0;
            let incarnation = stickler_core::ids::Incarnation(1_000_000);
            let report = Report { node: *node, incarnation, sequence, backend, finding: Finding::plain(up) };
            cluster
                .propose(Command::Report(report), SOON, Persistence::Retry)
                .await
                .expect("the report is committed");
        }
    }
}

async fn listen(address: SocketAddr) -> Box<dyn stickler_rt::Listener> {
    until(
        "the address is free",
        || async move { TcpNetwork.bind(address, BindOptions::default()).await.ok() },
    )
    .await
}

/// Waits until `look` sees something.
///
/// # Panics
/// When it has not after [`SOON`].
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(SOON, looking).await {
        Ok(seen) => seen,
        Err(_) => panic!("waited {SOON:?} for {what}"),
    }
}

/// The only affinity of a node's document.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn affinity(cluster: &Cluster) -> AffinityId {
    cluster.view().catalog.affinities[0]
}

/// The only pool of a node's document.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn pool(cluster: &Cluster) -> PoolId {
    cluster.view().catalog.pools[0]
}

/// Proposes to place a session through a node.
///
/// # Errors
/// As the node answers.
pub async fn place(cluster: &Cluster, key: u128) -> Result<(Answer, BindOutcome), ProposeError> {
    let session = SessionKey { affinity: affinity(cluster), key: KeyHash(key) };
    let bind = Bind {
        session,
        origin: Origin::Place { pool: pool(cluster), candidate: None },
        seen: cluster.view().applied,
        deadline: ClusterTime(u64::MAX),
    };
    let answer = cluster.propose(Command::Bind(bind), SOON, Persistence::Retry).await?;
    match &answer.outcome {
        Outcome::Bind(outcome) => Ok((answer.clone(), outcome.clone())),
        other => panic!("a bind was answered by {other:?}"),
    }
}
