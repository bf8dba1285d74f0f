//! Three nodes and two shops with one till, all of them processes.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::tap::Tap;

/// Longest wait for what must happen soon.
const SOON: Duration = Duration::from_secs(30);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// All of it. Dropping it ends every process.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub shops: Vec<Shop>,
    _directory: TempDir,
    _ports: Vec<TcpSocket>,
}

/// One node.
pub struct Node {
    pub id: u64,
    /// Where clients connect.
    pub address: SocketAddr,
    admin: String,
    process: Process,
}

/// One demo shop behind its tap.
pub struct Shop {
    pub name: String,
    /// Where it listens itself.
    pub address: SocketAddr,
    /// Where nodes connect.
    pub tap: Tap,
    _process: Process,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut shops = Vec::new();
        for name in ["web-1", "web-2"] {
            shops.push(Shop::start(name, &directory.path().join("till")).await);
        }
        let ports: Vec<TcpSocket> = (0..6).map(|_| reserved_port()).collect();
        let address = |place: usize| ports[place].local_addr().unwrap();
        let peers: Vec<SocketAddr> = (0..3).map(address).collect();
        let nodes =
            (1..=3).zip(3..).map(|(id, public)| Node::start(directory.path(), id, &peers, address(public)));
        let cluster = Self { nodes: nodes.collect(), shops, _directory: directory, _ports: ports };
        cluster.found().await;
        cluster
    }

    async fn found(&self) {
        let file = self._directory.path().join("cluster.toml");
        fs::write(&file, document(&self.shops)).unwrap();
        until("the cluster takes its document", || {
            self.nodes[0].stickler(&["apply", file.to_str().unwrap()]).map(drop)
        })
        .await;
        for node in &self.nodes {
            until("the node holds a lease and has all shops up", || {
                let (status, up) = (node.status(), node.shops_up());
                let so = status["ready"] == true && up == self.shops.len();
                if so { Ok(()) } else { Err(format!("{up} shops up, {status}")) }
            })
            .await;
        }
    }

    /// The node that leads, by what this one says. Waits for one that is not `stopped`.
    pub async fn leader(&self, asked: &Node, stopped: Option<u64>) -> u64 {
        let mut leader = 0;
        until("a leader", || {
            let status = asked.status();
            leader = status["leader"].as_u64().unwrap_or(0);
            let so = leader != 0 && Some(leader) != stopped && status["footing"] == "leased";
            if so { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        leader
    }
}

impl Node {
    fn start(directory: &Path, id: u64, peers: &[SocketAddr], address: SocketAddr) -> Self {
        let file = directory.join(format!("node-{id}.toml"));
        let admin = format!("unix:{}", directory.join(format!("admin-{id}")).display());
        let mut text = format!(
            "version = 1\nid = {id}\ndata_directory = {:?}\npeer_address = \"{}\"\nadmin = \"{admin}\"\n\
             status_address = \"127.0.0.1:0\"\nworkers = 1\n",
            directory.join(format!("data-{id}")),
            peers[usize::try_from(id).unwrap() - 1],
        );
        for (id, peer) in (1..).zip(peers) {
            write!(text, "[[member]]\nid = {id}\naddress = \"{peer}\"\n").unwrap();
        }
        write!(text, "[listener_addresses]\npublic = \"{address}\"\n").unwrap();
        fs::write(&file, text).unwrap();
        let log = fs::File::create(directory.join(format!("node-{id}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stickler"));
        command.args(["run", "--config"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { id, address, admin, process: Process(command.spawn().unwrap()) }
    }

    /// What an operator's command prints, or why it failed.
    pub fn stickler(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stickler"));
        let done =
            command.args(arguments).args(["--node", &self.admin]).stdin(Stdio::null()).output().unwrap();
        let [output, errors] = [done.stdout, done.stderr].map(|said| String::from_utf8(said).unwrap());
        if done.status.success() { Ok(output) } else { Err(errors) }
    }

    fn status(&self) -> serde_json::Value {
        let said = self.stickler(&["status", "--output", "json"]).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        status["nodes"][0]["status"].clone()
    }

    fn shops_up(&self) -> usize {
        let said = self.stickler(&["backend", "list", "--output", "json"]).unwrap_or_default();
        let list: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
        let backends = list["backends"].as_array().cloned().unwrap_or_default();
        backends.iter().filter(|backend| backend["health"] == "up").count()
    }

    /// Its process's id.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Stops it, as a hypervisor does with a guest: its clock goes on, and the kernel goes on taking in what
    /// others send to it.
    pub async fn stop(&self) {
        self.signal(Signal::STOP);
        until("the node stands still", || match state(self.pid()) {
            'T' => Ok(()),
            other => Err(other.to_string()),
        })
        .await;
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).unwrap();
    }
}

impl Shop {
    async fn start(name: &str, till: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stickler"))
            .args(["demo-shop", "--name", name, "--till"])
            .arg(till)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").unwrap().1.parse().unwrap();
        let tap = Tap::before(address).await;
        Self { name: name.to_owned(), address, tap, _process: Process(process) }
    }
}

/// A port that nobody else gets as long as this lives: it is bound, and only who says, as listeners do, that
/// they would use an address again can have it, too.
fn reserved_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket
}

fn document(shops: &[Shop]) -> String {
    let backends: String = shops
        .iter()
        .map(|shop| {
            format!("[[pool.backend]]\nname = \"{}\"\naddress = \"{}\"\n", shop.name, shop.tap.address)
        })
        .collect();
    // A tap that keeps connections waiting keeps checks waiting, too: that must not count as down.
    format!(
        r#"version = 1
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[pool]]
name = "shop"
connect_timeout = "30s"
[pool.check]
path = "/health"
interval = "1s"
rise = 1
fall = 100
{backends}
[[affinity]]
name = "cart"
[[affinity.by]]
method = "header"
name = "X-Session"
[[route]]
name = "shop"
pool = "shop"
affinity = "cart"
"#
    )
}

/// The letter that the kernel has for what a process does.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// Waits until it is so; what was seen instead stands in the message when it never is.
pub async fn until(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let mut seen = String::new();
    for _ in 0..SOON.as_millis() / LOOK.as_millis() {
        match look() {
            Ok(()) => return,
            Err(instead) => seen = instead,
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("waited {SOON:?} until {what}; last seen: {seen}");
}

/// For conditions about a number.
pub fn is(number: usize, so: impl Fn(usize) -> bool) -> Result<(), String> {
    if so(number) { Ok(()) } else { Err(number.to_string()) }
}
