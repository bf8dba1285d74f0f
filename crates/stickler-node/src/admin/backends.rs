//! Backends and pools, with what all nodes have them do.

use std::collections::BTreeMap;

use stickler_core::ids::{BackendId, NodeId, PoolId};
use stickler_core::load::{BackendLoad, ResponseTimes};
use stickler_core::rebalance::{imbalance, loads};
use stickler_core::state::{AdminState, BackendRecord, Source, Verdict, View};
use stickler_core::time::ClusterTime;
use stickler_proto::admin::{Backend, ListBackendsReply, Pool};
use stickler_proxy::request::Proxy;
use stickler_raft::Cluster;

use super::replies::{milliseconds, time};
use crate::metrics::admin_name;

/// All backends and pools, with the load of this node, or of all that answer.
pub(super) async fn list(cluster: &Cluster, proxy: &Proxy, all_nodes: bool) -> ListBackendsReply {
    let view = View::clone(&cluster.view());
    let ids: Vec<BackendId> = view.catalog.backends.keys().copied().collect();
    let by_node = if all_nodes {
        cluster.loads(&ids).await
    } else {
        let load = proxy.load();
        BTreeMap::from([(cluster.node(), ids.iter().map(|id| load.of(*id)).collect())])
    };
    let asked = cluster.members().into_iter().map(|member| member.node).filter(|_| all_nodes);
    let unheard = asked.filter(|node| !by_node.contains_key(node)).map(|node| node.0).collect();
    let heard = by_node.keys().map(|node| node.0).collect();
    let together = together(&by_node);
    let nothing = Together::default();
    let now = time(cluster);
    let described = |(id, record): (&BackendId, &BackendRecord)| {
        described(&view, now, (*id, record), together.get(id).unwrap_or(&nothing))
    };
    let mut backends: Vec<Backend> = view.catalog.backends.iter().map(described).collect();
    // Of one name, the one that leaves comes last.
    backends.sort_by_cached_key(|backend| {
        (backend.pool.clone(), backend.name.clone(), backend.leave_milliseconds.is_some())
    });
    let pools = view.catalog.pools.iter().filter_map(|id| pool(&view, *id)).collect();
    ListBackendsReply { backends, pools, heard, unheard }
}

/// One backend, whatever nodes have it do.
pub(super) fn without_load(view: &View, now: ClusterTime, backend: (BackendId, &BackendRecord)) -> Backend {
    described(view, now, backend, &Together::default())
}

/// What the nodes have one backend do, together.
#[derive(Default)]
struct Together {
    in_flight: u64,
    waiting: u64,
    ejected_by: Vec<u64>,
    times: ResponseTimes,
}

fn together(by_node: &BTreeMap<NodeId, Vec<BackendLoad>>) -> BTreeMap<BackendId, Together> {
    let mut together: BTreeMap<BackendId, Together> = BTreeMap::new();
    for (node, load) in by_node.iter().flat_map(|(node, loads)| loads.iter().map(move |load| (node, load))) {
        let all = together.entry(load.backend).or_default();
        all.in_flight += u64::from(load.in_flight);
        all.waiting += u64::from(load.waiting);
        all.times.merge(&load.response_times);
        if load.ejected {
            all.ejected_by.push(node.0);
        }
    }
    together
}

fn described(
    view: &View,
    now: ClusterTime,
    (id, record): (BackendId, &BackendRecord),
    together: &Together,
) -> Backend {
    let microseconds = |per_mille| {
        let within = together.times.within(per_mille).unwrap_or_default();
        u64::try_from(within.as_micros()).unwrap_or(u64::MAX)
    };
    Backend {
        id: id.0,
        pool: view.catalog.pool(record.pool).map(|pool| pool.name.clone()).unwrap_or_default(),
        name: record.name.clone(),
        address: record.address.to_string(),
        weight: record.weight,
        admin: admin_name(record.admin).to_owned(),
        health: health_name(record.health.verdict).to_owned(),
        sessions: view.counts.of_backend(id),
        revision: record.revision.0,
        drain_milliseconds: match record.admin {
            AdminState::Drain { deadline: Some(deadline) } => Some(milliseconds(deadline.since(now))),
            AdminState::Ready | AdminState::Maint | AdminState::Drain { deadline: None } => None,
        },
        drains_itself: record.health.drains,
        instance: record.health.instance.clone().unwrap_or_default(),
        restarts: record.health.restarts,
        lost_sessions: record.health.lost,
        in_flight: together.in_flight,
        health_milliseconds: milliseconds(now.since(record.health.since)),
        source: match record.source {
            Source::Document => "document",
            Source::Discovery => "dns",
        }
        .to_owned(),
        leave_milliseconds: record.leaving.map(|leaving| milliseconds(leaving.until.since(now))),
        waiting: together.waiting,
        ejected_by: together.ejected_by.clone(),
        responses: together.times.count(),
        median_microseconds: microseconds(500),
        tail_microseconds: microseconds(990),
    }
}

fn pool(view: &View, id: PoolId) -> Option<Pool> {
    let policy = view.catalog.pool(id)?;
    let taking = loads(view, id);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Pool {
        name: policy.name.clone(),
        balance: policy.balance.name().to_owned(),
        sessions: view.catalog.backends_of(id).map(|(id, _)| view.counts.of_backend(id)).sum(),
        backends: count(view.catalog.backends_of(id).count()),
        taking: count(taking.len()),
        imbalance_per_mille: imbalance(&taking),
    })
}

const fn health_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Up => "up",
        Verdict::Down => "down",
    }
}
