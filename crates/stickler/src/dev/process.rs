//! One child process of a demo: started with its output in a file, ended with this process whatever happens.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    /// Its end is expected or was told: it was killed or asked to stop, or `newly_ended` has reported it.
    end_is_known: bool,
    /// Never written to: it closes with this process, even when that is killed, and children that were told
    /// to watch for it end then.
    _lifeline: Option<ChildStdin>,
}

/// A child could not be started. The message says what the operating system refused.
#[derive(Debug, thiserror::Error)]
#[error("can't start {name} with its log in {log}: {error}")]
pub(super) struct StartError {
    name: String,
    log: PathBuf,
    error: io::Error,
}

impl Process {
    /// Starts this very program with other arguments. Its output is appended to `log`.
    pub fn start<I, S>(name: &str, arguments: I, log: &Path) -> Result<Self, StartError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Self::spawn(arguments, log)
            .map_err(|error| StartError { name: name.to_owned(), log: log.to_owned(), error })
            .map(|(child, lifeline)| Self {
                name: name.to_owned(),
                child,
                end_is_known: false,
                _lifeline: lifeline,
            })
    }

    fn spawn<I, S>(arguments: I, log: &Path) -> io::Result<(Child, Option<ChildStdin>)>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C in a terminal reaches the whole group. The children are to be ended in order instead.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let lifeline = child.stdin.take();
        Ok((child, lifeline))
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// How it ended, once, and only when that was not our doing.
    pub fn newly_ended(&mut self) -> Option<(String, ExitStatus)> {
        if self.end_is_known {
            return None;
        }
        let status = self.child.try_wait().ok().flatten()?;
        self.end_is_known = true;
        Some((self.name.clone(), status))
    }

    /// Whether it was killed or asked to stop.
    pub fn end_is_known(&self) -> bool {
        self.end_is_known
    }

    /// Ends it by SIGKILL, as a power cut would, and waits until it is gone.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.end_is_known = true;
        self.child.kill().await
    }

    /// Asks it to stop; to one that has ended already it is nothing.
    pub fn ask_to_stop(&mut self) {
        self.end_is_known = true;
        // The id stays ours until the child was waited for, so that no other process can be hit. A signal
        // that can't be delivered finds a child that has just ended.
        if let Some(pid) = self.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has ended, for at most so long, and ends it by SIGKILL then. Whether it went by itself.
    pub async fn wait_or_kill(&mut self, grace: Duration) -> bool {
        let in_time = tokio::time::timeout(grace, self.child.wait()).await.is_ok();
        if !in_time {
            // Fails only when it has ended meanwhile.
            let _ = self.child.kill().await;
        }
        in_time
    }
}
