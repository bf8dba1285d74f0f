//! A cluster of the benchmark's own node processes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::api::node::node_client::NodeClient;
use crate::api::node::{
    ApplyRequest, BindRequest, CompactRequest, LoadReply, LoadRequest, StatusReply, StatusRequest,
};
use crate::callers::{Operation, Window, key};
use crate::child::{ChildProcess, PATIENCE, free_addresses, until};
use crate::clients;
use crate::document;
use crate::failure::Failure;
use crate::figures::{Latencies, Measured};

/// One node of the cluster.
struct NodeProcess {
    arguments: Vec<String>,
    directory: PathBuf,
    log: PathBuf,
    service: SocketAddr,
    client: NodeClient<Channel>,
    /// `None` while it is stopped.
    process: Option<ChildProcess>,
}

/// Who leads; a later term is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leadership {
    /// Goes up with every election.
    pub term: u64,
    /// The leader, counted from 0; `None` while nobody knows of one.
    pub leader: Option<usize>,
}

/// Nodes in processes of their own, with a document that has been applied.
pub struct SticklerCluster {
    nodes: Vec<NodeProcess>,
}

/// What callers inside the nodes shall do.
#[derive(Clone, Copy, Debug)]
pub struct InNodes {
    /// Over all nodes.
    pub callers: usize,
    /// Which node gets the first caller.
    pub offset: usize,
    /// When.
    pub window: Window,
    /// Number of the first session.
    pub first: u64,
    /// How many different sessions there are, over all nodes.
    pub sessions: u64,
    /// Bind them over and over.
    pub again: bool,
}

