//! The prober: one task for each backend, told at run time which there are and which to look at at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::document::cluster::HealthCheck;
use stickler_core::ids::BackendId;
use stickler_core::state::Finding;
use stickler_rt::{Network, Seed};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::check::check;
use super::streak::Streak;

/// The shortest time between two checks of one backend, and the time between those that a suspicion makes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// A backend's first check comes within this, so that many new ones are not all checked in one moment.
const FIRST_CHECK: Duration = Duration::from_millis(50);

/// Events that may wait to be read; checks wait when there are more.
const EVENTS: usize = 1024;

/// What is checked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Where the backend accepts connections.
    pub address: SocketAddr,
    /// The check of its pool.
    pub check: HealthCheck,
}

/// This node's view of a backend has changed, or it has its first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeEvent {
    /// Which backend.
    pub backend: BackendId,
    /// What it is now.
    pub finding: Finding,
}

/// Checks backends. Clones are the same prober; with the last one dropped, checking ends. Its methods are to
/// be called inside a tokio runtime, on which the checks then run.
#[derive(Clone)]
pub struct Prober {
    shared: Arc<Shared>,
}

struct Shared {
    network: Arc<dyn Network>,
    seed: Seed,
    events: mpsc::Sender<ProbeEvent>,
    tasks: Mutex<BTreeMap<BackendId, Task>>,
}

struct Task {
    target: ProbeTarget,
    suspicion: Arc<Notify>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Prober {
    /// A prober that checks nothing yet, and where its events come out.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, seed: Seed) -> (Self, mpsc::Receiver<ProbeEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let shared = Shared { network, seed, events, tasks: Mutex::default() };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    /// Checks these backends from now on, and no others. One whose address and check stay goes on as it was;
    /// any other starts anew, and is reported anew.
    pub fn set_targets(&self, targets: &BTreeMap<BackendId, ProbeTarget>) {
        let mut tasks = self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|backend, task| targets.get(backend) == Some(&task.target));
        for (backend, target) in targets {
            tasks.entry(*backend).or_insert_with(|| self.start(*backend, target.clone()));
        }
    }

    /// Checks the backend at once, and again and again with 20 ms between, until a check passes or it is
    /// reported down. Of a backend that is not a target, nothing.
    pub fn suspect(&self, backend: BackendId) {
        let tasks = self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = tasks.get(&backend) {
            task.suspicion.notify_one();
        }
    }

    fn start(&self, backend: BackendId, target: ProbeTarget) -> Task {
        let suspicion = Arc::new(Notify::new());
        let probe = Probe {
            backend,
            streak: Streak::new(target.check.rise, target.check.fall),
            target: target.clone(),
            network: Arc::clone(&self.shared.network),
            random: self.shared.seed.child(&backend.to_string()).rng(),
            suspicion: Arc::clone(&suspicion),
            events: self.shared.events.clone(),
        };
        Task { target, suspicion, handle: tokio::spawn(probe.run()) }
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

/// The task of one backend.
struct Probe {
    backend: BackendId,
    target: ProbeTarget,
    streak: Streak,
    network: Arc<dyn Network>,
    random: StdRng,
    suspicion: Arc<Notify>,
    events: mpsc::Sender<ProbeEvent>,
}

impl Probe {
    async fn run(mut self) {
        let first = FIRST_CHECK.mul_f64(self.random.random::<f64>());
        let mut suspected = self.pause(first).await;
        loop {
            let found = check(&*self.network, self.target.address, &self.target.check).await;
            let passed = found.up;
            if let Some(finding) = self.streak.observe(found) {
                tracing::info!(backend = %self.backend, address = %self.target.address, ?finding, "probe: backend changed");
                if self.events.send(ProbeEvent { backend: self.backend, finding }).await.is_err() {
                    return;
                }
            }
            suspected = suspected && !passed && !self.streak.is_reported_down();
            tokio::time::sleep(SHORTEST_PAUSE).await;
            if !suspected {
                let check = &self.target.check;
                let interval = if self.streak.is_changing() { check.fast_interval } else { check.interval };
                // A tenth to either side keeps the voters' checks of one backend apart.
                let interval = interval.mul_f64(self.random.random_range(0.9..1.1));
                suspected = self.pause(interval.saturating_sub(SHORTEST_PAUSE)).await;
            }
        }
    }

    /// Waits, or less when the backend is suspected meanwhile: then `true`.
    async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.suspicion.notified() => true,
            () = tokio::time::sleep(duration) => false,
        }
    }
}
