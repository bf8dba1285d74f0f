//! Pools in the checked cluster document: backends, how they are checked, and how they are chosen from.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A named set of backends, with a balancing algorithm and a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Unique among pools.
    pub name: String,
    /// How a backend is chosen for a new session.
    pub balance: Balance,
    /// How backends are probed.
    pub check: HealthCheck,
    /// Longest wait for a connection to a backend.
    pub connect_timeout: Duration,
    /// Longest wait for a response head after the request was sent.
    pub response_timeout: Duration,
    /// The backends, names unique within the pool.
    pub backends: Vec<Backend>,
    /// How long a backend that has come up takes to get its whole share of new sessions; `None`: at once.
    pub slow_start: Option<Duration>,
    /// When a node gives a backend nothing new for a while; `None`: never.
    pub ejection: Option<Ejection>,
    /// Longest wait of a request for a backend that has as many as it may have.
    pub queue_timeout: Duration,
    /// The most requests of one node that wait for one backend.
    pub max_queue: u32,
    /// Which requests are tried again after an exchange failed.
    pub retry: Retry,
    /// How many of a node's requests to this pool may be tried again, in percent.
    pub retry_budget: u8,
    /// The most sessions that a backend gets, in percent of its share of those that the pool has; `None`: what the
    /// algorithm gives it.
    pub bounded_load: Option<u32>,
    /// How long a backend that was removed keeps its sessions.
    pub drain_timeout: Duration,
    /// The name under which further backends are found; `None`: there are no others.
    pub discovery: Option<Discovery>,
}

/// When a node gives a backend nothing new for a while, by what becomes of its requests: see [`ejection`](crate::ejection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    /// Errors in a row that eject it.
    pub consecutive_errors: u32,
    /// How long the first time, and how much longer each further time in a row.
    pub time: Duration,
    /// How long at most.
    pub longest: Duration,
    /// How many of the pool's backends one node may have ejected at once, in percent.
    pub max_share: u8,
}

/// Which requests are tried again after an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// Those of which nothing was sent.
    Unsent,
    /// Also those of idempotent methods (RFC 9110, 9.2.2) without a body, when the backend broke off before its response.
    Idempotent,
}

/// How a backend is chosen for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Balance {
    /// Of two backends drawn by weight, the one with fewer requests in flight on this node for its weight.
    TwoChoices,
    /// Backends in turn, as often as their weight says (smooth).
    WeightedRoundRobin,
    /// The backend with the fewest bound sessions for its weight, decided in `apply` by exact counts.
    FewestSessions,
    /// The highest random weight of (key, backend): the same key goes to the same backend even without a
    /// record, and a change of the pool moves only its share.
    Rendezvous,
}

impl Balance {
    /// What the document calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TwoChoices => "two-choices",
            Self::WeightedRoundRobin => "weighted-round-robin",
            Self::FewestSessions => "fewest-sessions",
            Self::Rendezvous => "rendezvous",
        }
    }
}

/// How a backend is probed. The verdict is the cluster's: see `state::verdict`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `None`: a TCP connection is enough. `Some(path)`: GET it and look at the answer.
    pub path: Option<String>,
    /// Time between two checks of one backend by one node.
    pub interval: Duration,
    /// Longest wait for one check.
    pub timeout: Duration,
    /// Passes in a row before a node reports "up". The first check of a new backend needs one.
    pub rise: u32,
    /// Failures in a row before a node reports "down".
    pub fall: u32,
    /// Time between two checks while they contradict what was last reported, or nothing was reported yet.
    pub fast_interval: Duration,
    /// What an answer says. Of checks with a path.
    pub answer: CheckAnswer,
}

/// How the answer to a check with a path is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// The `Host` that is asked for; `None`: the backend's address.
    pub host: Option<String>,
    /// Header fields of the request, in order.
    pub headers: Vec<(String, String)>,
    /// Statuses that pass, each from and to.
    pub expect: Vec<(u16, u16)>,
    /// What the first 64 KiB of the body must contain.
    pub body: Option<String>,
    /// A status by which the backend drains itself: it keeps its sessions and takes no new ones.
    pub drain_status: Option<u16>,
    /// A header by which an answer that passes says the same.
    pub drain_header: Option<String>,
    /// The header by whose value one life of the backend is told from the next: with another one, its memory is gone.
    pub instance_header: Option<String>,
}

impl CheckAnswer {
    /// Of a check that looks at the status alone, and takes these.
    #[must_use]
    pub fn by_status(from: u16, to: u16) -> Self {
        Self {
            host: None,
            headers: Vec::new(),
            expect: vec![(from, to)],
            body: None,
            drain_status: None,
            drain_header: None,
            instance_header: None,
        }
    }
}

/// One origin address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Unique within its pool. With the address it makes the backend: a name with a new address is a new
    /// backend with a new id.
    pub name: String,
    /// Where it accepts connections.
    pub address: SocketAddr,
    /// Its share of new sessions. 0 means none (like drain).
    pub weight: u32,
    /// The most sessions that may be bound to it; `None` is no cap.
    pub max_sessions: Option<u64>,
    /// What the application puts into its identifiers to name this backend; `None`: its name.
    pub route: Option<String>,
    /// The most requests that each node has in flight to it; `None` is no limit.
    pub max_requests: Option<u32>,
    /// Where it was before: what it is now is the same backend, with its id and its sessions.
    pub moved_from: Option<SocketAddr>,
}

/// A name that leads to backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// The name, without a dot at its end.
    pub name: String,
    /// What is asked for.
    pub record: DnsRecord,
    /// The port of backends that an address alone stands for.
    pub port: u16,
    /// The share of new sessions of such a backend; others have what their records say.
    pub weight: u32,
    /// The most sessions that each of them may have; `None` is no cap.
    pub max_sessions: Option<u64>,
    /// The most requests that each node has in flight to each of them; `None` is no limit.
    pub max_requests: Option<u32>,
}

/// What a name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsRecord {
    /// IPv4 addresses (RFC 1035).
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
    /// Hosts with ports and weights (RFC 2782).
    Srv,
}
