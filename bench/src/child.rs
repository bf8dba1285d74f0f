//! One process that a benchmark starts, and that ends with it whatever happens.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::failure::Failure;

/// Longest wait for something that should take a moment.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How much of a log is shown when its process ends too early.
const SHOWN_LINES: usize = 15;

/// A child process. Dropping it kills it, and so does the death of this process.
#[derive(Debug)]
pub struct ChildProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What to start, and where it writes.
#[derive(Debug)]
pub struct Start<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// The program.
    pub program: &'a Path,
    /// The only core that it may run on; `None` is any.
    pub core: Option<usize>,
    /// Takes what it writes to standard output and standard error.
    pub log: PathBuf,
}

impl ChildProcess {
    /// Starts a program with these arguments.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub fn start<A: AsRef<OsStr>>(start: Start<'_>, arguments: &[A]) -> Result<Self, Failure> {
        let output = File::create(&start.log).map_err(Failure::system(start.log.display().to_string()))?;
        let errors = output.try_clone().map_err(Failure::system(start.log.display().to_string()))?;
        // Ends the child even when this process is killed. It makes itself the program, and keeps its id.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if let Some(core) = start.core {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        let child = command
            .arg(start.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::system(format!("starting {}", start.name)))?;
        Ok(Self { name: start.name.to_owned(), child, log: start.log })
    }

    /// Starts this very program with other arguments.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub fn start_own<A: AsRef<OsStr>>(
        name: &str,
        core: Option<usize>,
        log: PathBuf,
        arguments: &[A],
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::system("this program's own path"))?;
        Self::start(Start { name, program: &program, core, log }, arguments)
    }

    /// Its process id; an error once it has ended.
    ///
    /// # Errors
    /// [`Failure::Ended`].
    pub fn id(&mut self) -> Result<u32, Failure> {
        self.check()?;
        self.child.id().ok_or_else(|| self.ended("no process".to_owned()))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// [`Failure::Ended`].
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status.to_string())),
            Err(error) => Err(Failure::System { what: format!("asking after {}", self.name), error }),
        }
    }

    fn ended(&self, status: String) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        Failure::Ended { process: self.name.clone(), status, log: last_lines(&log) }
    }

    /// Ends it by SIGKILL, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(Failure::system(format!("killing {}", self.name)))
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// Waits until `look` sees something.
///
/// # Errors
/// [`Failure::Late`], and those of `look`.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let looking = async {
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let late = || Failure::Late { what: what.to_owned(), patience };
    tokio::time::timeout(patience, looking).await.map_err(|_| late())?
}

/// So many different addresses on loopback that are free now. They are held together until all are found, so
/// that none comes twice; a child that finds its own taken ends, and says so.
///
/// # Errors
/// [`Failure::System`].
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let held: Result<Vec<TcpListener>, _> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let addresses = held.and_then(|held| held.iter().map(TcpListener::local_addr).collect());
    addresses.map_err(Failure::system("looking for free ports on loopback"))
}

/// Where an installed program is.
///
/// # Errors
/// [`Failure::Missing`] with the way out.
pub fn installed(program: &str, way_out: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps what only root was meant to run; often not on a user's path.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .ok_or_else(|| Failure::Missing { program: program.to_owned(), way_out: way_out.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_way_to_get_it() {
        let failure = installed("no-such-program", "apt-get install it").unwrap_err().to_string();
        assert_eq!(failure, "no-such-program is missing: apt-get install it");
    }

    #[test]
    fn free_addresses_are_all_different() {
        let addresses: std::collections::BTreeSet<SocketAddr> =
            free_addresses(20).unwrap().into_iter().collect();
        assert_eq!(addresses.len(), 20);
    }

    #[test]
    fn of_a_log_the_last_lines_are_shown() {
        let log: String = (1..=20).map(|number| format!("line {number}\n")).collect();
        let shown = last_lines(&log);
        assert!(shown.starts_with("line 6\n") && shown.ends_with("line 20"), "{shown}");
    }

    #[tokio::test]
    async fn a_child_that_ends_early_is_reported_with_what_it_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let start = Start {
            name: "a shell",
            program: Path::new("/bin/sh"),
            core: None,
            log: directory.path().join("log"),
        };
        let mut child = ChildProcess::start(start, &["-c", "echo the port is taken >&2; exit 3"]).unwrap();
        let ended: Result<(), Failure> =
            until("its end", PATIENCE, async || child.check().map(|()| None)).await;
        let told = ended.unwrap_err().to_string();
        assert!(
            told.contains("a shell") && told.contains('3') && told.contains("the port is taken"),
            "{told}"
        );
    }
}
