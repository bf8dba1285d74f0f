use std::net::SocketAddr;
use std::time::Duration;

use super::method::LONGEST_NAME;
use super::{
    DAY, HOUR, MILLISECOND, SECOND, Unique, duration_within, is_token, name, number, or_default, within,
};
use crate::document::cluster::{Affinity, Backend, ClusterDocument, Limits, Listener, Method, Pool, Sealing};
use crate::document::defaults;
use crate::document::report::{Complaint, Report, quoted};
use crate::document::values::show_size;
use crate::document::written::{self, Written};

/// Checks a whole cluster document. `None` after a problem was added.
pub(super) fn check(
    report: &Report<'_>,
    written: &written::cluster::WrittenCluster,
    source: &str,
) -> Option<ClusterDocument> {
    let limits = check_limits(report, written.limits.as_ref());
    let listeners = check_listeners(report, &written.listeners);
    let pools = check_pools(report, &written.pools);
    let affinities = super::affinity::check(report, &written.affinities);
    let routes = super::route::check(report, written);
    let sealing = check_sealing(report, written.sealing.as_ref(), affinities.as_deref().unwrap_or_default());
    Some(ClusterDocument {
        limits,
        listeners: listeners?,
        pools: pools?,
        affinities: affinities?,
        routes: routes?,
        source: source.to_owned(),
        sealing,
    })
}

fn check_limits(report: &Report<'_>, written: Option<&written::cluster::Limits>) -> Limits {
    const MAX_BINDINGS: u64 = 100_000_000;
    // From the least that an HTTP parser wants for its buffer, to what is still a head.
    const REQUEST_HEAD: (u32, u32) = (8 * 1024, 1024 * 1024);

    let mut limits = Limits {
        max_bindings: defaults::MAX_BINDINGS,
        ended_memory: defaults::ENDED_MEMORY,
        max_request_head: defaults::MAX_REQUEST_HEAD,
        debug_headers: defaults::DEBUG_HEADERS,
    };
    let Some(written) = written else { return limits };
    limits.max_bindings =
        number(report, "max_bindings", &written.max_bindings, 1..=MAX_BINDINGS, limits.max_bindings);
    // Nobody waits for a proposal as long as the shortest of these.
    duration_within(report, "ended_memory", &written.ended_memory, SECOND * 10..=HOUR);
    limits.ended_memory = or_default(&written.ended_memory, limits.ended_memory);
    let (least, most) = REQUEST_HEAD;
    let head = &written.max_request_head;
    within(report, "max_request_head", head, least.into()..=most.into(), show_size);
    if let Some(size) = head {
        limits.max_request_head = u32::try_from(*size.get_ref()).unwrap_or(most);
    }
    limits.debug_headers = or_default(&written.debug_headers, limits.debug_headers);
    limits
}

fn check_sealing(
    report: &Report<'_>,
    written: Option<&written::cluster::Sealing>,
    affinities: &[Affinity],
) -> Sealing {
    // A token that is on its way while its key is replaced must still open when it comes back.
    const SHORTEST_OVERLAP: Duration = SECOND.saturating_mul(600);
    // No session lasts longer without use, and no browser keeps a cookie longer.
    const LONGEST_OVERLAP: Duration = DAY.saturating_mul(401);

    let by_own_cookie =
        |affinity: &&Affinity| affinity.methods.iter().any(|method| matches!(method, Method::Cookie(_)));
    let idle = affinities.iter().filter(by_own_cookie).map(|affinity| affinity.idle_timeout).max();
    let mut sealing = Sealing {
        rotate_every: defaults::ROTATE_EVERY,
        overlap: idle.unwrap_or_default() + defaults::OVERLAP_BEYOND_IDLE,
    };
    let Some(written) = written else { return sealing };
    duration_within(report, "rotate_every", &written.rotate_every, HOUR..=DAY * 400);
    duration_within(report, "overlap", &written.overlap, SHORTEST_OVERLAP..=LONGEST_OVERLAP);
    sealing.rotate_every = or_default(&written.rotate_every, sealing.rotate_every);
    sealing.overlap = or_default(&written.overlap, sealing.overlap);
    sealing
}

fn check_listeners(report: &Report<'_>, written: &[written::cluster::Listener]) -> Option<Vec<Listener>> {
    let mut names = Unique::new("a listener with the name");
    let mut addresses = Unique::new("a listener with the address");
    let check = |listener: &written::cluster::Listener| {
        names.add_name(report, &listener.name);
        let name = name(report, &listener.name);
        let address = listener.address.as_ref()?;
        // Port 0 is a new port each time.
        if address.get_ref().port() != 0 {
            addresses.add(report, &address.span(), *address.get_ref(), &address.get_ref().to_string());
        }
        let trusted_proxies = super::listener::check_trusted_proxies(report, listener);
        Some(Listener {
            name: name?,
            address: *address.get_ref(),
            trusted_proxies,
            client_address: or_default(&listener.client_address, defaults::CLIENT_ADDRESS),
            proxy_protocol: or_default(&listener.proxy_protocol, defaults::PROXY_PROTOCOL),
        })
    };
    all(written.iter().map(check))
}

