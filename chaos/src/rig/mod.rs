//! A cluster under test: three nodes as processes, backends in this process, all on loopback. Faults are its
//! methods.

pub(crate) mod admin;
pub(crate) mod backend;
pub(crate) mod backend_process;
pub(crate) mod carts;
pub(crate) mod client;
pub(crate) mod document;
pub(crate) mod faults;
pub(crate) mod haproxy;
pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod names;
pub(crate) mod network;
mod node;
pub(crate) mod occupancy;
pub(crate) mod plan;
mod ports;
pub(crate) mod preload;
mod replace;
pub(crate) mod slow_request;
pub(crate) mod zone;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use stickler_proto::admin::StatusReply;
use stickler_rt::{Moment, Outside};

use crate::oracle::witness::Witness;
use crate::scenario::Stage;
use admin::{Admin, AdminError, Listed};
use backend::{Backend, Shared};
use client::Client;
use document::Document;
use network::link::{Links, source_of};
use network::namespaces::{NamespaceError, Namespaces};
use network::{End, Network};
use node::{Launch, Node};
use plan::{Layout, NodePlan, Plan};
use preload::{Control, Preload, PreloadError};

use crate::history::recorder::Recorder;

/// Nodes of a cluster under test.
pub(crate) const NODES: usize = 3;

/// Longest wait for the cluster to come to rest.
const SETTLE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How often a cluster is begun anew because somebody else took one of its ports.
const STARTS: usize = 3;

