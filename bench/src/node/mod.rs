//! The node process of the bind benchmarks: consensus of a Stickler node, and callers inside it.

mod binder;
mod service;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use stickler_core::ids::NodeId;
use stickler_raft::store::DataDirectory;
use stickler_raft::{Cluster, ConsensusConfig, Disk};
use stickler_rt::{BindOptions, Outside, Shutdown};
use tonic::transport::Server;

use crate::api::node::node_server::NodeServer;
use crate::failure::Failure;
use crate::node::service::NodeService;

/// Concurrent calls on one connection: more callers than any run has.
const STREAMS: u32 = 65_536;

/// Who the process is among its peers.
#[derive(Debug, clap::Args)]
pub struct NodeOptions {
    /// This node's id
    #[arg(long)]
    id: u64,
    /// Every node with its peer address, such as 1=127.0.0.1:7600
    #[arg(long = "member", required = true)]
    members: Vec<MemberOption>,
    /// Where its log, snapshots and identity lie
    #[arg(long)]
    directory: PathBuf,
    /// Where the benchmark reaches it
    #[arg(long)]
    service: SocketAddr,
}

/// A node and its peer address, written `1=127.0.0.1:7600`.
#[derive(Clone, Debug)]
struct MemberOption(NodeId, SocketAddr);

impl FromStr for MemberOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = text.split_once('=').ok_or("an id, \"=\" and an address are wanted")?;
        let id = id.parse().map_err(|error| format!("{id}: {error}"))?;
        Ok(Self(NodeId(id), address.parse().map_err(|error| format!("{address}: {error}"))?))
    }
}

/// Runs the node until it is killed.
///
/// # Errors
/// [`Failure`].
pub fn run(options: NodeOptions) -> Result<(), Failure> {
    // As `stickler run` makes it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("stickler")
        .build()
        .map_err(Failure::system("starting the runtime"))?;
    runtime.block_on(serve(options))
}

async fn serve(options: NodeOptions) -> Result<(), Failure> {
    let outside = Outside::of_process().map_err(Failure::call("drawing a seed"))?;
    let mut random = [0; 16];
    outside.seed.child("data directory").fill(&mut random);
    let node = NodeId(options.id);
    let directory =
        DataDirectory::open(&options.directory, node, random).map_err(Failure::call("the data directory"))?;
    let members: BTreeMap<NodeId, SocketAddr> =
        options.members.iter().map(|MemberOption(id, address)| (*id, *address)).collect();
    let own = members.get(&node).copied();
    let own = own.ok_or_else(|| Failure::Void(format!("node {node} is not among its members")))?;
    let peers = outside.network.bind(own, BindOptions::default()).await;
    let peers = peers.map_err(Failure::system(format!("listening at {own}")))?;
    let shutdown = Shutdown::new();
    let config = ConsensusConfig { node, members, secrets: None };
    let cluster =
        Cluster::start(config, outside.clone(), Disk::Directory(directory), peers, shutdown.clone())
            .await
            .map_err(Failure::call("starting consensus"))?;
    let service_of_node = NodeServer::new(NodeService::new(cluster, outside));
    Server::builder()
        .max_concurrent_streams(STREAMS)
        .add_service(service_of_node)
        .serve(options.service)
        .await
        .map_err(Failure::call("the node's service"))
}
