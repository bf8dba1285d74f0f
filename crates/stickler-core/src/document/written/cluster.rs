use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Written;
use super::affinity::Affinity;
use super::discovery::Discovery;
use super::ejection::Ejection;
use super::health_check::HealthCheck;
use crate::document::cluster::{Balance, ClientAddress, Retry};
use crate::document::reader::TableReader;
use crate::document::report::Place;
use crate::document::values::{address, boolean, choice, duration, integer, network, size, text};

const MAX_LISTENERS: usize = 64;
/// Of one listener.
const MAX_TRUSTED_PROXIES: usize = 64;
const MAX_POOLS: usize = 256;
/// Of one pool here, of all pools when the document is checked.
pub(crate) const MAX_BACKENDS: usize = 4096;
const MAX_AFFINITIES: usize = 64;
const MAX_ROUTES: usize = 1024;
const MAX_SPLIT: usize = 16;

/// The cluster document as written.
pub(in crate::document) struct WrittenCluster {
    pub limits: Option<Limits>,
    pub listeners: Vec<Listener>,
    pub pools: Vec<Pool>,
    pub affinities: Vec<Affinity>,
    pub routes: Vec<Route>,
    pub sealing: Option<Sealing>,
}

/// `[limits]`
pub(in crate::document) struct Limits {
    pub max_bindings: Written<u64>,
    pub ended_memory: Written<Duration>,
    pub max_request_head: Written<u64>,
    pub debug_headers: Written<bool>,
}

/// `[sealing]`
pub(in crate::document) struct Sealing {
    pub rotate_every: Written<Duration>,
    pub overlap: Written<Duration>,
}

/// `[[listener]]`
pub(in crate::document) struct Listener {
    pub name: Written<String>,
    pub address: Written<SocketAddr>,
    pub trusted_proxies: Written<Vec<Written<IpNet>>>,
    pub client_address: Written<ClientAddress>,
    pub proxy_protocol: Written<bool>,
    /// Some of the last three stands there and could not be read.
    pub unread: bool,
}

/// `[[pool]]`
pub(in crate::document) struct Pool {
    pub place: Place,
    pub name: Written<String>,
    pub balance: Written<Balance>,
    pub connect_timeout: Written<Duration>,
    pub response_timeout: Written<Duration>,
    pub check: Option<HealthCheck>,
    pub backends: Vec<Backend>,
    pub slow_start: Written<Duration>,
    pub ejection: Option<Ejection>,
    pub queue_timeout: Written<Duration>,
    pub max_queue: Written<u64>,
    pub retry: Written<Retry>,
    pub retry_budget: Written<u64>,
    pub bounded_load: Written<u64>,
    pub drain_timeout: Written<Duration>,
    pub discovery: Option<Discovery>,
}

/// `[[pool.backend]]`
pub(in crate::document) struct Backend {
    pub name: Written<String>,
    pub address: Written<SocketAddr>,
    pub weight: Written<u64>,
    pub max_sessions: Written<u64>,
    pub route: Written<String>,
    pub max_requests: Written<u64>,
    pub moved_from: Written<SocketAddr>,
}

/// `[[route]]`
pub(in crate::document) struct Route {
    pub place: Place,
    pub name: Written<String>,
    pub host: Written<String>,
    pub path_prefix: Written<String>,
    pub pool: Written<String>,
    pub split: Vec<Split>,
    pub affinity: Written<String>,
}

/// `[[route.split]]`
pub(in crate::document) struct Split {
    pub pool: Written<String>,
    pub weight: Written<u64>,
}

impl WrittenCluster {
    pub fn read(mut table: TableReader<'_>) -> Self {
        let example = "a [[listener]] with a name and an address";
        let listeners = table.required_tables("listener", "[[listener]]", MAX_LISTENERS, example);
        let pools = table.tables("pool", "[[pool]]", MAX_POOLS);
        let affinities = table.tables("affinity", "[[affinity]]", MAX_AFFINITIES);
        let routes = table.tables("route", "[[route]]", MAX_ROUTES);
        let written = Self {
            limits: table.table("limits", "[limits]").map(Limits::read),
            listeners: listeners.into_iter().map(Listener::read).collect(),
            pools: pools.into_iter().map(Pool::read).collect(),
            affinities: affinities.into_iter().map(Affinity::read).collect(),
            routes: routes.into_iter().map(Route::read).collect(),
            sealing: table.table("sealing", "[sealing]").map(Sealing::read),
        };
        table.finish();
        written
    }
}