fn check_pools(report: &Report<'_>, written: &[written::cluster::Pool]) -> Option<Vec<Pool>> {
    let mut names = Unique::new("a pool with the name");
    let mut backends = 0;
    let check = |pool: &written::cluster::Pool| {
        names.add_name(report, &pool.name);
        let before = backends;
        backends += pool.backends.len();
        let most = written::cluster::MAX_BACKENDS;
        if before <= most && backends > most {
            report
                .add(&pool.place, Complaint::new(format!("more than {most} backends in all pools together")));
        }
        check_pool(report, pool)
    };
    all(written.iter().map(check))
}

fn check_pool(report: &Report<'_>, written: &written::cluster::Pool) -> Option<Pool> {
    const LONGEST_QUEUE: u32 = 100_000;

    let name = name(report, &written.name);
    duration_within(report, "connect_timeout", &written.connect_timeout, MILLISECOND * 10..=SECOND * 300);
    duration_within(report, "response_timeout", &written.response_timeout, MILLISECOND * 10..=HOUR * 24);
    duration_within(report, "slow_start", &written.slow_start, SECOND..=HOUR);
    let check = super::health_check::check(report, written.check.as_ref());
    let ejection = super::ejection::check(report, written.ejection.as_ref());
    duration_within(report, "queue_timeout", &written.queue_timeout, MILLISECOND * 10..=SECOND * 300);
    let max_queue = number(report, "max_queue", &written.max_queue, 0..=LONGEST_QUEUE, defaults::MAX_QUEUE);
    let budget = &written.retry_budget;
    let retry_budget = number(report, "retry_budget", budget, 0..=100, defaults::RETRY_BUDGET);

    let mut names = Unique::new("a backend of this pool with the name");
    let mut addresses = Unique::new("a backend of this pool with the address");
    let mut routes = Unique::new("a backend of this pool with the route");
    let backends = all(written.backends.iter().map(|backend| {
        names.add_name(report, &backend.name);
        if let Some(route) = &backend.route {
            routes.add(report, &route.span(), route.get_ref().clone(), &quoted(route.get_ref()));
        }
        if let Some(address) = &backend.address {
            addresses.add(report, &address.span(), *address.get_ref(), &address.get_ref().to_string());
        }
        check_backend(report, backend)
    }));
    Some(Pool {
        name: name?,
        balance: or_default(&written.balance, defaults::BALANCE),
        check,
        connect_timeout: or_default(&written.connect_timeout, defaults::CONNECT_TIMEOUT),
        response_timeout: or_default(&written.response_timeout, defaults::RESPONSE_TIMEOUT),
        backends: backends?,
        slow_start: written.slow_start.as_ref().map(|slow_start| *slow_start.get_ref()),
        ejection,
        queue_timeout: or_default(&written.queue_timeout, defaults::QUEUE_TIMEOUT),
        max_queue,
        retry: or_default(&written.retry, defaults::RETRY),
        retry_budget,
    })
}

fn check_backend(report: &Report<'_>, written: &written::cluster::Backend) -> Option<Backend> {
    const MAX_WEIGHT: u32 = 1000;

    let name = name(report, &written.name);
    if let Some(address) = &written.address {
        check_reachable(report, &address.span(), *address.get_ref());
    }
    let weight = number(report, "weight", &written.weight, 0..=MAX_WEIGHT, defaults::WEIGHT);
    if let Some(none) = written.max_sessions.as_ref().filter(|most| *most.get_ref() == 0) {
        let complaint = Complaint::new("`max_sessions` can't be 0");
        report.add(&none.span(), complaint.help("leave it out for no cap; weight = 0 gives no new sessions"));
    }
    Some(Backend {
        name: name?,
        address: *written.address.as_ref()?.get_ref(),
        weight,
        max_sessions: written.max_sessions.as_ref().map(|most| *most.get_ref()),
        route: check_backend_route(report, &written.route),
        max_requests: super::ejection::check_max_requests(report, &written.max_requests),
    })
}

/// What an application puts behind a session's identifier is short and plain.
fn check_backend_route(report: &Report<'_>, written: &Written<String>) -> Option<String> {
    let written = written.as_ref()?;
    let route = written.get_ref();
    if !is_token(route) || route.len() > LONGEST_NAME {
        let complaint = Complaint::new(format!("`route` can't be {}", quoted(route)));
        report.add(&written.span(), complaint.help("use letters, digits, \"-\" and \"_\""));
    }
    Some(route.clone())
}

/// Adds a problem when nobody can connect to an address.
pub(super) fn check_reachable(report: &Report<'_>, place: &std::ops::Range<usize>, address: SocketAddr) {
    if address.ip().is_unspecified() || address.port() == 0 {
        let complaint = Complaint::new(format!("nobody can connect to {address}"));
        report.add(place, complaint.help("write the address and port at which others reach it"));
    }
}

/// All of them, or `None` when one is missing; goes through every one in any case.
pub(super) fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}
