//! Names as DNS has them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::{Resolver as Hickory, TokioResolver};

use crate::network::BoxFuture;
use crate::resolver::{Family, ResolveError, Resolved, Resolver, ServiceRecord};

/// Longest wait for one server, before the next one or the next attempt.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks servers over UDP, and over TCP where an answer is too long. It keeps no answers: whoever asks knows how long one is
/// good for.
#[derive(Clone, Debug, Default)]
pub struct DnsResolver {
    servers: Vec<SocketAddr>,
}

impl DnsResolver {
    /// Asks these servers; with none, those of /etc/resolv.conf as it is at the time.
    #[must_use]
    pub fn asking(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    async fn look_up(&self, name: &str, record: RecordType) -> Result<Lookup, ResolveError> {
        let failed = |error: NetError| match error.is_nx_domain() || error.is_no_records_found() {
            true => ResolveError::NoRecords,
            false => ResolveError::Failed(error.to_string()),
        };
        // With the dot no search domain is put behind it.
        let whole = format!("{name}.");
        self.resolver().map_err(failed)?.lookup(whole, record).await.map_err(failed)
    }

    /// Made anew for each question, so that a changed configuration counts.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder(provider)?
        } else {
            let servers = self.servers.iter().map(|server| server_at(*server)).collect();
            Hickory::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), servers), provider)
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = PATIENCE;
        builder.build()
    }
}

fn server_at(address: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = server.connections.into_iter().map(at_port).collect();
    server
}

/// The records that `read` takes, as long as all of them are good for.
fn resolved<T>(lookup: &Lookup, read: impl Fn(&RData) -> Option<T>) -> Result<Resolved<T>, ResolveError> {
    let ttl = lookup.answers().iter().map(ttl_of).min().unwrap_or_default();
    let records: Vec<T> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
    if records.is_empty() { Err(ResolveError::NoRecords) } else { Ok(Resolved { records, ttl }) }
}

fn ttl_of(record: &Record) -> Duration {
    Duration::from_secs(u64::from(record.ttl))
}

impl Resolver for DnsResolver {
    fn addresses<'a>(
        &'a self,
        name: &'a str,
        family: Family,
    ) -> BoxFuture<'a, Result<Resolved<IpAddr>, ResolveError>> {
        let record = match family {
            Family::Ipv4 => RecordType::A,
            Family::Ipv6 => RecordType::AAAA,
        };
        Box::pin(async move {
            resolved(&self.look_up(name, record).await?, |data| match data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            })
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Resolved<ServiceRecord>, ResolveError>> {
        Box::pin(async move {
            resolved(&self.look_up(name, RecordType::SRV).await?, |data| match data {
                RData::SRV(service) => Some(ServiceRecord {
                    target: service.target.to_utf8().trim_end_matches('.').to_owned(),
                    port: service.port,
                    priority: service.priority,
                    weight: service.weight,
                }),
                _ => None,
            })
        })
    }
}
