//! Backends and pools, by the replicated state.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use stickler_core::ids::BackendId;
use stickler_core::rebalance::{imbalance, loads};
use stickler_core::state::{BackendRecord, View};

use super::{admin_name, signed};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdminLabels {
    pool: String,
    backend: String,
    admin: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabels {
    pool: String,
    backend: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
}

/// What a backend is called in metrics: one that leaves with its id, since another one may have its name by now.
pub(super) fn label(id: BackendId, record: &BackendRecord) -> String {
    if record.leaving.is_some() { format!("{}#{id}", record.name) } else { record.name.clone() }
}

/// Adds pools and backends.
pub(super) fn add(registry: &mut Registry, view: &View) {
    let sessions = Family::<BackendLabels, Gauge>::default();
    let up = Family::<BackendLabels, Gauge>::default();
    let drains = Family::<BackendLabels, Gauge>::default();
    let restarts = Family::<BackendLabels, Counter>::default();
    let lost = Family::<BackendLabels, Counter>::default();
    let admin = Family::<AdminLabels, Gauge>::default();
    let leaving = Family::<BackendLabels, Gauge>::default();
    for (id, record) in &view.catalog.backends {
        let Some(pool) = view.catalog.pool(record.pool) else { continue };
        let labels = BackendLabels { pool: pool.name.clone(), backend: label(*id, record) };
        sessions.get_or_create(&labels).set(signed(view.counts.of_backend(*id)));
        up.get_or_create(&labels).set(i64::from(record.health.is_up()));
        drains.get_or_create(&labels).set(i64::from(record.health.drains));
        leaving.get_or_create(&labels).set(i64::from(record.leaving.is_some()));
        restarts.get_or_create(&labels).inc_by(record.health.restarts);
        lost.get_or_create(&labels).inc_by(record.health.lost);
        for name in ["ready", "drain", "maint"] {
            let labels = AdminLabels { pool: pool.name.clone(), backend: label(*id, record), admin: name };
            admin.get_or_create(&labels).set(i64::from(name == admin_name(record.admin)));
        }
    }
    registry.register("backend_leaving", "1 while a backend that was removed keeps its sessions", leaving);
    registry.register("backend_sessions", "Sessions by backend", sessions);
    registry.register("backend_up", "1 when a majority of the voters has the backend up", up);
    registry.register("backend_drains", "1 when the backend says that it wants no new sessions", drains);
    registry.register("backend_restarts", "How often the backend was started again in place", restarts);
    registry.register(
        "backend_lost_sessions",
        "Sessions that the backend had when it was started again",
        lost,
    );
    registry.register("backend_admin", "1 for the backend's admin state", admin);
    add_pools(registry, view);
}

fn add_pools(registry: &mut Registry, view: &View) {
    let imbalances = Family::<PoolLabels, Gauge<f64, AtomicU64>>::default();
    for id in &view.catalog.pools {
        if let Some(pool) = view.catalog.pool(*id) {
            let above = imbalance(&loads(view, *id));
            let labels = PoolLabels { pool: pool.name.clone() };
            imbalances.get_or_create(&labels).set(Duration::from_millis(above).as_secs_f64());
        }
    }
    let help = "How far the fullest backend that takes sessions is above its share of them: 0.5 is half as much again";
    registry.register("pool_imbalance", help, imbalances);
}