/// Why the cluster under test can't be used. The logs of its nodes say more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RigError {
    /// The message says what the operating system refused.
    #[error("can't set up the cluster: {0}")]
    System(#[from] io::Error),
    /// A node ended though nobody told it to: its log says why.
    #[error("node {node} ended by itself with {status}: see {log}")]
    Ended {
        /// The node.
        node: u64,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
    },
    /// The cluster did not come to the state that the scenario goes on from.
    #[error("not within {within:?}: {what}; last seen: {seen}")]
    Never {
        /// The longest wait.
        within: Duration,
        /// What was waited for.
        what: &'static str,
        /// What was there instead.
        seen: String,
    },
    /// A node refused what the scenario needs.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Disks and clocks can't be broken without it.
    #[error(transparent)]
    Preload(#[from] PreloadError),
    /// The network can't be made or broken as the scenario needs it.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// What a scenario wants its cluster to be.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// How many backends there are.
    pub backends: usize,
    /// How many of them are in the pool, the first ones.
    pub in_pool: usize,
    /// Backends are processes of their own, and the witness sees nothing of what comes to them.
    pub backends_apart: bool,
    /// What is between the ends.
    pub layout: Layout,
    /// Disks and clocks can be broken, and the power cut.
    pub breakable: bool,
    /// Where what backends see goes.
    pub recorder: Option<Recorder>,
    /// What the cluster is told to do.
    pub document: Document,
    /// Where nodes look up the names of backends, if it names any.
    pub name_server: Option<SocketAddr>,
}

impl Setting {
    /// Nodes and backends, and nothing in between.
    pub(crate) fn plain(backends: usize) -> Self {
        let document = Document::shop();
        Self {
            backends,
            in_pool: backends,
            backends_apart: false,
            layout: Layout::Direct,
            breakable: false,
            recorder: None,
            document,
            name_server: None,
        }
    }
}

/// A cluster under test. Dropping it kills all of it.
#[derive(Debug)]
pub(crate) struct Rig {
    outside: Outside,
    plan: Plan,
    nodes: Vec<Node>,
    admins: Vec<Admin>,
    backends: Vec<Backend>,
    machines: Vec<Machine>,
    network: Network,
    shared: Shared,
    /// What the backends have seen.
    pub witness: Arc<Witness>,
}

/// What stands between a node's process and its machine.
#[derive(Debug)]
struct Machine {
    preload: Preload,
    control: Control,
}

impl Rig {
    /// Starts a plain cluster with so many backends, applies its document, and waits until it is at rest.
    pub(crate) async fn start(stage: &Stage, backends: usize) -> Result<Self, RigError> {
        Self::start_with(stage, &Setting::plain(backends)).await
    }

    /// Starts a cluster, applies its document, and waits until it is at rest.
    pub(crate) async fn start_with(stage: &Stage, setting: &Setting) -> Result<Self, RigError> {
        let mut failed = None;
        for start in 1..=STARTS {
            let mut rig = Self::prepare(stage, setting, start)?;
            match rig.found(setting).await {
                Ok(()) => return Ok(rig),
                Err(error @ (RigError::System(_) | RigError::Ended { .. })) => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failed.expect("the loop ran at least once"))
    }

    fn prepare(stage: &Stage, setting: &Setting, start: usize) -> Result<Self, RigError> {
        // From the process's own seed: two runs of one scenario seed may run side by side.
        let mut random = stage.outside.seed.child(&format!("ports {start}")).rng();
        let ports = ports::find_free(Plan::ports(NODES, setting.backends), &mut random)?;
        let directory = stage.directory.join(format!("cluster-{start}"));
        let mut plan = Plan::new(&directory, NODES, setting.backends, &ports, setting.layout);
        plan.name_server = setting.name_server;
        let network = match setting.layout {
            Layout::Direct | Layout::OnePort => Network::Direct,
            Layout::Links => Network::Links(Links::default()),
            Layout::Namespaces => Network::Namespaces(Namespaces::make(NODES as u64, setting.backends)?),
        };
        fs::create_dir_all(&directory)?;
        let library = if setting.breakable || setting.layout == Layout::Links {
            Some(preload::compile(&directory)?)
        } else {
            None
        };
        let mut nodes = Vec::new();
        let mut machines = Vec::new();
        for node in &plan.nodes {
            fs::create_dir_all(plan.disk(node))?;
            fs::write(plan.node_file(node), plan.node_text(node))?;
            let machine =
                library.clone().map(|library| machine(&plan, node, library, setting)).transpose()?;
            let namespace = match &network {
                Network::Namespaces(namespaces) => Some(namespaces.node_namespace(node.id)),
                Network::Direct | Network::Links(_) => None,
            };
            let launch = Launch {
                binary: stage.binary.clone(),
                file: plan.node_file(node),
                log: plan.log_file(node),
                namespace,
                environment: machine
                    .as_ref()
                    .map(|machine| machine.preload.environment())
                    .unwrap_or_default(),
            };
            nodes.push(Node::new(node.clone(), launch));
            machines.extend(machine);
        }
        fs::write(
            plan.directory.join("cluster.toml"),
            plan.cluster_text(&setting.document, setting.in_pool),
        )?;
        let witness = Arc::new(setting.recorder.clone().map(Witness::recording).unwrap_or_default());
        let run = stage.seed.child("identifiers").rng().random();
        let shared = Shared { run, witness: Arc::clone(&witness), ..Shared::default() };
        let backends = plan
            .backends
            .iter()
            .map(|backend| Backend::new(backend.name.clone(), backend.listens, shared.clone()))
            .map(|backend| if setting.backends_apart { backend.apart() } else { backend });
        Ok(Self {
            outside: stage.outside.clone(),
            backends: backends.collect(),
            admins: plan.nodes.iter().map(|node| Admin::at(node.admin.clone())).collect(),
            nodes,
            machines,
            network,
            plan,
            shared,
            witness,
        })
    }

    fn join_links(&mut self) {
        let Network::Links(links) = &mut self.network else { return };
        let (clock, seed) = (&self.outside.clock, self.outside.seed.child("links"));
        for node in &self.plan.nodes {
            let end = End::Node(node.id);
            links.join(node.advertised, node.peer, end, clock, &seed);
            links.join(node.public, node.listens, end, clock, &seed);
        }
        for (place, backend) in self.plan.backends.iter().enumerate() {
            links.join(backend.address, backend.listens, End::Backend(place), clock, &seed);
        }
    }

    async fn found(&mut self, setting: &Setting) -> Result<(), RigError> {
        self.join_links();
        for backend in 0..self.backends.len() {
            self.start_backend(backend).await?;
        }
        for node in 0..self.nodes.len() {
            self.restart(node)?;
        }
        self.apply(&setting.document, setting.in_pool).await
    }

    /// Gives the cluster this document with so many of the backends, the first ones, and waits until all of them are up.
    pub(crate) async fn apply(&mut self, document: &Document, in_pool: usize) -> Result<(), RigError> {
        let text = self.plan.cluster_text(document, in_pool);
        self.until("the cluster takes its document", async |rig| {
            rig.admins[0].apply(&text).await.map_err(|error| error.to_string())
        })
        .await?;
        self.settle().await?;
        self.until("all backends are up", async |rig| {
            let backends = rig.admins[0].backends().await.map_err(|error| error.to_string())?;
            if backends.len() == in_pool && backends.iter().all(|backend| backend.health == "up") {
                Ok(())
            } else {
                Err(format!("{backends:?}"))
            }
        })
        .await?;
        self.settle().await?;
        Ok(())
    }

    /// Now.
    pub(crate) fn now(&self) -> Moment {
        self.outside.clock.now()
    }

    /// The public addresses of all nodes, dead ones included.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.plan.public).collect()
    }

    /// The public addresses of all nodes but this one.
    pub(crate) fn addresses_without(&self, index: usize) -> Vec<SocketAddr> {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, node)| node.plan.public).collect()
    }

    /// The admin API of a node.
    pub(crate) fn admin(&mut self, index: usize) -> &mut Admin {
        &mut self.admins[index]
    }

    /// The names of the backends.
    pub(crate) fn backend_names(&self) -> Vec<String> {
        self.backends.iter().map(|backend| backend.name.clone()).collect()
    }

    /// Where a node keeps what must survive it.
    pub(crate) fn data_directory(&self, index: usize) -> PathBuf {
        self.plan.data_directory(&self.nodes[index].plan)
    }

    /// The fault: these nodes die by SIGKILL, all at one moment.
    pub(crate) async fn kill(&mut self, indexes: &[usize]) -> Result<Moment, RigError> {
        let moment = self.now();
        for index in indexes {
            self.nodes[*index].strike()?;
        }
        for index in indexes {
            self.nodes[*index].wait().await?;
            self.network.shut(End::Node(self.nodes[*index].plan.id)).await;
        }
        Ok(moment)
    }

    /// Starts a killed node again, and does not wait for it.
    pub(crate) fn restart(&mut self, index: usize) -> Result<(), RigError> {
        self.nodes[index].start()?;
        self.network.open(End::Node(self.nodes[index].plan.id));
        Ok(())
    }

    /// Whether the node's `/readyz` says yes.
    pub(crate) async fn is_ready(&self, index: usize) -> bool {
        let mut client = Client::new(&self.outside, self.nodes[index].plan.status);
        client.status_of("/readyz").await.is_ok_and(|status| status.is_success())
    }

    /// What each of the nodes that are meant to run says of itself.
    pub(crate) async fn statuses(&mut self) -> Result<Vec<StatusReply>, RigError> {
        let mut statuses = Vec::new();
        for (node, admin) in self.nodes.iter().zip(&mut self.admins) {
            if node.is_meant_to_run() {
                statuses.push(admin.status().await?);
            }
        }
        Ok(statuses)
    }

    /// The sessions of every node's replica, in the order of nodes.
    pub(crate) async fn sessions(&mut self) -> Result<Vec<Listed>, RigError> {
        let mut lists = Vec::new();
        for admin in &mut self.admins {
            lists.push(admin.sessions().await?);
        }
        Ok(lists)
    }

    /// Waits until every node that is meant to run answers, holds a lease under one leader, and has applied
    /// all that is committed. The leader's place among the nodes.
    pub(crate) async fn settle(&mut self) -> Result<usize, RigError> {
        let mut leader = 0;
        self.until("the nodes agree on a leader, hold leases and have applied everything", async |rig| {
            let statuses = rig.statuses().await.map_err(|error| error.to_string())?;
            let first = statuses.first().ok_or("no node is meant to run")?;
            let index = statuses.iter().map(|status| status.committed_index).max();
            let at_rest = |status: &StatusReply| {
                status.leader != 0
                    && (status.leader, status.term) == (first.leader, first.term)
                    && status.ready
                    && status.footing == "leased"
                    && Some(status.applied_index) == index
            };
            leader = first.leader;
            if statuses.iter().all(at_rest) { Ok(()) } else { Err(describe(&statuses)) }
        })
        .await?;
        let place = self.nodes.iter().position(|node| node.plan.id == leader);
        Ok(place.expect("nodes know each other by the plan's numbers"))
    }

    /// Waits until a look at the cluster finds what is wanted. Fails as soon as a node has ended by itself.
    pub(crate) async fn until(
        &mut self,
        what: &'static str,
        mut look: impl AsyncFnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), RigError> {
        let deadline = self.now() + SETTLE;
        loop {
            self.check_processes()?;
            let Err(seen) = look(self).await else { return Ok(()) };
            if self.now() > deadline {
                return Err(RigError::Never { within: SETTLE, what, seen });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether every process that is meant to run does.
    pub(crate) fn check_processes(&mut self) -> Result<(), RigError> {
        for node in &mut self.nodes {
            if let Some(status) = node.ended()? {
                let log = node.log().to_owned();
                return Err(RigError::Ended { node: node.plan.id, status, log });
            }
        }
        Ok(())
    }
}

fn machine(plan: &Plan, node: &NodePlan, library: PathBuf, setting: &Setting) -> Result<Machine, RigError> {
    let directory = plan.node_directory(node);
    let control = directory.join("control");
    let record = setting.breakable.then(|| directory.join("synced"));
    if let Some(record) = &record {
        fs::create_dir_all(record)?;
    }
    // By its true name: the library compares it with the names of open files.
    let root = plan.disk(node).canonicalize()?;
    let source = (setting.layout == Layout::Links).then(|| source_of(node.id));
    Ok(Machine {
        control: Control::create(&control)?,
        preload: Preload { library, control, root, record, source },
    })
}

fn describe(statuses: &[StatusReply]) -> String {
    let of_each = statuses.iter().map(|status| {
        let StatusReply { node, role, term, leader, applied_index, committed_index, footing, readiness, .. } = status;
        format!(
            "node {node}: {role} of term {term}, leader {leader}, applied {applied_index} of {committed_index}, \
             {footing}, {readiness}"
        )
    });
    of_each.collect::<Vec<_>>().join("; ")
}
