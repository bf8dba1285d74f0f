//! The two proxies, each in one process with one worker, behind which the same backends stand.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::backend::COOKIE;
use super::connection::Connection;
use crate::child::{ChildProcess, PATIENCE, Start, free_addresses, installed, until};
use crate::failure::Failure;
use crate::print::out;

/// A proxy that answers.
pub struct Contender {
    /// What tables call it.
    pub name: &'static str,
    /// Where clients reach it.
    pub address: SocketAddr,
    process: ChildProcess,
}

impl Contender {
    /// Ends it, and waits until it is gone.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.process.kill().await
    }

    /// Its process id.
    ///
    /// # Errors
    /// [`Failure::Ended`].
    pub fn process_id(&mut self) -> Result<u32, Failure> {
        self.process.id()
    }

    /// Waits until a request is answered with 200.
    async fn answers(&mut self) -> Result<(), Failure> {
        until(&format!("{} to answer", self.name), PATIENCE, async || {
            self.process.check()?;
            let Ok(mut connection) = Connection::open(self.address).await else { return Ok(None) };
            let request = b"GET /plain HTTP/1.1\r\nHost: bench.example.com\r\n\r\n";
            Ok(connection.ask(request).await.ok().filter(|answer| answer.status == 200).map(|_| ()))
        })
        .await
    }
}

/// HAProxy with one thread, and a stick table for each affinity.
///
/// # Errors
/// [`Failure`].
pub async fn haproxy(
    directory: &Path,
    core: Option<usize>,
    backends: &[SocketAddr],
) -> Result<Contender, Failure> {
    let program = haproxy_program()?;
    let address = free_addresses(1)?[0];
    let config = directory.join("haproxy.cfg");
    write(&config, &haproxy_text(address, backends))?;
    let log = directory.join("haproxy.log");
    let start = Start { name: "HAProxy", program: &program, core, log };
    let process = ChildProcess::start(start, &["-db".as_ref(), "-f".as_ref(), config.as_os_str()])?;
    let mut contender = Contender { name: "HAProxy", address, process };
    contender.answers().await?;
    Ok(contender)
}

fn haproxy_text(address: SocketAddr, backends: &[SocketAddr]) -> String {
    let servers: String = (1..)
        .zip(backends)
        .map(|(number, backend)| format!("    server web-{number} {backend} check inter 2s\n"))
        .collect();
    let table = "    stick-table type string len 64 size 1m expire 30m\n";
    let mut text = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\n\
         defaults\n    mode http\n    timeout connect 1s\n    timeout client 60s\n    timeout server 60s\n    \
         http-reuse always\n    balance random(2)\n\n\
         frontend public\n    bind {address}\n    use_backend by_header if {{ path_beg /header }}\n    \
         use_backend by_cookie if {{ path_beg /cookie }}\n    default_backend plain\n\n"
    );
    // writing to a String can't fail
    let _ = write!(text, "backend plain\n{servers}\n");
    let _ = write!(text, "backend by_header\n{table}    stick on req.hdr(X-Session)\n{servers}\n");
    let _ = write!(
        text,
        "backend by_cookie\n{table}    stick store-response res.cook({COOKIE})\n    \
         stick match req.cook({COOKIE})\n{servers}"
    );
    text
}

/// A cluster of one Stickler node with one worker.
///
/// # Errors
/// [`Failure`].
pub async fn stickler(
    program: &Path,
    directory: &Path,
    core: Option<usize>,
    backends: &[SocketAddr],
) -> Result<Contender, Failure> {
    let free = free_addresses(4)?;
    let (address, admin) = (free[0], free[1]);
    let node = directory.join("node.toml");
    let data = directory.join("stickler");
    write(&node, &node_text(&data, &free))?;
    let document = directory.join("cluster.toml");
    write(&document, &document_text(address, backends))?;
    let log = directory.join("stickler.log");
    let start = Start { name: "Stickler", program, core, log };
    let arguments = ["run".as_ref(), "--config".as_ref(), node.as_os_str()];
    let mut process = ChildProcess::start(start, &arguments)?;
    until("Stickler to take its cluster document", PATIENCE, async || {
        process.check()?;
        let applied = Command::new(program)
            .args(["apply".as_ref(), document.as_os_str()])
            .args(["--node", &admin.to_string()])
            .kill_on_drop(true)
            .output()
            .await
            .map_err(Failure::system("stickler apply"))?;
        // 2: the document itself is refused, and waiting does not help
        if applied.status.code() == Some(2) {
            return Err(Failure::Void(String::from_utf8_lossy(&applied.stderr).into_owned()));
        }
        Ok(applied.status.success().then_some(()))
    })
    .await?;
    let mut contender = Contender { name: "Stickler", address, process };
    contender.answers().await?;
    Ok(contender)
}

