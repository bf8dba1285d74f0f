//! What this node counts and measures, as Prometheus reads it.

mod backends;
mod data_plane;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeGaugeValue, EncodeLabelSet};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use stickler_core::lease::Footing;
use stickler_core::state::{AdminState, View};
use stickler_proxy::request::Proxy;
use stickler_raft::{Cluster, ConsensusStatus};

use crate::readiness::Readiness;
use data_plane::DataPlane;

/// The prefix of every metric's name.
const PREFIX: &str = "stickler";

/// Longest wait for what consensus says of itself; a scrape goes on without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the parts of a node register what they count. Clones are the same registry.
#[derive(Clone)]
pub struct MetricsRegistry {
    registry: Arc<Mutex<Registry>>,
}

impl MetricsRegistry {
    /// A registry with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix(PREFIX))) }
    }

    /// Lets a part register its counters. Names have no prefix of their own: `stickler_` is put in front.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry());
    }

    /// Lets every scrape read what the data plane has counted.
    pub fn observe(&self, cluster: Cluster, proxy: Proxy) {
        self.register(|registry| registry.register_collector(Box::new(DataPlane { cluster, proxy })));
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MetricsRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MetricsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsRegistry").finish_non_exhaustive()
    }
}

/// All metrics of a node in Prometheus' text format: those of its parts and what its state says right now.
///
/// # Errors
/// [`fmt::Error`] when a registered metric can't be written: a fault of the part that registered it.
pub async fn render(
    cluster: &Cluster,
    readiness: &Readiness,
    parts: &MetricsRegistry,
) -> Result<String, fmt::Error> {
    // A node that takes in a large snapshot answers late; what it counts is wanted all the same.
    let status = tokio::time::timeout(PATIENCE, cluster.status()).await.ok();
    let mut now = Registry::with_prefix(PREFIX);
    add_node(&mut now, cluster, readiness);
    if let Some(status) = status {
        add_consensus(&mut now, cluster, &status);
    }
    add_state(&mut now, &cluster.view());
    let mut text = String::new();
    encode_registry(&mut text, &now)?;
    encode_registry(&mut text, &parts.registry())?;
    encode_eof(&mut text)?;
    Ok(text)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: u64,
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FootingLabels {
    footing: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AffinityLabels {
    affinity: String,
}

fn gauge<V>(registry: &mut Registry, name: &str, help: &str, value: V)
where
    V: EncodeGaugeValue + fmt::Debug + Send + Sync + 'static,
    ConstGauge<V>: prometheus_client::registry::Metric,
{
    registry.register(name, help, ConstGauge::new(value));
}

fn add_node(registry: &mut Registry, cluster: &Cluster, readiness: &Readiness) {
    let node = NodeLabels { node: cluster.node().0, version: env!("CARGO_PKG_VERSION") };
    registry.register("node", "This node", Info::new(node));
    let ready = readiness.now();
    gauge(registry, "ready", "1 when the node answers requests", i64::from(ready.answers()));
    let failed = cluster.store_failure().is_some();
    gauge(registry, "store_failed", "1 when the disk failed: nothing is acknowledged", i64::from(failed));
    let standing = cluster.standing();
    gauge(registry, "stable_index", "Stable index that this node has heard of", standing.stable.0);
    let footings = Family::<FootingLabels, Gauge>::default();
    for footing in [Footing::Leased, Footing::Isolated, Footing::CatchingUp] {
        let labels = FootingLabels { footing: footing_name(footing) };
        footings.get_or_create(&labels).set(i64::from(footing == standing.footing));
    }
    registry.register("footing", "1 for the footing on which the node stands", footings);
    let time = cluster.view().time.max(standing.time);
    gauge(registry, "cluster_time_seconds", "Cluster time as this node knows it", seconds(time.0));
}

fn add_consensus(registry: &mut Registry, cluster: &Cluster, status: &ConsensusStatus) {
    let leads = status.leader == Some(cluster.node()) && status.role == "leader";
    gauge(registry, "term", "Current term", status.term);
    gauge(registry, "is_leader", "1 when this node leads", i64::from(leads));
    let leader = status.leader.map_or(0, |leader| leader.0);
    gauge(registry, "leader", "The node that leads, as far as this one knows; 0 when none", leader);
    gauge(registry, "committed_index", "Last entry known to be committed", status.committed.0);
    let left = status.lease_left.as_secs_f64();
    gauge(registry, "lease_left_seconds", "What is left of the node's lease", left);
}

fn add_state(registry: &mut Registry, view: &View) {
    gauge(registry, "applied_index", "Last applied entry", view.applied.0);
    gauge(registry, "document_revision", "Revision of the cluster document", view.catalog.revision.0);
    let records = u64::try_from(view.table.len()).unwrap_or(u64::MAX);
    gauge(registry, "records", "Records in the binding table, aliases and ended ones included", records);
    let affinities = Family::<AffinityLabels, Gauge>::default();
    let evicted = Family::<AffinityLabels, Counter>::default();
    for id in &view.catalog.affinities {
        if let Some(affinity) = view.catalog.affinity(*id) {
            let labels = AffinityLabels { affinity: affinity.name.clone() };
            affinities.get_or_create(&labels).set(signed(view.counts.of_affinity(*id)));
            evicted.get_or_create(&labels).inc_by(view.counts.evicted_from(*id));
        }
    }
    registry.register("affinity_sessions", "Sessions by affinity", affinities);
    let help = "Sessions that ended to make room for others, by affinity, as this process applied it";
    registry.register("evicted_sessions", help, evicted);
    let conflicts = ConstCounter::new(view.catalog.conflicts.total);
    let help = "Sessions that a node which was cut off served by an epoch that had ended";
    registry.register("conflicts", help, conflicts);
    backends::add(registry, view);
}

/// The name of a footing, for people and labels.
#[must_use]
pub(crate) const fn footing_name(footing: Footing) -> &'static str {
    match footing {
        Footing::Leased => "leased",
        Footing::Isolated => "isolated",
        Footing::CatchingUp => "catching-up",
    }
}

/// The name of an admin state, for people and labels.
#[must_use]
pub(crate) const fn admin_name(admin: AdminState) -> &'static str {
    match admin {
        AdminState::Ready => "ready",
        AdminState::Drain { .. } => "drain",
        AdminState::Maint => "maint",
    }
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
