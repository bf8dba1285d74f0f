//! Affinities: their settings, how many sessions each has, and which of its keys are the heaviest.

use stickler_core::document::cluster::{Affinity as Policy, Mode, WhenFull};
use stickler_core::ids::AffinityId;
use stickler_core::state::{Record, SessionKey, View, deadline};
use stickler_core::time::ClusterTime;
use stickler_proto::admin::{
    Affinity, HeavyKey, ListAffinitiesReply, ListHeaviestKeysReply, ListHeaviestKeysRequest,
};
use stickler_proxy::request::Proxy;
use stickler_raft::Cluster;
use tonic::Status;

use super::replies::{milliseconds, time};
use super::sessions::{affinity_named, backend_called};

/// The most keys in one answer.
const MOST_KEYS: u32 = 100;

/// Every affinity of the document. Walks through the table on this thread where one retires.
pub(super) fn list(cluster: &Cluster, proxy: &Proxy) -> ListAffinitiesReply {
    let view = View::clone(&cluster.view());
    let now = time(cluster);
    let one = |id: &AffinityId| Some(affinity(&view, *id, view.catalog.affinity(*id)?, proxy, now));
    ListAffinitiesReply {
        node: cluster.node().0,
        affinities: view.catalog.affinities.iter().filter_map(one).collect(),
    }
}

fn affinity(view: &View, id: AffinityId, policy: &Policy, proxy: &Proxy, now: ClusterTime) -> Affinity {
    let observed = proxy.observed().of(id);
    Affinity {
        name: policy.name.clone(),
        mode: mode_name(policy.mode).to_owned(),
        sessions: view.counts.of_affinity(id),
        max_sessions: policy.max_sessions,
        when_full: when_full_name(policy.when_full).to_owned(),
        evicted: view.counts.evicted_from(id),
        observed_requests: observed.requests,
        observed_elsewhere: observed.elsewhere,
        zero_milliseconds: (policy.mode == Mode::Retire)
            .then(|| milliseconds(last_end(view, id, policy).since(now))),
    }
}

/// When the last session of an affinity ends, if none is used any more.
fn last_end(view: &View, id: AffinityId, policy: &Policy) -> ClusterTime {
    let mut last = ClusterTime(0);
    view.table.visit(|session, record| {
        if let Record::Binding(binding) = record
            && session.affinity == id
        {
            last = last.max(deadline(binding, policy));
        }
        true
    });
    last
}

/// The heaviest keys of one affinity.
pub(super) fn heaviest(
    cluster: &Cluster,
    proxy: &Proxy,
    request: &ListHeaviestKeysRequest,
) -> Result<ListHeaviestKeysReply, Status> {
    let view = cluster.view();
    let affinity = affinity_named(&view, &request.affinity)?;
    let (heaviest, requests) = proxy.weights().heaviest(affinity, request.limit.min(MOST_KEYS) as usize);
    let keys = heaviest.into_iter().map(|heavy| {
        let located = view.locate(SessionKey { affinity, key: heavy.key });
        HeavyKey {
            key: heavy.key.to_string(),
            requests: heavy.requests,
            uncertain: heavy.uncertain,
            backend_name: located
                .and_then(|located| backend_called(&view, located.binding.backend))
                .unwrap_or_default(),
        }
    });
    Ok(ListHeaviestKeysReply { node: cluster.node().0, requests, keys: keys.collect() })
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Keep => "keep",
        Mode::Observe => "observe",
        Mode::Retire => "retire",
    }
}

const fn when_full_name(when_full: WhenFull) -> &'static str {
    match when_full {
        WhenFull::Refuse => "refuse",
        WhenFull::EvictIdlest => "evict-idlest",
        WhenFull::Hash => "hash",
    }
}
