use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;

use super::cluster::check_reachable;
use super::{Unique, is_name, number, or_default};
use crate::document::node::{AdminAddress, NodeFile};
use crate::document::report::{Complaint, Report, quoted};
use crate::document::values::address_text;
use crate::document::written::Written;
use crate::document::written::node::WrittenNode;
use crate::ids::NodeId;

/// Checks a whole node file. `None` after a problem was added.
pub(super) fn check(report: &Report<'_>, written: &WrittenNode) -> Option<NodeFile> {
    if let Some(none) = written.id.as_ref().filter(|id| *id.get_ref() == 0) {
        report.add(&none.span(), Complaint::new("`id` can't be 0").help("number the nodes from 1"));
    }
    let data_directory = check_path(report, "data_directory", &written.data_directory, "/var/lib/stickler");
    let secrets_key_file =
        check_path(report, "secrets_key_file", &written.secrets_key_file, "/etc/stickler/secrets.key");
    let admin = check_admin(report, &written.admin);
    check_peer_address(report, written);
    check_own_addresses(report, written, admin.as_ref());
    let initial_members = check_members(report, written);
    let workers = number(report, "workers", &written.workers, 1..=1024_u32, 1);
    let listener_addresses = check_listener_addresses(report, written);
    Some(NodeFile {
        id: NodeId(*written.id.as_ref()?.get_ref()),
        data_directory: data_directory?,
        peer_address: *written.peer_address.as_ref()?.get_ref(),
        admin: admin?,
        status_address: *written.status_address.as_ref()?.get_ref(),
        insecure_peers: or_default(&written.insecure_peers, false),
        initial_members: initial_members?,
        listener_addresses,
        workers: written.workers.as_ref().and_then(|_| usize::try_from(workers).ok()),
        secrets_key_file,
        dns_servers: check_dns_servers(report, &written.dns_servers),
    })
}

/// Each can be reached, and is there once.
fn check_dns_servers(report: &Report<'_>, written: &Written<Vec<Written<SocketAddr>>>) -> Vec<SocketAddr> {
    let mut servers = Unique::new("the server");
    let list = written.as_ref().map_or(&[][..], |list| list.get_ref());
    for server in list.iter().flatten() {
        check_reachable(report, &server.span(), *server.get_ref());
        servers.add(report, &server.span(), *server.get_ref(), &server.get_ref().to_string());
    }
    list.iter().flatten().map(|server| *server.get_ref()).collect()
}

/// A path, if one was written; `example` is one as one would write it.
fn check_path(report: &Report<'_>, key: &str, written: &Written<String>, example: &str) -> Option<PathBuf> {
    let written = written.as_ref()?;
    let path = written.get_ref();
    if path.is_empty() || path.contains('\0') {
        let complaint = Complaint::new(format!("`{key}` can't be {}", quoted(path)));
        report.add(&written.span(), complaint.help(format!("write a path, such as {}", quoted(example))));
    }
    Some(PathBuf::from(path))
}

/// Where operators connect. They are not authenticated yet, so only this machine may.
fn check_admin(report: &Report<'_>, written: &Written<String>) -> Option<AdminAddress> {
    /// What the operating system has room for in a socket's address.
    const LONGEST_PATH: usize = 107;

    let written = written.as_ref()?;
    let problem = |complaint: Complaint| {
        report.add(&written.span(), complaint);
        None
    };
    if let Some(path) = written.get_ref().strip_prefix("unix:") {
        if path.is_empty() || path.len() > LONGEST_PATH || path.contains('\0') {
            let complaint = Complaint::new(format!("`admin` is not a path for a socket: {}", quoted(path)));
            return problem(
                complaint.help(format!("write \"unix:\" and a path of at most {LONGEST_PATH} bytes")),
            );
        }
        return Some(AdminAddress::Unix(PathBuf::from(path)));
    }
    if written.get_ref().starts_with('/') {
        let complaint = Complaint::new(format!("`admin` is not an address: {}", quoted(written.get_ref())));
        return problem(complaint.help(format!("write {}", quoted(&format!("unix:{}", written.get_ref())))));
    }
    match address_text(written.get_ref()) {
        Ok(address) if address.ip().is_loopback() => Some(AdminAddress::Tcp(address)),
        Ok(address) => {
            let complaint =
                Complaint::new(format!("`admin` can't be {address}: operators are not authenticated yet"));
            let local = SocketAddr::from(([127, 0, 0, 1], address.port()));
            problem(complaint.help(format!("write \"{local}\", or \"unix:\" and a path")))
        }
        Err(Complaint { message, suggestion }) => {
            problem(Complaint { message: format!("`admin` {message}"), suggestion })
        }
    }
}

