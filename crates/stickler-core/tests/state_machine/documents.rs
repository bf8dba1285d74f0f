use std::time::Duration;

use stickler_core::document::cluster::{
    Affinity, Backend, Balance, CheckAnswer, ClusterDocument, Discovery, DnsRecord, HealthCheck, Limits,
    Method, Mode, Otherwise, Pool, Retry, Scope, Sealing, WhenBack, WhenDown, WhenFull, WhenIsolated,
};

use crate::world::SHORTEST_MEMORY;

/// How keys rotate in all of them.
pub const ROTATE_EVERY: Duration = Duration::from_secs(9);
pub const OVERLAP: Duration = Duration::from_secs(5);

/// One of 65,536 documents; each bit of `shape` takes something away from the simplest one.
pub fn document(shape: u16) -> ClusterDocument {
    let bit = |number: u16| shape >> number & 1 == 1;
    let balance = match (bit(0), bit(1)) {
        (false, false) => Balance::TwoChoices,
        (false, true) => Balance::Rendezvous,
        (true, false) => Balance::FewestSessions,
        (true, true) => Balance::WeightedRoundRobin,
    };
    let mut shop = pool("shop", balance, 1);
    shop.backends[0].address.set_port(if bit(2) { 9 } else { 8 });
    shop.backends[0].moved_from =
        bit(10).then(|| (shop.backends[0].address.ip(), if bit(2) { 8 } else { 9 }).into());
    shop.backends[0].max_sessions = bit(3).then_some(2);
    shop.backends[1].max_sessions = bit(4).then_some(1);
    shop.backends[1].weight = if bit(5) { 0 } else { 50 };
    if bit(6) {
        shop.backends.pop();
    }
    let mut pools = vec![shop];
    if !bit(7) {
        pools.insert(usize::from(!bit(8)), pool("blog", Balance::FewestSessions, 2));
    }
    let mut affinities = vec![affinity("cart", if bit(9) { 2 } else { 8 })];
    affinities[0].max_sessions = bit(10).then_some(3);
    affinities[0].max_age = bit(11).then_some(Duration::from_secs(10));
    if bit(15) {
        affinities[0].when_full = WhenFull::EvictIdlest;
    }
    // There are no bits left: what follows goes with others that have little to do with it.
    if bit(5) {
        affinities[0].when_back = WhenBack::Return;
    }
    if !bit(11) {
        pools.iter_mut().for_each(|pool| pool.discovery = Some(discovery()));
    }
    pools.iter_mut().filter(|_| bit(3)).for_each(|pool| pool.bounded_load = Some(125));
    pools.iter_mut().filter(|_| bit(9)).for_each(|pool| pool.slow_start = Some(Duration::from_secs(3)));
    if !bit(12) {
        affinities.insert(0, affinity("user", 4));
    }
    ClusterDocument {
        limits: Limits {
            max_bindings: if bit(13) { 6 } else { 1000 },
            ended_memory: SHORTEST_MEMORY * if bit(14) { 1 } else { 3 },
            max_request_head: 1 << 14,
            debug_headers: false,
        },
        listeners: Vec::new(),
        pools,
        affinities,
        routes: Vec::new(),
        source: format!("shape {shape}"),
        sealing: Sealing { rotate_every: ROTATE_EVERY, overlap: OVERLAP },
    }
}

fn discovery() -> Discovery {
    let name = "shop.internal".to_owned();
    Discovery { name, record: DnsRecord::A, port: 8, weight: 100, max_sessions: None, max_requests: None }
}

fn pool(name: &str, balance: Balance, subnet: u8) -> Pool {
    let check = HealthCheck {
        path: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        fast_interval: Duration::from_secs(2),
        answer: CheckAnswer::by_status(200, 399),
    };
    let backend = |number: u8| Backend {
        name: format!("{name}-{number}"),
        address: ([127, 0, subnet, number], 8).into(),
        weight: 100,
        max_sessions: None,
        route: None,
        max_requests: None,
        moved_from: None,
    };
    Pool {
        name: name.to_owned(),
        balance,
        check,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(30),
        backends: (1..=3).map(backend).collect(),
        slow_start: None,
        ejection: None,
        queue_timeout: Duration::from_secs(5),
        max_queue: 1000,
        retry: Retry::Unsent,
        retry_budget: 20,
        bounded_load: None,
        drain_timeout: Duration::from_secs(3),
        discovery: None,
    }
}

fn affinity(name: &str, idle_seconds: u64) -> Affinity {
    Affinity {
        name: name.to_owned(),
        methods: vec![Method::Header {
            name: name.to_owned(),
            bearer: false,
            pattern: None,
            learn_from_response: None,
        }],
        otherwise: Otherwise::Balance,
        idle_timeout: Duration::from_secs(idle_seconds),
        max_age: None,
        max_sessions: None,
        when_down: WhenDown::Rebind,
        when_isolated: WhenIsolated::ServeKnown,
        alias_grace: Duration::from_secs(3),
        mode: Mode::Keep,
        scope: Scope::Affinity,
        ignore: Vec::new(),
        end_header: None,
        when_full: WhenFull::Refuse,
        new_sessions_per_source: None,
        when_back: WhenBack::Stay,
        rebind_rate: None,
        unavailable_page: None,
    }
}
