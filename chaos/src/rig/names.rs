//! A name for the cluster: an authoritative server and a resolver, both Debian's, and the question that a client
//! asks.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stickler_rt::Outside;
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};

use super::{RigError, ports};

/// The name that clients ask for.
const NAME: &str = "shop.example.com";

/// Longest wait for one answer of the resolver.
const PATIENCE: Duration = Duration::from_millis(500);

/// Questions before a client gives up.
const TRIES: usize = 10;

/// The servers. Dropping this ends them.
#[derive(Debug)]
pub(crate) struct Names {
    resolver: SocketAddr,
    /// Questions so far: a resolver that deals out its answers' order does so by the question's number.
    asked: AtomicU16,
    servers: [Child; 2],
}

impl Drop for Names {
    fn drop(&mut self) {
        // They have children of their own, and end them when they are told to end.
        for server in &self.servers {
            let id = server.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(id) = id {
                // One that has ended already needs no signal.
                let _ended = kill_process(id, Signal::TERM);
            }
        }
    }
}

impl Names {
    /// Starts both, and waits until the name leads to these addresses.
    pub(crate) async fn start(
        outside: &Outside,
        directory: &Path,
        addresses: &[Ipv4Addr],
    ) -> Result<Self, RigError> {
        let ports = ports::find_free(2, &mut outside.seed.child("names").rng())?;
        let directory = directory.join("names");
        fs::create_dir_all(&directory)?;
        let directory = directory.canonicalize()?;
        fs::write(directory.join("zone"), zone(addresses))?;
        fs::write(directory.join("nsd.conf"), authority_text(&directory, ports[0]))?;
        fs::write(directory.join("unbound.conf"), resolver_text(&directory, ports[0], ports[1]))?;
        let authority = start(&directory, "nsd", &["-d", "-c"])?;
        let unbound = start(&directory, "unbound", &["-d", "-c"])?;
        let resolver = (Ipv4Addr::LOCALHOST, ports[1]).into();
        let names = Self { resolver, asked: AtomicU16::new(0), servers: [authority, unbound] };
        for _ in 0..TRIES * 4 {
            if names.resolve().await.is_ok_and(|found| found.len() == addresses.len()) {
                return Ok(names);
            }
            tokio::time::sleep(PATIENCE / 5).await;
        }
        let log = directory.join("unbound.log");
        let what = format!("the resolver does not know {NAME}: see {}", log.display());
        Err(io::Error::other(what).into())
    }

    /// The cluster's addresses, in the order in which the resolver gives them this time.
    pub(crate) async fn resolve(&self) -> Result<Vec<Ipv4Addr>, RigError> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(self.resolver).await?;
        let mut answer = [0; 1024];
        for _ in 0..TRIES {
            let id = self.asked.fetch_add(1, Ordering::Relaxed);
            // The resolver may not listen yet.
            if socket.send(&question(id, NAME)).await.is_err() {
                tokio::time::sleep(PATIENCE / 10).await;
                continue;
            }
            if let Ok(Ok(length)) = tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await
                && let Some(addresses) = addresses_of(&answer[..length], id)
            {
                return Ok(addresses);
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the resolver does not answer").into())
    }
}

pub(super) fn start(directory: &Path, program: &str, arguments: &[&str]) -> Result<Child, RigError> {
    let path = ["/usr/sbin", "/usr/local/sbin"].iter().map(|place| PathBuf::from(place).join(program));
    let path = path.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let what = format!("there is no {program}: apt-get install nsd unbound");
        io::Error::new(io::ErrorKind::NotFound, what)
    })?;
    let log = directory.join(format!("{program}.log"));
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let child = Command::new(path)
        .args(arguments)
        .arg(directory.join(format!("{program}.conf")))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    Ok(child)
}

fn zone(addresses: &[Ipv4Addr]) -> String {
    let mut zone = "$ORIGIN example.com.\n$TTL 1\n@ IN SOA ns.example.com. admin.example.com. 1 60 60 60 1\n\
        @ IN NS ns.example.com.\nns IN A 127.0.0.1\n"
        .to_owned();
    for address in addresses {
        zone.push_str(&format!("shop IN A {address}\n"));
    }
    zone
}

pub(super) fn authority_text(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{directory}\"\n  \
         pidfile: \"{directory}/nsd.pid\"\n  xfrdfile: \"{directory}/xfrd.state\"\n  \
         zonelistfile: \"{directory}/zone.list\"\n  xfrdir: \"{directory}\"\n  database: \"\"\n  server-count: 1\n\
         remote-control:\n  control-enable: no\n\
         zone:\n  name: example.com\n  zonefile: zone\n"
    )
}

fn resolver_text(directory: &Path, authority: u16, port: u16) -> String {
    let directory = directory.display();
    format!(
        "server:\n  interface: 127.0.0.1@{port}\n  port: {port}\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  \
         directory: \"{directory}\"\n  pidfile: \"{directory}/unbound.pid\"\n  use-syslog: no\n  logfile: \"\"\n  \
         access-control: 127.0.0.0/8 allow\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  \
         rrset-roundrobin: yes\n  num-threads: 1\n  cache-max-ttl: 1\n\
         remote-control:\n  control-enable: no\n\
         stub-zone:\n  name: example.com\n  stub-addr: 127.0.0.1@{authority}\n"
    )
}

/// A question for a name's IPv4 addresses, as it goes over the wire (RFC 1035).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The IPv4 addresses in an answer to the question with this id; `None` when it is none.
fn addresses_of(message: &[u8], id: u16) -> Option<Vec<Ipv4Addr>> {
    let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let answered = message.get(2)? & 0x80 != 0 && message.get(3)? & 0x0f == 0;
    if number(0)? != id || !answered {
        return None;
    }
    let mut at = 12;
    for _ in 0..number(4)? {
        at = after_name(message, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(message, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if let (1, [a, b, c, d]) = (kind, data) {
            addresses.push(Ipv4Addr::new(*a, *b, *c, *d));
        }
        at += 10 + length;
    }
    Some(addresses)
}

/// Where a name ends: with the root, or with a pointer.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_an_answer_and_from_nothing_else() {
        let mut answer = question(7, NAME);
        answer[2] |= 0x80;
        answer[7] = 2;
        for last in [1, 2] {
            // A pointer to the question's name, type A, class IN, one second, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 2, last]);
        }
        let expected = [Ipv4Addr::new(127, 0, 2, 1), Ipv4Addr::new(127, 0, 2, 2)];
        assert_eq!(addresses_of(&answer, 7).unwrap(), expected);
        assert_eq!(addresses_of(&answer, 8), None, "an answer to another question");
        assert_eq!(addresses_of(&answer[..answer.len() - 1], 7), None, "an answer that was cut off");
        assert_eq!(addresses_of(&question(7, NAME), 7), None, "no answer at all");
    }
}