fn node_text(data: &Path, free: &[SocketAddr]) -> String {
    format!(
        "version = 1\nid = 1\ndata_directory = '{}'\nadmin = \"{}\"\npeer_address = \"{}\"\n\
         status_address = \"{}\"\nworkers = 1\n",
        data.display(),
        free[1],
        free[2],
        free[3],
    )
}

fn document_text(address: SocketAddr, backends: &[SocketAddr]) -> String {
    let mut text = format!(
        "version = 1\n\n[[listener]]\nname = \"public\"\naddress = \"{address}\"\n\n[[pool]]\nname = \"shop\"\n\n"
    );
    for (number, backend) in (1..).zip(backends) {
        // writing to a String can't fail
        let _ = write!(text, "[[pool.backend]]\nname = \"web-{number}\"\naddress = \"{backend}\"\n\n");
    }
    let _ = write!(
        text,
        "[[affinity]]\nname = \"by-header\"\n\n[[affinity.by]]\nmethod = \"header\"\nname = \"X-Session\"\n\n\
         [[affinity]]\nname = \"by-cookie\"\n\n[[affinity.by]]\nmethod = \"application-cookie\"\nname = \"{COOKIE}\"\n\n\
         [[route]]\nname = \"plain\"\npool = \"shop\"\n\n\
         [[route]]\nname = \"header\"\npath_prefix = \"/header\"\npool = \"shop\"\naffinity = \"by-header\"\n\n\
         [[route]]\nname = \"cookie\"\npath_prefix = \"/cookie\"\npool = \"shop\"\naffinity = \"by-cookie\"\n"
    );
    text
}

/// Where the release binary is: beside this program, unless another one is named.
///
/// # Errors
/// [`Failure::Missing`].
pub fn stickler_program(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(Failure::system("this program's own path"))?;
    let program = named.map_or_else(|| own.with_file_name("stickler"), Path::to_owned);
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::Missing {
        program: program.display().to_string(),
        way_out: "cargo build --release -p stickler".to_owned(),
    })
}

/// Where HAProxy is.
///
/// # Errors
/// [`Failure::Missing`].
pub fn haproxy_program() -> Result<PathBuf, Failure> {
    installed("haproxy", "apt-get install haproxy")
}

/// Prints what each program says of its version.
///
/// # Errors
/// [`Failure::System`].
pub async fn print_versions(stickler: &Path) -> Result<(), Failure> {
    let haproxy = haproxy_program()?;
    for (program, option) in [(stickler, "--version"), (&haproxy, "-v")] {
        let said = Command::new(program).arg(option).kill_on_drop(true).output().await;
        let said = said.map_err(Failure::system(program.display().to_string()))?;
        out(String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::system(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use stickler_core::document::{check_cluster, check_node};

    use super::*;

    #[test]
    fn the_files_written_for_stickler_are_ones_that_it_accepts() {
        let free: Vec<SocketAddr> =
            (9_001..9_005).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let node = check_node("node.toml", &node_text(Path::new("/tmp/data"), &free)).unwrap();
        assert_eq!(node.workers, Some(1));
        let document = check_cluster("cluster.toml", &document_text(free[0], &free[1..3])).unwrap();
        assert_eq!((document.routes.len(), document.pools[0].backends.len()), (3, 2));
    }

    #[test]
    fn a_missing_release_binary_is_reported_with_the_command_that_builds_it() {
        let failure = stickler_program(Some(Path::new("/no/such/stickler"))).unwrap_err().to_string();
        assert!(failure.ends_with("cargo build --release -p stickler"), "{failure}");
    }
}
