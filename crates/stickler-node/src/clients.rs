//! The workers that serve clients, and the listeners they serve: those of the cluster document, each worker
//! with a socket of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use stickler_core::ids::Revision;
use stickler_core::state::Catalog;
use stickler_proxy::request::{Proxy, Router};
use stickler_proxy::worker::{Worker, WorkerSettings};
use stickler_raft::Cluster;
use stickler_rt::{Outside, Seed, Shutdown, WorkerHandle};

use crate::claims::Claims;
use crate::readiness::Readiness;

/// Pause before an address that could not be listened at is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What every worker needs.
#[derive(Clone)]
pub(crate) struct ClientWorkers {
    pub(crate) proxy: Proxy,
    pub(crate) cluster: Cluster,
    pub(crate) outside: Outside,
    /// This node's own addresses for listeners of these names.
    pub(crate) addresses: BTreeMap<String, SocketAddr>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: Shutdown,
}

/// Starts `count` workers.
pub(crate) fn start(workers: &ClientWorkers, count: usize) -> std::io::Result<Vec<WorkerHandle>> {
    (0..count)
        .map(|number| {
            let name = format!("worker-{number}");
            let seed = workers.outside.seed.child(&name);
            let own = workers.clone();
            let main = Box::new(move || -> futures::future::LocalBoxFuture<'static, ()> {
                Box::pin(own.run(number, seed))
            });
            workers.outside.spawner.spawn_worker(&name, main)
        })
        .collect()
}

/// A listener that a worker serves.
struct Serving {
    address: SocketAddr,
    stop: Shutdown,
}

impl ClientWorkers {
    /// One worker: follows the document's listeners until the node stops.
    async fn run(self, number: usize, seed: Seed) {
        let ending = Shutdown::new();
        let router = Router::new(self.proxy.clone(), &seed, ending.clone());
        let worker = Worker::new(router, WorkerSettings::default(), &seed.child("requests"), ending);
        let mut serving: BTreeMap<String, Serving> = BTreeMap::new();
        let mut changes = self.cluster.catalog();
        let mut served = Revision(0);
        loop {
            let catalog = changes.borrow_and_update().clone();
            let revision = catalog.revision;
            let complete = revision == served || self.follow(&catalog, &worker, &mut serving, number).await;
            if complete {
                served = revision;
            }
            tokio::select! {
                biased;
                () = self.shutdown.wait() => break,
                changed = changes.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(TRY_AGAIN), if !complete => {}
            }
        }
        worker.finish().await;
    }

    /// Makes the worker's listeners those of the document; false when one could not be had.
    async fn follow(
        &self,
        catalog: &Catalog,
        worker: &Rc<Worker<Router>>,
        serving: &mut BTreeMap<String, Serving>,
        number: usize,
    ) -> bool {
        let Some(document) = catalog.document.clone() else { return true };
        let wanted: BTreeMap<&str, SocketAddr> = document
            .listeners
            .iter()
            .map(|listener| {
                let own = self.addresses.get(&listener.name).copied();
                (listener.name.as_str(), own.unwrap_or(listener.address))
            })
            .collect();
        worker.set_settings(WorkerSettings {
            max_request_head: document.limits.max_request_head as usize,
            ..WorkerSettings::default()
        });
        let is_wanted = |name: &str, current: &Serving| wanted.get(name) == Some(&current.address);
        let left: Vec<String> = serving
            .iter()
            .filter(|(name, current)| !is_wanted(name, current))
            .map(|(name, _)| name.clone())
            .collect();
        for current in left.iter().filter_map(|name| serving.remove(name)).collect::<Vec<_>>() {
            current.stop.trigger();
            self.claims.release(current.address).await;
        }
        let mut complete = true;
        for (name, address) in wanted {
            if !serving.contains_key(name) {
                complete &= self.listen(worker, serving, name, address, number).await;
            }
        }
        complete
    }

    async fn listen(
        &self,
        worker: &Rc<Worker<Router>>,
        serving: &mut BTreeMap<String, Serving>,
        name: &str,
        address: SocketAddr,
        number: usize,
    ) -> bool {
        let part = format!("listener {name}");
        match self.claims.listen(&*self.outside.network, address).await {
            Ok(listener) => {
                let stop = worker.listen(Arc::from(name), listener);
                serving.insert(name.to_owned(), Serving { address, stop });
                self.readiness.clear(&part);
                tracing::info!(listener = name, %address, worker = number, "listening");
                true
            }
            Err(error) => {
                tracing::error!(listener = name, %address, %error, "can't listen; trying again");
                self.readiness.obstruct(&part, format!("{address}: {error}"));
                false
            }
        }
    }
}
