use std::net::SocketAddr;
use std::time::Duration;

use super::{DAY, HOUR, SECOND, Unique, duration_within, name, number, or_default, within};
use crate::document::cluster::{Affinity, ClusterDocument, Limits, Listener, Method, Sealing};
use crate::document::defaults;
use crate::document::report::{Complaint, Report};
use crate::document::values::show_size;
use crate::document::written;

/// Checks a whole cluster document. `None` after a problem was added.
pub(super) fn check(
    report: &Report<'_>,
    written: &written::cluster::WrittenCluster,
    source: &str,
) -> Option<ClusterDocument> {
    let limits = check_limits(report, written.limits.as_ref());
    let listeners = check_listeners(report, &written.listeners);
    let pools = super::pool::check(report, &written.pools);
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
