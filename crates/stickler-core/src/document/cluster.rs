//! The cluster document in its checked, typed form: what every node agrees on. The form that a user wrote
//! is in `written`; the way from one to the other in `check`. Every limit and default that `apply` uses is
//! in here, replicated, never in the node file or the build.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use super::pool::{
    Backend, Balance, CheckAnswer, Discovery, DnsRecord, Ejection, HealthCheck, Pool, Retry,
};

/// Listeners, pools, affinities and routes, checked: names are unique and every reference resolves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDocument {
    /// Ceilings on what strangers and operators can make grow.
    pub limits: Limits,
    /// Where every node accepts clients.
    pub listeners: Vec<Listener>,
    /// Named sets of backends.
    pub pools: Vec<Pool>,
    /// How sessions are recognised and kept.
    pub affinities: Vec<Affinity>,
    /// Which requests go where; the most specific match wins (see `routes`).
    pub routes: Vec<Route>,
    /// The text that the user applied, kept so that `stickler` can show and diff it.
    pub source: String,
    /// How the keys of Stickler's cookie rotate.
    pub sealing: Sealing,
}

/// Ceilings that `apply` enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most bindings (aliases included) that the cluster holds. A bind beyond is refused.
    pub max_bindings: u64,
    /// How long `apply` remembers that a key's epoch has ended, so that a late retry of an older bind is
    /// refused. Also the longest life of a proposal: it must be longer than any caller waits.
    pub ended_memory: Duration,
    /// The largest request head, in bytes, that a listener reads before it answers 431.
    pub max_request_head: u32,
    /// Show which node, backend and epoch served a request in response headers, for people who debug.
    pub debug_headers: bool,
}

/// How the keys of Stickler's cookie rotate. Both are of cluster time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// Age of the newest key at which the leader adds another one.
    pub rotate_every: Duration,
    /// How long a key still opens tokens after a newer one was added. A client that does not come back within
    /// it is a new one.
    pub overlap: Duration,
}

/// One address at which every node accepts clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Unique among listeners. A node file may give this name another address on its node.
    pub name: String,
    /// The address, unless the node file overrides it. Port 0 is a new port at each start.
    pub address: SocketAddr,
    /// Networks of the proxies in front of it, which are believed when they say for whom they speak. Empty:
    /// nobody is.
    pub trusted_proxies: Vec<IpNet>,
    /// Where the address of a request's client is found.
    pub client_address: ClientAddress,
    /// Connections begin with a header of the PROXY protocol, version 1 or 2, and come from trusted proxies.
    pub proxy_protocol: bool,
}

/// Where the address of a request's client is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAddress {
    /// It is the other end of the connection, or who the connection's PROXY header names.
    Connection,
    /// `X-Forwarded-For`, read from its end as far as trusted proxies wrote it.
    XForwardedFor,
    /// `Forwarded` (RFC 7239), read in the same way.
    Forwarded,
}

/// A named policy: how a session is recognised, how long it lasts, what happens when its backend is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// Unique among affinities.
    pub name: String,
    /// How to recognise a session, in order of preference; never empty.
    pub methods: Vec<Method>,
    /// What to do with a request in which no method finds an identifier and none can make one.
    pub otherwise: Otherwise,
    /// A session without use for this long ends.
    pub idle_timeout: Duration,
    /// A session this old ends, used or not; `None` is never.
    pub max_age: Option<Duration>,
    /// The most sessions of this affinity; `None` is no cap of its own.
    pub max_sessions: Option<u64>,
    /// What happens to a session's request when its backend is gone.
    pub when_down: WhenDown,
    /// What a node without a lease does with known sessions.
    pub when_isolated: WhenIsolated,
    /// How long the old identifier of a session lives on after the application changed it.
    pub alias_grace: Duration,
    /// Whether requests go by its sessions.
    pub mode: Mode,
    /// Whether routes to other pools share its sessions.
    pub scope: Scope,
    /// Requests that need no session: they neither begin one nor go by one.
    pub ignore: Vec<PathPattern>,
    /// A response with this header ends the session by which its request went.
    pub end_header: Option<String>,
    /// What becomes of a new session for which there is no room.
    pub when_full: WhenFull,
    /// How many sessions one client's address may begin on each node; `None` is no limit.
    pub new_sessions_per_source: Option<Rate>,
    /// What happens to a session that had to leave its backend once that is up again.
    pub when_back: WhenBack,
    /// How many sessions in how long leave a backend that is gone without waiting for a request; `None`: each moves with
    /// its next request.
    pub rebind_rate: Option<Rate>,
    /// The body of a response that says that the session's backend is away, HTML; `None`: a line of text.
    pub unavailable_page: Option<String>,
}

/// What becomes of a new session for which there is no room, in its affinity or in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenFull {
    /// Its request is answered with 503.
    Refuse,
    /// It takes the place of its affinity's idlest session, which ends.
    EvictIdlest,
    /// Its request goes without a session, to the backend that a hash of its identifier or address gives.
    Hash,
}

/// So many at once, and as many again in each period after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// How many, at least 1.
    pub most: u32,
    /// In how long.
    pub period: Duration,
}

/// What an affinity does with its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Requests go by their sessions.
    Keep,
    /// Sessions are recognised and recorded, and requests go without them: how many would have gone elsewhere
    /// is counted.
    Observe,
    /// Sessions that are bound are kept, and none is bound any more.
    Retire,
}

/// Within what an identifier names one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Everywhere: all routes of the affinity lead to the same pools.
    Affinity,
    /// In the pools of one route: the same identifier is another session where other pools are.
    Pool,
}