impl SticklerCluster {
    /// Starts nodes 1 to `size` on empty directories below `directory`, and applies the document.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn start(directory: &Path, size: usize) -> Result<Self, Failure> {
        let addresses = free_addresses(size * 2)?;
        let (peers, services) = addresses.split_at(size);
        let members: Vec<String> =
            (1..).zip(peers).map(|(id, address)| format!("--member={id}={address}")).collect();
        let mut nodes = Vec::new();
        for (id, service) in (1..).zip(services) {
            let own = directory.join(format!("node-{id}"));
            fs::create_dir(&own).map_err(Failure::system(own.display().to_string()))?;
            let mut arguments = vec![
                "node".to_owned(),
                format!("--id={id}"),
                format!("--directory={}", own.display()),
                format!("--service={service}"),
            ];
            arguments.extend_from_slice(&members);
            nodes.push(NodeProcess {
                arguments,
                log: directory.join(format!("node-{id}.log")),
                directory: own,
                service: *service,
                client: NodeClient::new(clients::connection(*service)),
                process: None,
            });
        }
        let mut cluster = Self { nodes };
        for node in 0..size {
            cluster.start_node(node)?;
        }
        cluster.settled().await?;
        let request = ApplyRequest { text: document::text() };
        let applied = cluster.nodes[0].client.clone().apply(request).await;
        applied.map_err(Failure::call("applying the document"))?;
        cluster.settled().await?;
        Ok(cluster)
    }

    /// Starts a stopped node, counted from 0, on what its directory holds.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub fn start_node(&mut self, node: usize) -> Result<(), Failure> {
        let name = format!("node {}", node + 1);
        let node = &mut self.nodes[node];
        node.process = Some(ChildProcess::start_own(&name, None, node.log.clone(), &node.arguments)?);
        Ok(())
    }

    /// Ends a node as a power cut would.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub async fn kill_node(&mut self, node: usize) -> Result<(), Failure> {
        match self.nodes[node].process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Ends all nodes, and waits until they are gone.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub async fn stop(mut self) -> Result<(), Failure> {
        for node in 0..self.nodes.len() {
            self.kill_node(node).await?;
        }
        Ok(())
    }

    /// Waits until all running nodes hold a lease, know one leader, and have applied the same entries.
    ///
    /// # Errors
    /// [`Failure::Late`], or that of a process that has ended.
    pub async fn settled(&mut self) -> Result<(), Failure> {
        until("the nodes to agree on a leader", PATIENCE, async || {
            let mut seen: Vec<StatusReply> = Vec::new();
            for node in 0..self.nodes.len() {
                if let Some(process) = &mut self.nodes[node].process {
                    process.check()?;
                    match self.status(node).await {
                        Ok(status) => seen.push(status),
                        Err(_) => return Ok(None),
                    }
                }
            }
            let Some(first) = seen.first() else { return Ok(None) };
            let same = |status: &StatusReply| {
                status.leased
                    && status.leader != 0
                    && status.leader == first.leader
                    && status.applied == first.applied
            };
            Ok(seen.iter().all(same).then_some(()))
        })
        .await
    }

    /// What a node says of itself.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub async fn status(&self, node: usize) -> Result<StatusReply, Failure> {
        let answer = self.nodes[node].client.clone().status(StatusRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(Failure::call(format!("status of node {}", node + 1)))
    }

    /// The highest term that a running node knows, and who leads in it.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub async fn leadership(&self) -> Result<Leadership, Failure> {
        let mut newest = Leadership { term: 0, leader: None };
        for node in self.running() {
            let status = self.status(node).await?;
            let leader = status.leader.checked_sub(1).and_then(|leader| usize::try_from(leader).ok());
            newest = newest.max(Leadership { term: status.term, leader });
        }
        Ok(newest)
    }

    /// Has all running nodes make a snapshot at the same time, and forget the log before it. Returns when all
    /// have made it.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub async fn compact(&self) -> Result<(), Failure> {
        let mut under_way = JoinSet::new();
        for node in self.running() {
            let mut client = self.nodes[node].client.clone();
            under_way.spawn(async move { client.compact(CompactRequest {}).await });
        }
        while let Some(answer) = under_way.join_next().await {
            let answer = answer.map_err(Failure::call("a node's snapshot"))?;
            answer.map_err(Failure::call("a node's snapshot"))?;
        }
        Ok(())
    }

    /// The nodes that run, counted from 0.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.process.is_some()).map(|(node, _)| node)
    }

    /// A node's data directory.
    pub fn directory(&self, node: usize) -> &Path {
        &self.nodes[node].directory
    }

    /// A running node's process id.
    ///
    /// # Errors
    /// [`Failure::Ended`]; [`Failure::Void`] for one that was stopped.
    pub fn process_id(&mut self, node: usize) -> Result<u32, Failure> {
        let process = self.nodes[node].process.as_mut();
        process.ok_or_else(|| Failure::Void(format!("node {} does not run", node + 1)))?.id()
    }

    /// Lets callers inside the nodes that run now bind sessions. The future lives by itself, so that other
    /// things can be done with the cluster meanwhile.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub fn load(&self, load: InNodes) -> impl Future<Output = Result<Measured, Failure>> + Send + use<> {
        let running: Vec<usize> = self.running().collect();
        let shares = clients::shares(running.len(), load.callers, load.offset);
        let busy = shares.iter().filter(|share| **share > 0).count().max(1) as u64;
        let parts = running.into_iter().zip(shares).filter(|(_, share)| *share > 0);
        let parts = (0..).zip(parts).map(|(part, (node, callers))| {
            let request = LoadRequest {
                callers: u32::try_from(callers).unwrap_or(u32::MAX),
                warm_up_milliseconds: milliseconds(load.window.warm_up),
                milliseconds: milliseconds(load.window.measured),
                first: load.first + part * load.sessions / busy,
                sessions: (part + 1) * load.sessions / busy - part * load.sessions / busy,
                again: load.again,
            };
            (self.nodes[node].client.clone(), request)
        });
        let parts: Vec<_> = parts.collect();
        async move {
            let mut loads = JoinSet::new();
            for (mut client, request) in parts {
                loads.spawn(async move { client.load(request).await });
            }
            let mut all = Measured::new();
            while let Some(answer) = loads.join_next().await {
                let answer = answer.map_err(Failure::call("a node's callers"))?;
                all.merge(measured(answer.map_err(Failure::call("a node's callers"))?.into_inner()));
            }
            Ok(all)
        }
    }

    /// A caller outside of the nodes, for each of so many.
    pub fn outside_callers(&self, callers: usize, offset: usize) -> Vec<OneCallPerBind> {
        let services: Vec<SocketAddr> = self.nodes.iter().map(|node| node.service).collect();
        let channels = clients::for_callers(&services, callers, offset);
        channels.into_iter().map(|channel| OneCallPerBind(NodeClient::new(channel))).collect()
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn measured(reply: LoadReply) -> Measured {
    let mut latencies = Latencies::new();
    for latency in reply.latencies {
        latencies.add(latency.microseconds, latency.count);
    }
    Measured {
        seconds: reply.microseconds as f64 / 1e6,
        done: reply.done,
        failed: reply.failed,
        first_failure: (!reply.first_failure.is_empty()).then_some(reply.first_failure),
        latencies,
    }
}

/// Binds by one gRPC call each.
#[derive(Clone)]
pub struct OneCallPerBind(NodeClient<Channel>);

impl Operation for OneCallPerBind {
    async fn perform(&mut self, number: u64) -> Result<(), String> {
        let request = BindRequest { key: key(number).to_be_bytes().to_vec() };
        self.0.bind(request).await.map(|_| ()).map_err(|status| status.to_string())
    }
}
