use std::net::SocketAddr;

use toml::Spanned;

use super::cluster::{all, check_reachable};
use super::method::LONGEST_NAME;
use super::{DAY, HOUR, MILLISECOND, SECOND, Unique, duration_within, is_token, name, number, or_default};
use crate::discovery::MOST_NAMES;
use crate::document::cluster::{Backend, Pool};
use crate::document::defaults;
use crate::document::report::{Complaint, Report, quoted};
use crate::document::written::{self, Written};

pub(super) fn check(report: &Report<'_>, written: &[written::cluster::Pool]) -> Option<Vec<Pool>> {
    let mut names = Unique::new("a pool with the name");
    let (mut backends, mut discovering) = (0, 0);
    let check = |pool: &written::cluster::Pool| {
        names.add_name(report, &pool.name);
        if let Some(dns) = &pool.discovery {
            discovering += 1;
            if discovering == MOST_NAMES + 1 {
                let complaint = Complaint::new(format!("more than {MOST_NAMES} pools have a `[pool.dns]`"));
                report.add(&dns.place, complaint);
            }
        }
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
    const MOST_LOAD: u32 = 1000;

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

    let bounded_load = written.bounded_load.is_some();
    let bound = number(report, "bounded_load", &written.bounded_load, 100..=MOST_LOAD, MOST_LOAD);
    duration_within(report, "drain_timeout", &written.drain_timeout, SECOND..=DAY * 30);
    let discovery = super::discovery::check(report, written.discovery.as_ref());

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
        bounded_load: bounded_load.then_some(bound),
        drain_timeout: or_default(&written.drain_timeout, defaults::DRAIN_TIMEOUT),
        discovery,
    })
}

fn check_backend(report: &Report<'_>, written: &written::cluster::Backend) -> Option<Backend> {
    let name = name(report, &written.name);
    if let Some(address) = &written.address {
        check_reachable(report, &address.span(), *address.get_ref());
    }
    Some(Backend {
        name: name?,
        address: *written.address.as_ref()?.get_ref(),
        weight: check_weight(report, &written.weight),
        max_sessions: check_max_sessions(report, &written.max_sessions),
        route: check_backend_route(report, &written.route),
        max_requests: super::ejection::check_max_requests(report, &written.max_requests),
        moved_from: check_moved_from(report, written),
    })
}

/// A backend's share of new sessions.
pub(super) fn check_weight(report: &Report<'_>, written: &Written<u64>) -> u32 {
    const MAX_WEIGHT: u32 = 1000;
    number(report, "weight", written, 0..=MAX_WEIGHT, defaults::WEIGHT)
}

/// The most sessions that a backend may have.
pub(super) fn check_max_sessions(report: &Report<'_>, written: &Written<u64>) -> Option<u64> {
    let most = written.as_ref()?;
    if *most.get_ref() == 0 {
        let complaint = Complaint::new("`max_sessions` can't be 0");
        report.add(&most.span(), complaint.help("leave it out for no cap; weight = 0 gives no new sessions"));
    }
    Some(*most.get_ref())
}

/// Where a backend was before it moved.
fn check_moved_from(report: &Report<'_>, written: &written::cluster::Backend) -> Option<SocketAddr> {
    let moved_from = written.moved_from.as_ref()?;
    let is_there = |address: &Spanned<SocketAddr>| address.get_ref() == moved_from.get_ref();
    if written.address.as_ref().is_some_and(is_there) {
        let complaint = Complaint::new("`moved_from` is where it is now");
        report
            .add(&moved_from.span(), complaint.help("write the address that it had before, or leave it out"));
    }
    Some(*moved_from.get_ref())
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
