//! A backend as a process of its own, so that it can be killed as processes are: the runner, started once more.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::Stdio;

use stickler_rt::Outside;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::backend::{Backend, Shared};

/// The runner's own command that [`serve`]s.
pub(crate) const COMMAND: &str = "backend";

/// What it says once it listens.
const LISTENING: &str = "listening";

/// A process that is a backend. Dropping this kills it.
#[derive(Debug)]
pub(super) struct BackendProcess(Child);

impl BackendProcess {
    /// Starts it, and waits until it listens.
    pub(super) async fn start(name: &str, address: SocketAddr) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([COMMAND, name, &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal reaches the whole group; when backends die is decided here alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let says = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let line = BufReader::new(says).lines().next_line().await?;
        if line.as_deref() != Some(LISTENING) {
            return Err(io::Error::other(format!("{name} does not listen at {address}")));
        }
        Ok(Self(child))
    }

    /// Sends SIGKILL, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        // It is gone either way: what can't be killed has ended before.
        let _gone = self.0.kill().await;
    }
}

/// Is the backend of this name, until it is killed. What it sees, nobody is told.
pub(crate) async fn serve(outside: &Outside, name: String, address: SocketAddr) -> io::Result<()> {
    let mut backend = Backend::new(name, address, Shared::default());
    backend.start(outside).await?;
    writeln!(io::stdout(), "{LISTENING}")?;
    std::future::pending().await
}
