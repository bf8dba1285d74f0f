//! Names as a process looks them up. One trait with one real implementation, [`DnsResolver`](crate::DnsResolver), and a
//! table for worlds without DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::network::BoxFuture;

/// Looks names up.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `name` in a family.
    fn addresses<'a>(
        &'a self,
        name: &'a str,
        family: Family,
    ) -> BoxFuture<'a, Result<Resolved<IpAddr>, ResolveError>>;

    /// The services of `name` (RFC 2782).
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Resolved<ServiceRecord>, ResolveError>>;
}

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
}

/// What a name led to; never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<T> {
    /// In no order.
    pub records: Vec<T>,
    /// How long that is good for.
    pub ttl: Duration,
}

/// One service record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// The host, without a dot at its end.
    pub target: String,
    /// Where it accepts connections there.
    pub port: u16,
    /// Lower numbers come first.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
}

/// Why a name led to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name, or a record of this kind of it, does not exist, says its server: look at the zone.
    #[error("there is no such name, or no such record of it")]
    NoRecords,
    /// No server answered as it should: look at `dns_servers` in the node file, or at /etc/resolv.conf.
    #[error("it could not be looked up: {0}")]
    Failed(String),
}

/// Names as somebody has written them down: for tests and simulations. Clones share the table.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    names: Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>,
}

/// How long an entry of a table is good for.
const TABLE_TTL: Duration = Duration::from_secs(1);

impl NameTable {
    /// Has `name` lead to these addresses from now on; to none, and it is no name.
    pub fn set(&self, name: &str, addresses: Vec<IpAddr>) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), addresses);
    }
}

impl Resolver for NameTable {
    fn addresses<'a>(
        &'a self,
        name: &'a str,
        family: Family,
    ) -> BoxFuture<'a, Result<Resolved<IpAddr>, ResolveError>> {
        let wanted = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let records: Vec<IpAddr> = names.get(name).into_iter().flatten().copied().filter(wanted).collect();
        let found = if records.is_empty() {
            Err(ResolveError::NoRecords)
        } else {
            Ok(Resolved { records, ttl: TABLE_TTL })
        };
        Box::pin(std::future::ready(found))
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Resolved<ServiceRecord>, ResolveError>> {
        Box::pin(std::future::ready(Err(ResolveError::NoRecords)))
    }
}