impl Limits {
    fn read(mut table: TableReader<'_>) -> Self {
        let limits = Self {
            max_bindings: table.optional("max_bindings", integer),
            ended_memory: table.optional("ended_memory", duration),
            max_request_head: table.optional("max_request_head", size),
            debug_headers: table.optional("debug_headers", boolean),
        };
        table.finish();
        limits
    }
}

impl Sealing {
    fn read(mut table: TableReader<'_>) -> Self {
        let sealing = Self {
            rotate_every: table.optional("rotate_every", duration),
            overlap: table.optional("overlap", duration),
        };
        table.finish();
        sealing
    }
}

impl Listener {
    fn read(mut table: TableReader<'_>) -> Self {
        let mut listener = Self {
            name: table.required("name", "\"public\"", text),
            address: table.required("address", "\"0.0.0.0:8080\"", address),
            trusted_proxies: table.list("trusted_proxies", "networks", MAX_TRUSTED_PROXIES, network),
            client_address: table.optional("client_address", choice(&CLIENT_ADDRESSES)),
            proxy_protocol: table.optional("proxy_protocol", boolean),
            unread: false,
        };
        let networks = listener.trusted_proxies.as_ref();
        let unread = [
            ("trusted_proxies", networks.is_none_or(|list| list.get_ref().iter().any(Option::is_none))),
            ("client_address", listener.client_address.is_none()),
            ("proxy_protocol", listener.proxy_protocol.is_none()),
        ];
        listener.unread = unread.into_iter().any(|(key, unread)| unread && table.has(key));
        table.finish();
        listener
    }
}

const CLIENT_ADDRESSES: [(&str, ClientAddress); 3] = [
    ("connection", ClientAddress::Connection),
    ("x-forwarded-for", ClientAddress::XForwardedFor),
    ("forwarded", ClientAddress::Forwarded),
];

impl Pool {
    fn read(mut table: TableReader<'_>) -> Self {
        let backends = table.tables("backend", "[[pool.backend]]", MAX_BACKENDS);
        let pool = Self {
            place: table.place.clone(),
            name: table.required("name", "\"shop\"", text),
            balance: table.optional("balance", choice(&BALANCES)),
            connect_timeout: table.optional("connect_timeout", duration),
            response_timeout: table.optional("response_timeout", duration),
            check: table.table("check", "[pool.check]").map(HealthCheck::read),
            backends: backends.into_iter().map(Backend::read).collect(),
            slow_start: table.optional("slow_start", duration),
            ejection: table.table("ejection", "[pool.ejection]").map(Ejection::read),
            queue_timeout: table.optional("queue_timeout", duration),
            max_queue: table.optional("max_queue", integer),
            retry: table.optional("retry", choice(&RETRIES)),
            retry_budget: table.optional("retry_budget", integer),
            bounded_load: table.optional("bounded_load", integer),
            drain_timeout: table.optional("drain_timeout", duration),
            discovery: table.table("dns", "[pool.dns]").map(Discovery::read),
        };
        table.finish();
        pool
    }
}

const BALANCES: [(&str, Balance); 4] = [
    (Balance::TwoChoices.name(), Balance::TwoChoices),
    (Balance::WeightedRoundRobin.name(), Balance::WeightedRoundRobin),
    (Balance::FewestSessions.name(), Balance::FewestSessions),
    (Balance::Rendezvous.name(), Balance::Rendezvous),
];

const RETRIES: [(&str, Retry); 2] = [("unsent", Retry::Unsent), ("idempotent", Retry::Idempotent)];

impl Backend {
    fn read(mut table: TableReader<'_>) -> Self {
        let backend = Self {
            name: table.required("name", "\"web-1\"", text),
            address: table.required("address", "\"10.0.0.11:8080\"", address),
            weight: table.optional("weight", integer),
            max_sessions: table.optional("max_sessions", integer),
            route: table.optional("route", text),
            max_requests: table.optional("max_requests", integer),
            moved_from: table.optional("moved_from", address),
        };
        table.finish();
        backend
    }
}

impl Route {
    fn read(mut table: TableReader<'_>) -> Self {
        let route = Self {
            place: table.place.clone(),
            name: table.required("name", "\"shop\"", text),
            host: table.optional("host", text),
            path_prefix: table.optional("path_prefix", text),
            pool: table.optional("pool", text),
            split: table.tables("split", "[[route.split]]", MAX_SPLIT).into_iter().map(Split::read).collect(),
            affinity: table.optional("affinity", text),
        };
        table.finish();
        route
    }
}

impl Split {
    fn read(mut table: TableReader<'_>) -> Self {
        let split = Self {
            pool: table.required("pool", "\"canary\"", text),
            weight: table.required("weight", "5", integer),
        };
        table.finish();
        split
    }
}
