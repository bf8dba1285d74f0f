//! A cluster of HAProxy nodes as its manual describes one: stick tables that its `peers` protocol replicates, in
//! front of the same backends. For comparison.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;

use rand::Rng;
use tokio::process::{Child, Command};

use super::backend::{Backend, Shared};
use super::client::Client;
use super::{NODES, RigError, ports};
use crate::scenario::Stage;

/// Where Debian puts it.
const PROGRAMS: [&str; 2] = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];

/// The cluster. Dropping it kills all of it.
#[derive(Debug)]
pub(crate) struct Haproxy {
    /// What it says of its version.
    pub version: String,
    /// Where clients connect.
    pub addresses: Vec<SocketAddr>,
    program: PathBuf,
    files: Vec<PathBuf>,
    children: Vec<Option<Child>>,
    _backends: Vec<Backend>,
}

impl Haproxy {
    /// Starts the nodes and as many backends.
    pub(crate) async fn start(stage: &Stage, count: usize) -> Result<Self, RigError> {
        let program =
            PROGRAMS.iter().map(PathBuf::from).find(|program| program.is_file()).ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, "there is no haproxy: apt-get install haproxy")
            })?;
        let directory = stage.directory.join("haproxy");
        fs::create_dir_all(&directory)?;
        let mut random = stage.outside.seed.child("haproxy's ports").rng();
        let ports = ports::find_free(NODES * 2 + count, &mut random)?;
        let at = |port: &u16| SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        let addresses: Vec<SocketAddr> = ports[..NODES].iter().map(at).collect();
        let replicating: Vec<SocketAddr> = ports[NODES..NODES * 2].iter().map(at).collect();
        let run = stage.seed.child("identifiers").rng().random();
        let mut backends = Vec::new();
        for (number, address) in (1..).zip(ports[NODES * 2..].iter().map(at)) {
            let name = format!("web-{number}");
            let mut backend = Backend::new(name, address, Shared { run, ..Shared::default() });
            backend.start(&stage.outside).await?;
            backends.push((backend, address));
        }
        let places: Vec<SocketAddr> = backends.iter().map(|(_, address)| *address).collect();
        let mut files = Vec::new();
        for (number, address) in (1..).zip(&addresses) {
            let file = directory.join(format!("node-{number}.cfg"));
            fs::write(&file, text(*address, &replicating, &places))?;
            files.push(file);
        }
        let said = Command::new(&program).arg("-v").kill_on_drop(true).output().await?;
        let version = String::from_utf8_lossy(&said.stdout).lines().next().unwrap_or_default().to_owned();
        let backends = backends.into_iter().map(|(backend, _)| backend).collect();
        let children = (0..NODES).map(|_| None).collect();
        let mut cluster = Self { version, addresses, program, files, children, _backends: backends };
        for node in 0..NODES {
            cluster.restart(node)?;
        }
        Ok(cluster)
    }

    /// Starts a node that is dead.
    pub(crate) fn restart(&mut self, node: usize) -> Result<(), RigError> {
        let log =
            OpenOptions::new().create(true).append(true).open(self.files[node].with_extension("log"))?;
        let child = Command::new(&self.program)
            .args(["-db", "-L", &name(node + 1), "-f"])
            .arg(&self.files[node])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.children[node] = Some(child);
        Ok(())
    }

    /// These nodes die by SIGKILL, all at one moment.
    pub(crate) async fn kill(&mut self, nodes: &[usize]) -> Result<(), RigError> {
        for node in nodes {
            if let Some(child) = &mut self.children[*node] {
                child.start_kill()?;
            }
        }
        for node in nodes {
            if let Some(mut child) = self.children[*node].take() {
                child.wait().await?;
            }
        }
        Ok(())
    }

    /// Whether every node answers.
    pub(crate) async fn answers(&self, stage: &Stage) -> bool {
        for address in &self.addresses {
            let mut client = Client::new(&stage.outside, *address);
            if !client.status_of("/plain").await.is_ok_and(|status| status.is_success()) {
                return false;
            }
        }
        true
    }
}

fn name(number: usize) -> String {
    format!("node{number}")
}

/// What stands in a node's file: the same on all nodes, but for the address.
fn text(address: SocketAddr, replicating: &[SocketAddr], backends: &[SocketAddr]) -> String {
    let mut text = "global\n    nbthread 1\n    maxconn 4096\n    hard-stop-after 1s\n\n\
        defaults\n    mode http\n    timeout connect 1s\n    timeout client 60s\n    timeout server 60s\n    \
        retries 3\n    option redispatch\n    balance roundrobin\n\npeers cluster\n"
        .to_owned();
    // writing to a String can't fail
    for (number, address) in (1..).zip(replicating) {
        let _ = writeln!(text, "    peer {} {address}", name(number));
    }
    let _ = write!(
        text,
        "\nfrontend public\n    bind {address}\n    use_backend by_header if {{ path_beg /api }}\n    \
         use_backend plain if {{ path_beg /plain }}\n    default_backend by_cookie\n\n"
    );
    let servers: String = (1..)
        .zip(backends)
        .map(|(number, backend)| {
            format!("    server web-{number} {backend} check inter 500ms fall 3 rise 2\n")
        })
        .collect();
    let table = "    stick-table type string len 64 size 1m expire 2h peers cluster\n";
    let _ = write!(text, "backend plain\n{servers}\n");
    let _ = write!(text, "backend by_header\n{table}    stick on req.hdr(X-Session)\n{servers}\n");
    let _ = write!(
        text,
        "backend by_cookie\n{table}    stick store-response res.cook(SHOPSESSION)\n    \
         stick on req.cook(SHOPSESSION)\n{servers}"
    );
    text
}
