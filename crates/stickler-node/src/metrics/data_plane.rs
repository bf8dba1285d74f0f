//! What the data plane has counted, and what it has backends do at the moment.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use stickler_core::document::cluster::Mode;
use stickler_core::load::BackendLoad;
use stickler_proxy::request::Proxy;
use stickler_raft::Cluster;

use super::backends::label;

/// The data plane's counters, read when somebody asks.
pub(super) struct DataPlane {
    pub(super) cluster: Cluster,
    pub(super) proxy: Proxy,
}

impl fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlane").finish_non_exhaustive()
    }
}

impl Collector for DataPlane {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in self.proxy.counters().read() {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let waiting = ConstGauge::new(u64::try_from(self.proxy.waiting()).unwrap_or(u64::MAX));
        let help = "Requests that wait right now for the backend of their session to come back";
        waiting.encode(encoder.encode_descriptor(
            "waiting_requests",
            help,
            None,
            waiting.metric_type(),
        )?)?;
        self.encode_load(&mut encoder)?;
        self.encode_observed(&mut encoder)
    }
}

/// A gauge's name, help, and how it is read.
type Measure = (&'static str, &'static str, fn(&BackendLoad) -> u64);

impl DataPlane {
    /// What each backend has to do for this node.
    fn encode_load(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges: [Measure; 3] = [
            (
                "backend_in_flight",
                "Requests that this node has sent to the backend and that are not over",
                |load| u64::from(load.in_flight),
            ),
            ("backend_waiting", "Requests that wait on this node until the backend has room", |load| {
                u64::from(load.waiting)
            }),
            ("backend_ejected", "1 while this node gives the backend nothing new", |load| {
                u64::from(load.ejected)
            }),
        ];
        let catalog = &self.cluster.view().catalog;
        let load = self.proxy.load();
        for (name, help, measure) in gauges {
            let kind = ConstGauge::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (id, record) in &catalog.backends {
                let Some(pool) = catalog.pool(record.pool) else { continue };
                let backend = label(*id, record);
                let labels = [("pool", pool.name.as_str()), ("backend", backend.as_str())];
                ConstGauge::new(measure(&load.of(*id))).encode(family.encode_family(&labels)?)?;
            }
        }
        self.encode_response_times(encoder)
    }

    /// How long each backend takes.
    fn encode_response_times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time within which this share of the backend's responses came to this node, of the last minute or two";
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = encoder.encode_descriptor("backend_response_seconds", help, None, kind)?;
        let catalog = &self.cluster.view().catalog;
        let load = self.proxy.load();
        for (id, record) in &catalog.backends {
            let Some(pool) = catalog.pool(record.pool) else { continue };
            let (backend, times) = (label(*id, record), load.of(*id).response_times);
            for (share, per_mille) in [("0.5", 500), ("0.99", 990)] {
                let Some(within) = times.within(per_mille) else { continue };
                let labels = [("pool", pool.name.as_str()), ("backend", backend.as_str()), ("share", share)];
                ConstGauge::new(within.as_secs_f64()).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// What affinities that only observe have seen.
    fn encode_observed(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests of recorded sessions of affinities that observe, by whether they went elsewhere";
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor("observed_requests", help, None, kind)?;
        let catalog = &self.cluster.view().catalog;
        for id in &catalog.affinities {
            let Some(policy) = catalog.affinity(*id).filter(|policy| policy.mode == Mode::Observe) else {
                continue;
            };
            let observed = self.proxy.observed().of(*id);
            let home = observed.requests - observed.elsewhere;
            for (elsewhere, value) in [("false", home), ("true", observed.elsewhere)] {
                let labels = [("affinity", policy.name.as_str()), ("elsewhere", elsewhere)];
                ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
