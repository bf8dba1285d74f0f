//! One node, put together: consensus, the data plane's workers, health checks, and what operators see.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use stickler_core::document::node::{AdminAddress, NodeFile};
use stickler_proxy::request::Proxy;
use stickler_raft::store::{DataDirectory, OpenError};
use stickler_raft::{Cluster, ConsensusConfig, Disk, MembershipError, StartError};
use stickler_rt::{BindOptions, Outside, Shutdown, WorkerHandle};

use crate::admin::{AdminListener, AdminService, BindError};
use crate::clients::{self, ClientWorkers};
use crate::leaving as leaving_sessions;
use crate::metrics::MetricsRegistry;
use crate::readiness::Readiness;
use crate::secrets::{self, SecretsFileError};
use crate::status_server::StatusPages;
use crate::{discovery, health_checks, jobs};

/// Why a node did not start. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory can't be used; the error names the file and the way out.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// The key of the cluster's secrets can't be had.
    #[error(transparent)]
    Secrets(#[from] SecretsFileError),
    /// Consensus did not start.
    #[error(transparent)]
    Consensus(#[from] StartError),
    /// An address of the node file can't be listened at: it is in use, or not of this machine.
    #[error("{what} {address}: {source}")]
    Listen {
        /// Key of the node file.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The admin address can't be listened at.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// The operating system gives no more threads.
    #[error("a worker could not be started: {0}")]
    Worker(std::io::Error),
}

/// A running node.
pub struct Node {
    cluster: Cluster,
    proxy: Proxy,
    /// Ends the data plane.
    leaving: Shutdown,
    /// Ends everything.
    shutdown: Shutdown,
    workers: Vec<WorkerHandle>,
    admin: AdminAddress,
    status_address: SocketAddr,
}

impl Node {
    /// Opens the node file's data directory, to be given to [`Node::start`].
    ///
    /// # Errors
    /// [`OpenError`]; the error names the file and the way out.
    pub fn open_directory(file: &NodeFile, outside: &Outside) -> Result<Disk, OpenError> {
        let mut random = [0; 16];
        outside.seed.child("data directory").fill(&mut random);
        let path: &PathBuf = &file.data_directory;
        Ok(Disk::Directory(DataDirectory::open(path, file.id, random)?))
    }

    /// Starts a node on the current runtime, with what it gets from outside: sockets, clock, randomness and
    /// spawner (`outside`), and its disk. Ends with `shutdown`.
    ///
    /// # Errors
    /// [`NodeError`]; nothing of the node runs then.
    pub async fn start(
        file: NodeFile,
        outside: Outside,
        disk: Disk,
        shutdown: Shutdown,
    ) -> Result<Self, NodeError> {
        let listen = async |what, address| {
            let bound = outside.network.bind(address, BindOptions::default()).await;
            bound.map_err(|source| NodeError::Listen { what, address, source })
        };
        let secrets = file.secrets_key_file.as_deref().map(secrets::read).transpose()?;
        let peers = listen("peer_address", file.peer_address).await?;
        let status = listen("status_address", file.status_address).await?;
        let admin_listener = AdminListener::bind(&file.admin, &*outside.network).await?;
        let admin = admin_listener.local_address().unwrap_or_else(|_| file.admin.clone());
        let status_address = status.local_address().unwrap_or(file.status_address);

        let config = ConsensusConfig { node: file.id, members: file.initial_members.clone(), secrets };
        let cluster = Cluster::start(config, outside.clone(), disk, peers, shutdown.clone()).await?;
        let proxy = Proxy::start(cluster.clone());
        let load = proxy.load();
        cluster.tell_load(Box::new(move |backend| load.of(backend)));
        let leaving = shutdown.child();
        let readiness = Readiness::new(cluster.clone(), leaving.clone());
        let metrics = MetricsRegistry::new();
        metrics.observe(cluster.clone(), proxy.clone());

        tokio::spawn(secrets::watch(cluster.clone(), readiness.clone(), shutdown.clone()));
        tokio::spawn(discovery::run(cluster.clone(), shutdown.clone()));
        tokio::spawn(jobs::run(cluster.clone(), shutdown.clone()));
        tokio::spawn(leaving_sessions::run(cluster.clone(), shutdown.clone()));
        tokio::spawn(health_checks::run(cluster.clone(), proxy.clone(), shutdown.clone()));
        tokio::spawn(
            StatusPages::new(cluster.clone(), readiness.clone(), metrics).serve(status, shutdown.clone()),
        );
        let service = AdminService::new(cluster.clone(), proxy.clone(), readiness.clone());
        let serving = shutdown.clone();
        tokio::spawn(async move {
            if let Err(error) = service.serve(admin_listener, serving).await {
                tracing::error!(%error, "the admin service ended");
            }
        });
        let workers = ClientWorkers {
            proxy: proxy.clone(),
            cluster: cluster.clone(),
            outside: outside.clone(),
            addresses: file.listener_addresses.clone(),
            claims: Arc::default(),
            readiness,
            shutdown: leaving.clone(),
        };
        let count = file.workers.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
        let workers = clients::start(&workers, count).map_err(NodeError::Worker)?;
        tracing::info!(node = %file.id, peer_address = %file.peer_address, workers = count, "node started");
        Ok(Self { cluster, proxy, leaving, shutdown, workers, admin, status_address })
    }

    /// The node's consensus.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The node's data plane.
    #[must_use]
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Where operators reach it, with the port that was chosen for port 0.
    #[must_use]
    pub fn admin(&self) -> &AdminAddress {
        &self.admin
    }

    /// Where it answers `/metrics`, with the port that was chosen for port 0.
    #[must_use]
    pub fn status_address(&self) -> SocketAddr {
        self.status_address
    }

    /// Waits until the node can't go on as a member; never if all is well.
    pub async fn failed(&self) -> MembershipError {
        let mut errors = self.cluster.membership_error();
        loop {
            if let Some(error) = errors.borrow_and_update().clone() {
                return error;
            }
            if errors.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Hands leadership over, lets requests in flight end, and then everything. Until then the node is a
    /// member like any other: a leader that held its office without doing its work would keep the others
    /// from electing a better one.
    pub async fn stop(self) {
        self.leaving.trigger();
        // First of all: requests may take long, and whoever waits for this may lose patience.
        let _ = self.cluster.give_up_office().await;
        for worker in self.workers {
            if let Err(error) = worker.join().await {
                tracing::error!(%error, "a worker did not end well");
            }
        }
        // The others may have elected it again meanwhile.
        let _ = self.cluster.give_up_office().await;
        self.shutdown.trigger();
        self.cluster.stop().await;
    }
}
