//! What a key of the cluster document means that was left out. Nothing else knows a default. The node
//! file has none but "no": see [`NodeFile`](super::node::NodeFile).

use std::time::Duration;

use super::cluster::{
    AfterWait, Balance, ClientAddress, DnsRecord, Mode, Otherwise, RecordWhen, Retry, SameSite, Scope,
    WhenBack, WhenDown, WhenFull, WhenIsolated,
};

/// `limits.max_bindings`.
pub const MAX_BINDINGS: u64 = 1_000_000;
/// `limits.ended_memory`.
pub const ENDED_MEMORY: Duration = Duration::from_secs(30);
/// `limits.max_request_head`, in bytes: room for cookies of several kilobytes.
pub const MAX_REQUEST_HEAD: u32 = 32 * 1024;
/// `limits.debug_headers`: clients learn nothing about the inside.
pub const DEBUG_HEADERS: bool = false;

/// `sealing.rotate_every`: whoever has got hold of a key has it for a month at most.
pub const ROTATE_EVERY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// `sealing.overlap` is this much more than the longest time that a session with Stickler's cookie may be
/// idle: the key before seals until the stable index has passed the new one, and a request may be on its way.
pub const OVERLAP_BEYOND_IDLE: Duration = Duration::from_secs(10 * 60);
/// `listener.client_address`: headers are anybody's to write.
pub const CLIENT_ADDRESS: ClientAddress = ClientAddress::Connection;
/// `listener.proxy_protocol`.
pub const PROXY_PROTOCOL: bool = false;

/// `pool.balance`.
pub const BALANCE: Balance = Balance::TwoChoices;
/// `pool.connect_timeout`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// `pool.response_timeout`.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// `pool.queue_timeout`: a person waits no longer for a page.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// `pool.max_queue`: each keeps a connection and its head.
pub const MAX_QUEUE: u32 = 1000;
/// `pool.retry`: whether an application's PUT and DELETE are what they should be, only its operator knows.
pub const RETRY: Retry = Retry::Unsent;
/// `pool.retry_budget`, in percent: what a pool with room to spare bears on top of its load.
pub const RETRY_BUDGET: u8 = 20;
/// `pool.drain_timeout`: longer than people take for what they have begun.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// `pool.dns.record`.
pub const DNS_RECORD: DnsRecord = DnsRecord::A;
/// `pool.ejection.consecutive_errors`.
pub const EJECTION_ERRORS: u32 = 5;
/// `pool.ejection.time`: longer than the voters take to probe it.
pub const EJECTION_TIME: Duration = Duration::from_secs(10);
/// `pool.ejection.longest`.
pub const EJECTION_LONGEST: Duration = Duration::from_secs(5 * 60);
/// `pool.ejection.max_share`, in percent: the others have to bear it.
pub const EJECTION_SHARE: u8 = 30;
/// `pool.check.interval`.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// `pool.check.timeout`.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// `pool.check.rise`.
pub const CHECK_RISE: u32 = 2;
/// `pool.check.fall`.
pub const CHECK_FALL: u32 = 3;
/// `pool.check.expect`.
pub const CHECK_EXPECT: (u16, u16) = (200, 399);
/// `pool.backend.weight`: room to go up and down from there.
pub const WEIGHT: u32 = 100;

/// `affinity.otherwise`.
pub const OTHERWISE: Otherwise = Otherwise::Balance;
/// `affinity.idle_timeout`.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// `affinity.when_down`.
pub const WHEN_DOWN: WhenDown = WhenDown::Rebind;
/// `affinity.wait_timeout`: most applications start in less.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// `affinity.wait_then`.
pub const WAIT_THEN: AfterWait = AfterWait::Rebind;
/// `affinity.when_back`: each way costs a session what its backend held of it.
pub const WHEN_BACK: WhenBack = WhenBack::Stay;
/// `affinity.when_isolated`.
pub const WHEN_ISOLATED: WhenIsolated = WhenIsolated::ServeKnown;
/// `affinity.alias_grace`: longer than requests that left the browser with the old cookie take.
pub const ALIAS_GRACE: Duration = Duration::from_secs(10);

/// `affinity.mode`.
pub const MODE: Mode = Mode::Keep;

/// `affinity.when_full`: who has a session keeps it.
pub const WHEN_FULL: WhenFull = WhenFull::Refuse;

/// `affinity.scope`.
pub const SCOPE: Scope = Scope::Affinity;

/// `affinity.by.name` of the method "cookie".
pub const COOKIE_NAME: &str = "STICKLER";
/// `affinity.by.path` of the method "cookie".
pub const COOKIE_PATH: &str = "/";
/// `affinity.by.secure` of the method "cookie". Listeners speak plain HTTP, where browsers drop a cookie
/// with `Secure` and no session would ever stick. Behind something that ends TLS, set it to true.
pub const COOKIE_SECURE: bool = false;
/// `affinity.by.http_only` of the method "cookie": no script has a use for a sealed token.
pub const COOKIE_HTTP_ONLY: bool = true;
/// `affinity.by.same_site` of the method "cookie".
pub const COOKIE_SAME_SITE: SameSite = SameSite::Lax;
/// `affinity.by.partitioned` of the method "cookie".
pub const COOKIE_PARTITIONED: bool = false;
/// `affinity.by.on_cacheable` of the method "cookie": what all clients share belongs to none of them.
pub const COOKIE_ON_CACHEABLE: bool = false;
/// `affinity.by.record` of the method "cookie".
pub const COOKIE_RECORD: RecordWhen = RecordWhen::Always;
/// `affinity.by.return_window` of the method "cookie": between two pages, people read.
pub const COOKIE_RETURN_WINDOW: Duration = Duration::from_secs(10 * 60);
/// `affinity.by.bearer` of the method "header".
pub const BEARER: bool = false;
/// `affinity.by.header` of the method "jwt-claim".
pub const CLAIM_HEADER: &str = "Authorization";
/// `affinity.by.ipv4_prefix` of the method "source-address": each address by itself.
pub const IPV4_PREFIX: u8 = 32;
/// `affinity.by.ipv6_prefix` of the method "source-address": what one household is given; within it a
/// device changes its address every day.
pub const IPV6_PREFIX: u8 = 64;

/// `route.path_prefix`.
pub const PATH_PREFIX: &str = "/";
