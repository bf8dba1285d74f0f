//! A running demo cluster: its processes, from start to end.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use stickler_rt::{Moment, Outside, Shutdown};

use super::admin::Admin;
use super::home::{Home, HomeError};
use super::http::{describe, get};
use super::plan::Plan;
use super::ports;
use super::process::{Process, StartError};
use crate::failure::Failure;

/// How long a cluster may take until it serves the demo shop, and a node until it is ready again.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at something that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one answer while waiting for a node.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long processes may take to end in order.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How often the cluster is started anew because another process took one of its ports.
const ATTEMPTS: usize = 3;

/// Why the demo cluster does not run. Unless it says otherwise, the reason is in the log it names.
#[derive(Debug, thiserror::Error)]
pub(super) enum RigError {
    /// The machine has no free ports, or no loopback.
    #[error("no free ports on loopback: {0}")]
    Ports(io::Error),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process ended although nobody asked it to.
    #[error("{process} ended with {status}; its log is {log}")]
    Ended { process: String, status: ExitStatus, log: PathBuf },
    /// Something did not come to pass in time. On a machine that is very busy, try again.
    #[error("{what} within {READY_TIMEOUT:?} ({last}); the logs are in {logs}")]
    NotInTime { what: String, last: String, logs: PathBuf },
    /// The cluster does not take the document that was written for it. The two are of one build, so this is
    /// a mistake in it.
    #[error("the cluster refuses its document: {0}")]
    Document(Failure),
    /// The operating system refused to say how a process is doing.
    #[error("can't look after a process: {0}")]
    Process(io::Error),
}

/// The processes of a demo cluster, by the order of the plan. Dropping it kills them all.
pub(super) struct Rig {
    size: Size,
    plan: Plan,
    outside: Outside,
    nodes: Vec<Process>,
    backends: Vec<Process>,
}

impl Rig {
    /// A cluster of which nothing runs yet.
    pub fn new(home: &Home, size: Size, outside: Outside) -> Result<Self, RigError> {
        let plan = draw_plan(home, size)?;
        Ok(Self { size, plan, outside, nodes: Vec::new(), backends: Vec::new() })
    }

    /// Starts all processes and waits until every node serves the shop.
    pub async fn start(&mut self, home: &Home) -> Result<(), RigError> {
        for _ in 1..ATTEMPTS {
            home.write(&self.plan)?;
            match self.come_up().await {
                Err(RigError::Ended { .. }) if self.a_port_was_taken() => (),
                result => return result,
            }
            self.kill_all().await;
            home.clear()?;
            self.plan = draw_plan(home, self.size)?;
        }
        home.write(&self.plan)?;
        self.come_up().await
    }

    async fn come_up(&mut self) -> Result<(), RigError> {
        for index in 0..self.plan.backends.len() {
            let process = self.start_backend(index)?;
            self.backends.push(process);
        }
        for index in 0..self.plan.nodes.len() {
            let process = self.start_node(index)?;
            self.nodes.push(process);
        }
        self.apply_document().await?;
        for index in 0..self.nodes.len() {
            self.wait_until_ready(index).await?;
            self.wait_until_serving(index).await?;
        }
        Ok(())
    }

    fn start_backend(&self, index: usize) -> Result<Process, StartError> {
        let backend = &self.plan.backends[index];
        let address = backend.address.to_string();
        let till = self.plan.till();
        let arguments = ["demo-shop", "--until-stdin-closes", "--name", &backend.name, "--listen", &address]
            .map(OsStr::new)
            .into_iter()
            .chain(["--till".as_ref(), till.as_os_str()]);
        Process::start(&backend.name, arguments, &self.plan.log_file(&backend.name))
    }

    fn start_node(&self, index: usize) -> Result<Process, StartError> {
        let node = &self.plan.nodes[index];
        let name = node.name();
        let file = self.plan.node_file(node);
        let arguments =
            ["run".as_ref(), "--until-stdin-closes".as_ref(), "--config".as_ref(), file.as_os_str()];
        Process::start(&name, arguments, &self.plan.log_file(&name))
    }

