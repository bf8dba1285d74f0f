//! A cluster of etcd, and what a caller does with it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tonic::transport::Channel;

use crate::api::etcd::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::api::etcd::kv_client::KvClient;
use crate::api::etcd::maintenance_client::MaintenanceClient;
use crate::api::etcd::request_op::Request;
use crate::api::etcd::{Compare, PutRequest, RequestOp, StatusRequest, StatusResponse, TxnRequest};
use crate::callers::{Operation, key};
use crate::child::{ChildProcess, PATIENCE, Start, free_addresses, installed, until};
use crate::clients;
use crate::failure::Failure;

/// Room for what a run writes; etcd's default of 2 GiB ends a long one.
const QUOTA: u64 = 8 << 30;

/// Members in processes of their own, ready.
pub struct EtcdCluster {
    processes: Vec<ChildProcess>,
    clients: Vec<SocketAddr>,
}

impl EtcdCluster {
    /// Starts so many members on empty directories below `directory`, with etcd's own defaults.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn start(directory: &Path, size: usize) -> Result<Self, Failure> {
        let program = program()?;
        let addresses = free_addresses(size * 2)?;
        let (peers, clients) = addresses.split_at(size);
        let members: Vec<String> =
            (1..).zip(peers).map(|(id, peer)| format!("etcd-{id}=http://{peer}")).collect();
        let mut processes = Vec::new();
        for (id, (peer, client)) in (1..).zip(peers.iter().zip(clients)) {
            let name = format!("etcd-{id}");
            let data = directory.join(&name);
            fs::create_dir(&data).map_err(Failure::system(data.display().to_string()))?;
            let arguments = [
                format!("--name={name}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--listen-peer-urls=http://{peer}"),
                format!("--initial-advertise-peer-urls=http://{peer}"),
                format!("--initial-cluster={}", members.join(",")),
                "--initial-cluster-state=new".to_owned(),
                format!("--quota-backend-bytes={QUOTA}"),
            ];
            let log = directory.join(format!("{name}.log"));
            let start = Start { name: &name, program: &program, core: None, log };
            processes.push(ChildProcess::start(start, &arguments)?);
        }
        let mut cluster = Self { processes, clients: clients.to_vec() };
        cluster.settled().await?;
        Ok(cluster)
    }

    async fn settled(&mut self) -> Result<(), Failure> {
        until("etcd's members to agree on a leader", PATIENCE, async || {
            self.processes.iter_mut().try_for_each(ChildProcess::check)?;
            let mut leaders = Vec::new();
            for client in &self.clients {
                match status(*client).await {
                    Ok(status) if status.leader != 0 => leaders.push(status.leader),
                    _ => return Ok(None),
                }
            }
            Ok(leaders.iter().all(|leader| *leader == leaders[0]).then_some(()))
        })
        .await
    }

    /// Ends all members, and waits until they are gone.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub async fn stop(mut self) -> Result<(), Failure> {
        for process in &mut self.processes {
            process.kill().await?;
        }
        Ok(())
    }

    /// The highest term that a member knows.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub async fn term(&self) -> Result<u64, Failure> {
        let mut term = 0;
        for client in &self.clients {
            let status = status(*client).await.map_err(Failure::call("status of an etcd member"))?;
            term = term.max(status.raft_term);
        }
        Ok(term)
    }

    /// What the first member calls its version.
    ///
    /// # Errors
    /// [`Failure::Call`].
    pub async fn version(&self) -> Result<String, Failure> {
        let status = status(self.clients[0]).await.map_err(Failure::call("status of an etcd member"))?;
        Ok(status.version)
    }

    /// Callers that do this, for each of so many.
    pub fn callers(&self, write: Write, callers: usize, offset: usize) -> Vec<EtcdCaller> {
        let channels = clients::for_callers(&self.clients, callers, offset);
        channels.into_iter().map(|channel| EtcdCaller { client: KvClient::new(channel), write }).collect()
    }
}

/// Where etcd is.
///
/// # Errors
/// [`Failure::Missing`].
pub fn program() -> Result<PathBuf, Failure> {
    installed("etcd", "apt-get install etcd-server")
}

async fn status(member: SocketAddr) -> Result<StatusResponse, tonic::Status> {
    let mut client = MaintenanceClient::new(clients::connection(member));
    client.status(StatusRequest {}).await.map(tonic::Response::into_inner)
}

/// How a caller writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A put.
    Put,
    /// A transaction: if the key does not exist, put. What "the first binder wins" needs.
    CompareAndSet,
}

/// Writes one key after the other.
#[derive(Clone)]
pub struct EtcdCaller {
    client: KvClient<Channel>,
    write: Write,
}

impl Operation for EtcdCaller {
    async fn perform(&mut self, number: u64) -> Result<(), String> {
        let put = put(number);
        let failed = |status: tonic::Status| status.to_string();
        match self.write {
            Write::Put => self.client.put(put).await.map(|_| ()).map_err(failed),
            Write::CompareAndSet => {
                let answer = self.client.txn(unless_there(put)).await.map_err(failed)?;
                // every session is dealt once, so that none can be there
                if answer.get_ref().succeeded { Ok(()) } else { Err("the key is there".to_owned()) }
            }
        }
    }
}

/// What a session's binding would be in etcd: its key in hexadecimal, and the backend's name.
fn put(number: u64) -> PutRequest {
    let key = key(number);
    PutRequest { key: format!("{key:032x}").into_bytes(), value: format!("web-{}", key % 10).into_bytes() }
}

fn unless_there(put: PutRequest) -> TxnRequest {
    let not_there = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: put.key.clone(),
        target_union: Some(TargetUnion::CreateRevision(0)),
    };
    TxnRequest {
        compare: vec![not_there],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
    }
}
