//! The data plane's counters as Prometheus reads them.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use stickler_proxy::request::ProxyCounters;

/// Reads the counters whenever somebody scrapes.
#[derive(Debug)]
pub(crate) struct ProxyMetrics(Arc<ProxyCounters>);

impl ProxyMetrics {
    pub(crate) fn register(counters: Arc<ProxyCounters>, registry: &mut Registry) {
        registry.register_collector(Box::new(Self(counters)));
    }
}

impl Collector for ProxyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in self.0.read() {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