    /// Waits until the node says that it would answer.
    pub async fn wait_until_ready(&mut self, index: usize) -> Result<(), RigError> {
        let node = self.plan.nodes[index];
        let what = format!("{} was not ready", node.name());
        let patience = self.patience(what);
        loop {
            self.none_has_ended()?;
            match get(&*self.outside.network, node.status, "/readyz", LOOK_TIMEOUT).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => patience.wait(&describe(&response)).await?,
                Err(error) => patience.wait(&error).await?,
            }
        }
    }

    async fn apply_document(&mut self) -> Result<(), RigError> {
        let text = self.plan.cluster_text();
        let patience = self.patience("the cluster did not take its document".to_owned());
        let admin = Admin::at(self.plan.nodes[0].admin);
        loop {
            self.none_has_ended()?;
            match admin.apply(&text, "cluster.toml").await {
                Ok(()) => return Ok(()),
                Err(refused @ (Failure::Refused(_) | Failure::Usage(_))) => {
                    return Err(RigError::Document(refused));
                }
                Err(unreachable) => patience.wait(&unreachable).await?,
            }
        }
    }

    /// Waits until the node knows all backends as up and answers for the shop.
    async fn wait_until_serving(&mut self, index: usize) -> Result<(), RigError> {
        let node = self.plan.nodes[index];
        let patience = self.patience(format!("{} did not serve the shop", node.name()));
        let admin = Admin::at(node.admin);
        loop {
            self.none_has_ended()?;
            match admin.backends().await {
                Ok(backends) if backends.len() < self.plan.backends.len() => {
                    patience.wait(&"it has no backends yet").await?;
                }
                Ok(backends) => match backends.iter().find(|backend| backend.health != "up") {
                    Some(backend) => {
                        patience.wait(&format_args!("{} is {}", backend.name, backend.health)).await?;
                    }
                    None => break,
                },
                Err(error) => patience.wait(&error).await?,
            }
        }
        loop {
            match get(&*self.outside.network, node.public, "/health", LOOK_TIMEOUT).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) => patience.wait(&describe(&response)).await?,
                Err(error) => patience.wait(&error).await?,
            }
        }
    }

    fn patience(&self, what: String) -> Patience {
        let deadline = self.outside.clock.now() + READY_TIMEOUT;
        let logs = self.plan.directory.join("logs");
        Patience { what, logs, deadline, outside: self.outside.clone() }
    }

    fn none_has_ended(&mut self) -> Result<(), RigError> {
        for process in self.nodes.iter_mut().chain(&mut self.backends) {
            if process.end_is_known() {
                continue;
            }
            if let Some(status) = process.ended().map_err(RigError::Process)? {
                let log = self.plan.log_file(process.name());
                return Err(RigError::Ended { process: process.name().to_owned(), status, log });
            }
        }
        Ok(())
    }

    /// Whether an ended process of ours could not have one of its ports now.
    fn a_port_was_taken(&mut self) -> bool {
        let of_nodes = self
            .nodes
            .iter_mut()
            .zip(&self.plan.nodes)
            .map(|(process, plan)| (process, vec![plan.peer, plan.admin, plan.status, plan.public]));
        let of_backends = self.backends.iter_mut().zip(&self.plan.backends);
        of_nodes
            .chain(of_backends.map(|(process, plan)| (process, vec![plan.address])))
            .filter_map(|(process, addresses)| process.ended().ok().flatten().map(|_| addresses))
            .flatten()
            .any(|address| !ports::is_free(address))
    }

    /// What runs where.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Processes that have ended since this was last asked, without being killed or stopped by us.
    pub fn newly_ended(&mut self) -> Vec<(String, ExitStatus)> {
        self.nodes.iter_mut().chain(&mut self.backends).filter_map(Process::newly_ended).collect()
    }

    /// The node that leads, by what the nodes that run say; `None` when they know of none.
    pub async fn leader(&self) -> Option<usize> {
        for (index, node) in self.plan.nodes.iter().enumerate() {
            let status = Admin::at(node.admin).status().await;
            if status.is_ok_and(|status| status.role == "leader" && status.leader == node.id) {
                return Some(index);
            }
        }
        None
    }

    /// Ends a node by SIGKILL.
    pub async fn kill_node(&mut self, index: usize) -> Result<(), RigError> {
        self.nodes[index].kill().await.map_err(RigError::Process)
    }

    /// Ends a backend by SIGKILL, and its carts with it.
    pub async fn kill_backend(&mut self, index: usize) -> Result<(), RigError> {
        self.backends[index].kill().await.map_err(RigError::Process)
    }

    /// Starts a node that was killed, on the files it had.
    pub fn start_node_again(&mut self, index: usize) -> Result<(), RigError> {
        self.nodes[index] = self.start_node(index)?;
        Ok(())
    }

    /// Ends all processes in order: the nodes, then the backends. Those that don't end in time, and all of
    /// them as soon as `hurry` is given, are killed. The names of those that were.
    pub async fn stop(&mut self, hurry: &Shutdown) -> Vec<String> {
        let mut killed = Vec::new();
        for group in [&mut self.nodes, &mut self.backends] {
            group.iter_mut().for_each(Process::ask_to_stop);
            let deadline = self.outside.clock.now() + STOP_GRACE;
            for process in group {
                let grace = deadline.since(self.outside.clock.now());
                let in_time = tokio::select! {
                    in_time = process.wait_or_kill(grace) => in_time,
                    () = hurry.wait() => false,
                };
                if !in_time {
                    // The last that can be done; a failure means that it is gone.
                    let _ = process.kill().await;
                    killed.push(process.name().to_owned());
                }
            }
        }
        killed
    }

    async fn kill_all(&mut self) {
        for process in self.nodes.iter_mut().chain(&mut self.backends) {
            // Fails only when it has ended already.
            let _ = process.kill().await;
        }
        self.nodes.clear();
        self.backends.clear();
    }
}

fn draw_plan(home: &Home, size: Size) -> Result<Plan, RigError> {
    let ports = ports::find_free(Plan::ports(size.nodes, size.backends)).map_err(RigError::Ports)?;
    Ok(Plan::new(home.path(), size.nodes, size.backends, &ports))
}

/// How many processes a demo cluster has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub nodes: usize,
    pub backends: usize,
}

/// Waiting for something, up to a deadline.
struct Patience {
    what: String,
    logs: PathBuf,
    deadline: Moment,
    outside: Outside,
}

impl Patience {
    /// Waits until it is worth looking again; an error with what was seen last when the deadline has passed.
    async fn wait(&self, seen: &dyn std::fmt::Display) -> Result<(), RigError> {
        if self.outside.clock.now() >= self.deadline {
            let (what, logs) = (self.what.clone(), self.logs.clone());
            return Err(RigError::NotInTime { what, last: seen.to_string(), logs });
        }
        self.outside.clock.sleep(LOOK_INTERVAL).await;
        Ok(())
    }
}