/// Paths that an affinity ignores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathPattern {
    /// Whole segments from the path's beginning, in the form that `routes::matching_form` gives.
    Prefix(String),
    /// What a path ends with, as in `*.css`; compared without regard to case.
    Suffix(String),
}

/// One way to recognise a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// A cookie that Stickler makes: a sealed token.
    Cookie(CookieAttributes),
    /// The application's own cookie, learned from the backend's response.
    ApplicationCookie {
        /// The cookie's name; compared case-sensitively (RFC 6265).
        name: String,
        /// The same identifier may stand in the path of a request under this name (`;jsessionid=…`), as
        /// applications write it for clients without cookies.
        path_parameter: Option<String>,
        /// The character behind which the identifier names its backend (`JSESSIONID=….web-1`): a session that is
        /// not known yet begins there.
        route_separator: Option<char>,
    },
    /// The value of a request header.
    Header {
        /// The header's name; compared without regard to case.
        name: String,
        /// Take what stands behind the scheme `Bearer`, and nothing else.
        bearer: bool,
        /// A regular expression: its first group, or else all of its match, is the identifier.
        pattern: Option<String>,
        /// A response header in which the application gives the client what it will send.
        learn_from_response: Option<String>,
    },
    /// The client's address, cut to a prefix.
    SourceAddress {
        /// Bits of an IPv4 address that count, 1 to 32.
        ipv4_prefix: u8,
        /// Bits of an IPv6 address that count, 1 to 128.
        ipv6_prefix: u8,
    },
    /// A parameter of the request's query.
    Query {
        /// The parameter's name, decoded; compared case-sensitively.
        name: String,
    },
    /// A claim of a JSON Web Token behind the scheme `Bearer`; its signature is not checked.
    JwtClaim {
        /// The header that has the token; compared without regard to case.
        header: String,
        /// The claim's name; compared case-sensitively.
        claim: String,
    },
}

/// How Stickler's cookie is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieAttributes {
    /// Name of the cookie.
    pub name: String,
    /// `Path` attribute.
    pub path: String,
    /// `Domain` attribute; `None` leaves it out, so that the cookie stays with the host.
    pub domain: Option<String>,
    /// `Secure` attribute.
    pub secure: bool,
    /// `HttpOnly` attribute.
    pub http_only: bool,
    /// `SameSite` attribute.
    pub same_site: SameSite,
    /// `Max-Age` attribute; `None` leaves it out: a cookie of the browser session.
    pub max_age: Option<Duration>,
    /// `Partitioned` attribute.
    pub partitioned: bool,
    /// Set it on responses that shared caches may keep, too, and make those private.
    pub on_cacheable: bool,
    /// When its session is bound.
    pub record: RecordWhen,
    /// How long a token without a record can bring its session back to the backend that it names.
    pub return_window: Duration,
}

/// When the session of Stickler's cookie is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordWhen {
    /// With the first response, which waits for the commit.
    Always,
    /// When the client shows its token for the first time: one that never comes back costs no record.
    OnReturn,
}

/// The `SameSite` attribute of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SameSite {
    /// Sent with top-level navigations from other sites.
    Lax,
    /// Sent with requests of the same site alone.
    Strict,
    /// Sent always; browsers want `Secure` with it.
    None,
}

/// What to do with a request that carries no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Otherwise {
    /// Choose a backend by the pool's algorithm, without a session.
    Balance,
    /// Choose by rendezvous hash of the source address, without a session.
    Hash,
    /// Answer 403.
    Reject,
}

/// What happens to a session's request when its backend is down, in maint, or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenDown {
    /// Move the session to another backend, by a committed rebind.
    Rebind,
    /// Answer 503 until the backend is back.
    Reject,
    /// Answer 302 with this address until the backend is back: see [`redirect`](crate::redirect).
    Redirect(String),
    /// Hold requests until the backend is back, for so long since it went.
    Wait {
        /// How long, by cluster time.
        timeout: Duration,
        /// What happens after that.
        then: AfterWait,
    },
}

/// What happens when a backend does not come back in the time that its affinity waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterWait {
    /// As [`WhenDown::Rebind`].
    Rebind,
    /// As [`WhenDown::Reject`].
    Reject,
}

/// What happens to a session that had to leave its backend once that is up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenBack {
    /// It stays where it is.
    Stay,
    /// It goes back, unless the backend has lost its memory meanwhile.
    Return,
}

/// What a node without a lease does with sessions that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenIsolated {
    /// Go on routing them by its last view.
    ServeKnown,
    /// Answer 503 with Retry-After.
    Refuse,
}

/// Which requests go to a pool, and by which affinity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Unique among routes.
    pub name: String,
    /// Which `Host` it matches.
    pub host: HostMatch,
    /// A path prefix of whole segments: `/shop` matches `/shop` and `/shop/x`, not `/shopping`. In the form
    /// that `routes::matching_form` gives: no slash at its end, unless it is `/`.
    pub path_prefix: String,
    /// Where it leads; never empty. Several are a split: a new session draws one by weight and stays on it.
    pub pools: Vec<WeightedPool>,
    /// Index into `ClusterDocument::affinities`; `None` balances each request on its own.
    pub affinity: Option<usize>,
}

/// A pool that a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedPool {
    /// Index into `ClusterDocument::pools`.
    pub pool: usize,
    /// Its share of new sessions. 0 means none; sessions that it has stay.
    pub weight: u32,
}

/// Which `Host` a route matches. Names are lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostMatch {
    /// Every host.
    Any,
    /// This name alone.
    Exact(String),
    /// `*.suffix`: one or more labels before it. Holds the suffix with its leading dot.
    Suffix(String),
}
