//! One node as a process of its own: started, killed, started again.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::plan::NodePlan;

/// How a node's process is started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// The binary under test.
    pub binary: PathBuf,
    /// The node file.
    pub file: PathBuf,
    /// Where the output goes.
    pub log: PathBuf,
    /// The network namespace to start it in.
    pub namespace: Option<String>,
    /// What is added to its environment.
    pub environment: Vec<(&'static str, OsString)>,
}

/// A node's process, whether it runs or not. Dropping this kills it.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its addresses.
    pub plan: NodePlan,
    launch: Launch,
    child: Option<Child>,
}

impl Node {
    pub(super) fn new(plan: NodePlan, launch: Launch) -> Self {
        Self { plan, launch, child: None }
    }

    /// Starts the process. Its output is appended to its log.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let Launch { binary, file, log, namespace, environment } = &self.launch;
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = match namespace {
            None => Command::new(binary),
            Some(namespace) => {
                // It becomes the binary, so that the process is the node itself.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(binary);
                command
            }
        };
        let child = command
            .arg("run")
            .arg("--config")
            .arg(file)
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C in a terminal reaches the whole group; when nodes die is decided here alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Sends SIGKILL to this process and returns at once, so that several can be killed at one moment.
    pub(super) fn strike(&mut self) -> io::Result<()> {
        self.child.as_mut().map_or(Ok(()), Child::start_kill)
    }

    /// Sends a signal to the process, if there is one.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let id =
            self.child.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        id.map_or(Ok(()), |id| Ok(kill_process(id, signal)?))
    }

    /// Whether the process was stopped by a signal.
    pub(super) fn stands_still(&self) -> bool {
        const STOPPED: &str = "T";
        let id = self.child.as_ref().and_then(Child::id);
        let stat = id.and_then(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok());
        // The name of the program comes before, and may hold anything.
        stat.is_some_and(|stat| {
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next()) == Some(STOPPED)
        })
    }

    /// Waits until the process is gone.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait().await?;
        }
        Ok(())
    }

    /// Whether the process was started and not killed since.
    pub(crate) fn is_meant_to_run(&self) -> bool {
        self.child.is_some()
    }

    /// The process has ended by itself, and is not meant to run any more.
    pub(super) fn forget(&mut self) {
        self.child = None;
    }

    /// How the process ended by itself; `None` while it runs, or when it was killed from here.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// The node's log.
    pub(super) fn log(&self) -> &std::path::Path {
        &self.launch.log
    }
}
