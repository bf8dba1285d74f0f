use std::net::SocketAddr;

use toml::Spanned;

use super::Written;
use crate::document::reader::TableReader;
use crate::document::report::Complaint;
use crate::document::values;

/// More members than one Raft group carries well.
const MAX_MEMBERS: usize = 32;

/// More than anybody asks in turn.
const MAX_DNS_SERVERS: usize = 8;

/// The node file as written.
pub(in crate::document) struct WrittenNode {
    pub id: Written<u64>,
    pub data_directory: Written<String>,
    pub peer_address: Written<SocketAddr>,
    pub admin: Written<String>,
    pub status_address: Written<SocketAddr>,
    pub insecure_peers: Written<bool>,
    pub workers: Written<u64>,
    pub secrets_key_file: Written<String>,
    pub dns_servers: Written<Vec<Written<SocketAddr>>>,
    pub members: Vec<Member>,
    pub listener_addresses: Vec<(String, Spanned<SocketAddr>)>,
}

/// `[[member]]`
pub(in crate::document) struct Member {
    pub id: Written<u64>,
    pub address: Written<SocketAddr>,
}

impl WrittenNode {
    pub fn read(mut table: TableReader<'_>) -> Self {
        let written = Self {
            id: table.required("id", "1", values::integer),
            data_directory: table.required("data_directory", "\"/var/lib/stickler\"", values::text),
            peer_address: table.required("peer_address", "\"10.0.0.1:7600\"", values::address),
            admin: table.required("admin", "\"unix:/run/stickler/admin.sock\"", values::text),
            status_address: table.required("status_address", "\"127.0.0.1:7602\"", values::address),
            insecure_peers: table.optional("insecure_peers", values::boolean),
            workers: table.optional("workers", values::integer),
            secrets_key_file: table.optional("secrets_key_file", values::text),
            dns_servers: table.list("dns_servers", "servers", MAX_DNS_SERVERS, values::address),
            members: table
                .tables("member", "[[member]]", MAX_MEMBERS)
                .into_iter()
                .map(Member::read)
                .collect(),
            listener_addresses: read_listener_addresses(&mut table),
        };
        table.finish();
        written
    }
}

impl Member {
    fn read(mut table: TableReader<'_>) -> Self {
        let member = Self {
            id: table.required("id", "1", values::integer),
            address: table.required("address", "\"10.0.0.1:7600\"", values::address),
        };
        table.finish();
        member
    }
}

/// The keys are the names of listeners, which only the cluster document knows.
fn read_listener_addresses(table: &mut TableReader<'_>) -> Vec<(String, Spanned<SocketAddr>)> {
    let Some(table) = table.table("listener_addresses", "[listener_addresses]") else { return Vec::new() };
    let mut addresses = Vec::new();
    for (name, value) in table.entries() {
        match values::address(value.get_ref()) {
            Ok(address) => addresses.push((name.to_owned(), Spanned::new(value.span(), address))),
            Err(Complaint { message, suggestion }) => {
                let message = format!("the address of a listener {message}");
                table.report.add(&value.span(), Complaint { message, suggestion });
            }
        }
    }
    addresses
}
