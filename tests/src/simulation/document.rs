//! What the simulated nodes run on: the cluster document, the node files, and who has which name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::document::node::{AdminAddress, NodeFile};
use stickler_core::ids::NodeId;

use super::pool_changes::DocumentPlan;
use super::pool_settings::PoolSettings;
use super::session::Kind;

/// The shops behind the nodes. Three of them are in the cluster document at a time.
pub const SHOPS: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];
/// Those that a name leads to, in documents that have one, and no document names.
pub const NAMED: [&str; 2] = ["web-5", "web-6"];
/// All of them.
pub fn all_shops() -> impl Iterator<Item = &'static str> {
    SHOPS.into_iter().chain(NAMED)
}

/// Where all clients are.
pub const CLIENTS: &str = "clients";
/// Where nodes accept clients.
pub const PUBLIC: u16 = 8080;
/// Where shops accept nodes.
pub const SHOP: u16 = 80;
/// Where they accept them as well, as if they had moved.
pub const OTHER_PORT: u16 = 81;

/// The most sessions of clients with the header. There are three of them, each with a new session from time to time:
/// the old ones make room.
pub const MOST_API_SESSIONS: u64 = 4;

/// How long requests of clients with the header wait for a shop that is gone.
pub const WAIT: Duration = Duration::from_secs(1);

/// How many sessions with Stickler's cookie all clients together, since they are at one address, may begin through one
/// node, at once and again in each such time.
pub const NEW_SESSIONS: (u64, Duration) = (3, Duration::from_secs(2));

const PEERS: u16 = 7600;

/// The nodes of a cluster of so many.
pub fn nodes(count: u64) -> impl DoubleEndedIterator<Item = NodeId> {
    (1..=count).map(NodeId)
}

/// A node's host name in the simulated network.
#[must_use]
pub fn host_of(node: NodeId) -> String {
    format!("node-{node}")
}

/// After how long without use a session of this kind ends.
#[must_use]
pub const fn idle_timeout(kind: Kind) -> Duration {
    match kind {
        Kind::Browser => Duration::from_secs(20),
        Kind::Own | Kind::Guest => Duration::from_secs(6),
        Kind::Api => Duration::from_secs(2),
    }
}

/// A node file for a simulated host, which binds any address and is reached at its own.
#[must_use]
pub fn node_file(node: NodeId, addresses: &BTreeMap<NodeId, IpAddr>) -> NodeFile {
    let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    NodeFile {
        id: node,
        data_directory: PathBuf::new(),
        peer_address: any(PEERS),
        admin: AdminAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PEERS + 1))),
        status_address: any(PEERS + 2),
        insecure_peers: true,
        initial_members: addresses.iter().map(|(node, ip)| (*node, SocketAddr::new(*ip, PEERS))).collect(),
        listener_addresses: BTreeMap::from([("public".to_owned(), any(PUBLIC))]),
        workers: Some(1),
        secrets_key_file: None,
        dns_servers: Vec::new(),
    }
}

/// Four affinities, one for each way of recognising a session, and a route without one; the first affinity refuses when
/// isolated. All shops are in it but one.
///
/// # Panics
/// When the text is not a valid document, which is a mistake of this function.
#[must_use]
pub fn document(
    shops: &BTreeMap<&'static str, IpAddr>,
    plan: &DocumentPlan,
    pool: &PoolSettings,
) -> ClusterDocument {
    let (of_pool, of_ejection, of_backend) = (pool.of_pool(), pool.of_ejection(), pool.of_backend());
    let (of_check, of_guests, (most, within)) = (pool.of_check(), pool.of_guests(), pool.leaving.rate());
    let within = within.as_secs();
    let (here, before) = if plan.moved { (OTHER_PORT, SHOP) } else { (SHOP, OTHER_PORT) };
    let backends: String = shops
        .iter()
        .filter(|(name, _)| SHOPS.contains(name) && **name != SHOPS[plan.absent % SHOPS.len()])
        .map(|(name, ip)| {
            format!(
                "[[pool.backend]]\nname = \"{name}\"\naddress = \"{ip}:{here}\"\nmoved_from = \"{ip}:{before}\"\n{of_backend}"
            )
        })
        .collect();
    let of_discovery = pool.of_discovery();
    let idle = |kind| idle_timeout(kind).as_secs();
    let (browser, own, api) = (idle(Kind::Browser), idle(Kind::Own), idle(Kind::Api));
    let (wait, new, period) = (WAIT.as_secs(), NEW_SESSIONS.0, NEW_SESSIONS.1.as_secs());
    let text = format!(
        r#"
version = 1
[limits]
debug_headers = true
ended_memory = "10s"
[[listener]]
name = "public"
address = "0.0.0.0:{PUBLIC}"
[[pool]]
name = "shop"
connect_timeout = "300ms"
drain_timeout = "1s"
response_timeout = "2s"
{of_pool}{of_check}{of_ejection}{of_discovery}{backends}
[[affinity]]
name = "browser"
when_isolated = "refuse"
idle_timeout = "{browser}s"
alias_grace = "2s"
when_back = "return"
[[affinity.by]]
method = "application-cookie"
name = "SHOP"
[[affinity]]
name = "own"
idle_timeout = "{own}s"
rebind_rate = "{most}/{within}s"
new_sessions_per_source = "{new}/{period}s"
[[affinity.by]]
method = "cookie"
[[affinity]]
name = "guest"
idle_timeout = "{own}s"
{of_guests}[[affinity.by]]
method = "cookie"
name = "GUEST"
record = "on-return"
return_window = "15s"
[[affinity]]
name = "api"
idle_timeout = "{api}s"
max_sessions = {MOST_API_SESSIONS}
when_full = "evict-idlest"
when_down = "wait"
wait_timeout = "{wait}s"
[[affinity.by]]
method = "header"
name = "X-Session"
[[route]]
name = "browser"
path_prefix = "/browser"
pool = "shop"
affinity = "browser"
[[route]]
name = "own"
path_prefix = "/own"
pool = "shop"
affinity = "own"
[[route]]
name = "guest"
path_prefix = "/guest"
pool = "shop"
affinity = "guest"
[[route]]
name = "api"
path_prefix = "/api"
pool = "shop"
affinity = "api"
[[route]]
name = "plain"
path_prefix = "/plain"
pool = "shop"
"#
    );
    check_cluster("simulation.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}
