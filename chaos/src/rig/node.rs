//! One node as a process of its own: started, killed, started again.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

use super::plan::NodePlan;

/// A node's process, whether it runs or not. Dropping this kills it.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its addresses.
    pub plan: NodePlan,
    binary: PathBuf,
    file: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub(super) fn new(plan: NodePlan, binary: PathBuf, file: PathBuf, log: PathBuf) -> Self {
        Self { plan, binary, file, log, child: None }
    }

    /// Starts the process. Its output is appended to its log.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let output = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.binary)
            .arg("run")
            .arg("--config")
            .arg(&self.file)
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

    /// How the process ended by itself; `None` while it runs, or when it was killed from here.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// The node's log.
    pub(super) fn log(&self) -> &std::path::Path {
        &self.log
    }
}
