//! A network namespace for each node, joined by a router of the run's own, in which rules drop packets one way.
//! Needs root and the `ip` program, and nothing of the kernel beyond policy routing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use super::{Condition, End};

/// Why the namespaces can't be made or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    /// Install the `ip` program (Debian: iproute2).
    #[error("can't run `ip`: {0}")]
    Program(io::Error),
    /// Only root makes namespaces: run as root, or with --network links.
    #[error("`ip {arguments}`: {message}")]
    Refused {
        /// What was asked for.
        arguments: String,
        /// What it said.
        message: String,
    },
    /// Choose another fault or another network.
    #[error("a way can't be broken like this {0}")]
    NotPossible(&'static str),
}

/// The first two octets of all addresses: a private network that is rarely in use.
const NETWORK: [u8; 2] = [10, 203];

/// The third octet of the place where clients and backends are: this process.
const HERE: u8 = 100;

/// The third octet of the addresses that clients come from.
const CLIENTS: u8 = 101;

/// The namespaces of a run. Dropping this removes them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// Tells this run's namespaces and interfaces from those of another.
    mark: String,
    nodes: u64,
    rules: Vec<(End, End, &'static str)>,
}

impl Namespaces {
    /// Makes a namespace for each node and the router, and this process's own way there.
    pub(crate) fn make(nodes: u64, backends: usize) -> Result<Self, NamespaceError> {
        let namespaces = Self { mark: format!("sc{}", std::process::id()), nodes, rules: Vec::new() };
        // Made before the steps that may fail, so that dropping it removes what there is.
        let router = namespaces.router();
        ip(&["netns", "add", &router])?;
        ip(&["-n", &router, "link", "set", "lo", "up"])?;
        ip(&["netns", "exec", &router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])?;
        for node in 1..=nodes {
            namespaces.add_node(node)?;
        }
        namespaces.add_here(backends)?;
        Ok(namespaces)
    }

    fn add_node(&self, node: u64) -> Result<(), NamespaceError> {
        let (router, own) = (self.router(), self.node_namespace(node));
        let (near, far) = (format!("{}n{node}", self.mark), format!("{}r{node}", self.mark));
        let third = octet(node);
        ip(&["netns", "add", &own])?;
        ip(&["-n", &own, "link", "set", "lo", "up"])?;
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far])?;
        ip(&["link", "set", &near, "netns", &own])?;
        ip(&["link", "set", &far, "netns", &router])?;
        ip(&["-n", &own, "addr", "add", &format!("{}/24", address(third, 2)), "dev", &near])?;
        ip(&["-n", &router, "addr", "add", &format!("{}/24", address(third, 1)), "dev", &far])?;
        ip(&["-n", &own, "link", "set", &near, "up"])?;
        ip(&["-n", &router, "link", "set", &far, "up"])?;
        ip(&["-n", &own, "route", "add", "default", "via", &address(third, 1).to_string()])
    }

    fn add_here(&self, backends: usize) -> Result<(), NamespaceError> {
        let router = self.router();
        let (near, far) = (format!("{}h", self.mark), format!("{}rh", self.mark));
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far])?;
        ip(&["link", "set", &far, "netns", &router])?;
        ip(&["-n", &router, "addr", "add", &format!("{}/24", address(HERE, 1)), "dev", &far])?;
        ip(&["-n", &router, "link", "set", &far, "up"])?;
        ip(&["addr", "add", &format!("{}/24", address(HERE, 2)), "dev", &near])?;
        for backend in 0..backends {
            ip(&["addr", "add", &format!("{}/24", backend_address(backend)), "dev", &near])?;
        }
        ip(&["link", "set", &near, "up"])?;
        let gateway = address(HERE, 1).to_string();
        for node in 1..=self.nodes {
            ip(&["route", "add", &format!("{}/24", address(octet(node), 0)), "via", &gateway, "dev", &near])?;
        }
        // Addresses that clients come from, all of them this machine's.
        ip(&["addr", "add", &format!("{}/24", address(CLIENTS, 1)), "dev", &near])?;
        for last in 2..=40 {
            ip(&["addr", "add", &format!("{}/24", address(CLIENTS, last)), "dev", &near])?;
        }
        let back = format!("{}/24", address(CLIENTS, 0));
        ip(&["-n", &router, "route", "add", &back, "via", &address(HERE, 2).to_string(), "dev", &far])
    }

    fn router(&self) -> String {
        format!("{}-router", self.mark)
    }

    /// The name of a node's namespace.
    pub(crate) fn node_namespace(&self, node: u64) -> String {
        format!("{}-node{node}", self.mark)
    }

    pub(super) fn set(&mut self, from: End, to: End, condition: Condition) -> Result<(), NamespaceError> {
        if let Some(place) = self.rules.iter().position(|(one, other, _)| (*one, *other) == (from, to)) {
            let (_, _, action) = self.rules.remove(place);
            self.rule("del", from, to, action)?;
        }
        let action = match condition {
            Condition::Open => return Ok(()),
            Condition::Dropped => "blackhole",
            Condition::Cut => "prohibit",
            Condition::Slow { .. } | Condition::Lossy { .. } => {
                return Err(NamespaceError::NotPossible("in namespaces: use --network links"));
            }
        };
        self.rule("add", from, to, action)?;
        self.rules.push((from, to, action));
        Ok(())
    }

    fn rule(&self, change: &str, from: End, to: End, action: &str) -> Result<(), NamespaceError> {
        let router = self.router();
        for from in prefixes(from) {
            for to in prefixes(to) {
                ip(&["-n", &router, "rule", change, "from", &from, "to", &to, action])?;
            }
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // What was never made can't be removed; the interfaces go with their namespaces.
        for node in 1..=self.nodes {
            drop(ip(&["netns", "del", &self.node_namespace(node)]));
        }
        drop(ip(&["link", "del", &format!("{}h", self.mark)]));
        drop(ip(&["netns", "del", &self.router()]));
    }
}

fn octet(node: u64) -> u8 {
    u8::try_from(node).unwrap_or(u8::MAX)
}

fn address(third: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(NETWORK[0], NETWORK[1], third, last)
}

fn backend_address(backend: usize) -> Ipv4Addr {
    address(HERE, 10 + u8::try_from(backend).unwrap_or(0))
}

/// Where a node listens.
pub(crate) fn node_at(node: u64, port: u16) -> SocketAddr {
    (address(octet(node), 2), port).into()
}

/// Where a backend listens.
pub(crate) fn backend_at(backend: usize, port: u16) -> SocketAddr {
    (backend_address(backend), port).into()
}

/// An address that a client comes from.
pub(crate) fn client_source(number: u8) -> Ipv4Addr {
    address(CLIENTS, 1 + number % 40)
}

fn prefixes(end: End) -> Vec<String> {
    match end {
        End::Node(node) => vec![format!("{}/32", address(octet(node), 2))],
        End::Backend(backend) => vec![format!("{}/32", backend_address(backend))],
        End::Clients => vec![format!("{}/32", address(HERE, 2)), format!("{}/24", address(CLIENTS, 0))],
    }
}

fn ip(arguments: &[&str]) -> Result<(), NamespaceError> {
    let output = Command::new("ip").args(arguments).output().map_err(NamespaceError::Program)?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NamespaceError::Refused { arguments: arguments.join(" "), message })
}