fn check_peer_address(report: &Report<'_>, written: &WrittenNode) {
    let insecure = or_default(&written.insecure_peers, false);
    let Some(address) = &written.peer_address else { return };
    if !address.get_ref().ip().is_loopback() && !insecure {
        let complaint = Complaint::new(format!(
            "`peer_address` {} is beyond loopback, and peers are not authenticated yet: whoever reaches it can change the cluster",
            address.get_ref()
        ));
        let help =
            "add insecure_peers = true where only the other nodes reach this address, or use 127.0.0.1";
        report.add(&address.span(), complaint.help(help));
    }
}

/// The addresses at which the node itself listens must differ. Port 0 is a new port each time.
fn check_own_addresses(report: &Report<'_>, written: &WrittenNode, admin: Option<&AdminAddress>) {
    let mut addresses = Unique::new("the address");
    let mut add = |place: std::ops::Range<usize>, address: SocketAddr| {
        if address.port() != 0 {
            addresses.add(report, &place, address, &address.to_string());
        }
    };
    let written_addresses = [&written.peer_address, &written.status_address].into_iter().flatten();
    for address in written_addresses.chain(written.listener_addresses.iter().map(|(_, address)| address)) {
        add(address.span(), *address.get_ref());
    }
    if let (Some(AdminAddress::Tcp(address)), Some(place)) =
        (admin, written.admin.as_ref().map(Spanned::span))
    {
        add(place, *address);
    }
}

/// The founding members. Without any, the node founds a cluster of one.
fn check_members(report: &Report<'_>, written: &WrittenNode) -> Option<BTreeMap<NodeId, SocketAddr>> {
    let mut ids = Unique::new("a member with the id");
    let mut addresses = Unique::new("a member with the address");
    let mut members = BTreeMap::new();
    for member in &written.members {
        if let Some(id) = &member.id {
            ids.add(report, &id.span(), *id.get_ref(), &id.get_ref().to_string());
            if *id.get_ref() == 0 {
                report.add(&id.span(), Complaint::new("`id` can't be 0").help("number the nodes from 1"));
            }
        }
        if let Some(address) = &member.address {
            addresses.add(report, &address.span(), *address.get_ref(), &address.get_ref().to_string());
            check_reachable(report, &address.span(), *address.get_ref());
        }
        if let (Some(id), Some(address)) = (&member.id, &member.address) {
            members.insert(NodeId(*id.get_ref()), *address.get_ref());
        }
    }
    let id = written.id.as_ref()?;
    let own_id = NodeId(*id.get_ref());
    if written.members.is_empty() {
        let address = written.peer_address.as_ref()?;
        if address.get_ref().ip().is_unspecified() {
            let complaint = Complaint::new(format!(
                "`peer_address` {} is every address of this machine, so that no other node could be told where to find it",
                address.get_ref()
            ));
            let help = format!("add a [[member]] with id = {own_id} and the address that other nodes use");
            report.add_missing(&address.span(), complaint.help(help));
        }
        members.insert(own_id, *address.get_ref());
    } else if !written
        .members
        .iter()
        .any(|member| member.id.as_ref().is_none_or(|other| other.get_ref() == id.get_ref()))
    {
        let complaint = Complaint::new(format!("no [[member]] has this node's `id` {own_id}"));
        let help = format!("add a [[member]] with id = {own_id} and the address that other nodes use");
        report.add_missing(&id.span(), complaint.help(help));
    }
    Some(members)
}

fn check_listener_addresses(report: &Report<'_>, written: &WrittenNode) -> BTreeMap<String, SocketAddr> {
    for (name, address) in written.listener_addresses.iter().filter(|(name, _)| !is_name(name)) {
        let complaint = Complaint::new(format!("{} can't be the name of a listener", quoted(name)));
        report.add(&address.span(), complaint.help("write the name that the cluster document gives it"));
    }
    written.listener_addresses.iter().map(|(name, address)| (name.clone(), *address.get_ref())).collect()
}
