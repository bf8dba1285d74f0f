//! What a fault works on: the cluster, shared with the other faults, and the history.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex as PlainMutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_proto::admin::StatusReply;
use stickler_rt::Shutdown;
use tokio::sync::Mutex;

use crate::history::event::{Effect, Event, FaultEvent, Phase};
use crate::history::recorder::Recorder;
use crate::rig::{NODES, Rig, RigError};

/// Longest time from healing until all nodes are ready again: more is a failure.
pub(crate) const RECOVERY: Duration = Duration::from_secs(60);

/// Pause between two looks at the nodes.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(crate) struct Field {
    /// The cluster. Held for single steps only, never while something is waited for.
    pub rig: Mutex<Rig>,
    /// Where everything is written.
    pub recorder: Recorder,
    /// No fault begins after this.
    pub stop: Shutdown,
    /// The backends' names.
    pub backends: Vec<String>,
    numbers: AtomicU32,
    /// Nodes that may end by themselves.
    may_end: PlainMutex<[bool; NODES]>,
    failures: Arc<PlainMutex<Vec<String>>>,
}

/// A fault that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    number: u32,
    name: String,
    detail: String,
}

impl Field {
    /// A cluster in which nothing is broken yet.
    pub(crate) fn new(rig: Rig, recorder: Recorder, stop: Shutdown) -> Self {
        Self {
            backends: rig.backend_names(),
            rig: Mutex::new(rig),
            recorder,
            stop,
            numbers: AtomicU32::new(0),
            may_end: PlainMutex::default(),
            failures: Arc::default(),
        }
    }

    /// What went wrong that no history shows: nodes that ended by themselves, or were never ready again.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes such a thing.
    pub(super) fn fail(&self, what: String) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// From now on this node may end by itself, or may not.
    pub(super) fn let_end(&self, node: usize, may: bool) {
        self.may_end.lock().unwrap_or_else(PoisonError::into_inner)[node] = may;
    }

    pub(super) fn may_end(&self, node: usize) -> bool {
        self.may_end.lock().unwrap_or_else(PoisonError::into_inner)[node]
    }

    /// Writes down that a fault begins, before it does.
    pub(super) fn begin(&self, name: &str, detail: String, effects: Vec<Effect>) -> Begun {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = Begun { number, name: name.to_owned(), detail };
        self.write(&begun, Phase::Begun, effects);
        begun
    }

    /// Writes down that no more harm is done.
    pub(super) fn healed(&self, begun: &Begun) {
        self.write(begun, Phase::Healed, Vec::new());
    }

    /// Waits until all nodes that are meant to run are ready, and writes down that the fault is over.
    pub(super) async fn recovered(&self, begun: Begun) {
        if let Err(seen) = self.until_ready(RECOVERY).await {
            self.fail(format!(
                "{}: not all nodes were ready {RECOVERY:?} after it was healed: {seen}",
                begun.name
            ));
        }
        self.write(&begun, Phase::Over, Vec::new());
    }

    /// Writes down that it is over, for what the nodes need not recover from.
    pub(super) fn over(&self, begun: &Begun) {
        self.write(begun, Phase::Over, Vec::new());
    }

    fn write(&self, begun: &Begun, phase: Phase, effects: Vec<Effect>) {
        let Begun { number, name, detail } = begun;
        let (number, name, detail, at) = (*number, name.clone(), detail.clone(), self.recorder.now());
        self.recorder.write(&Event::Fault(FaultEvent { number, name, phase, at, detail, effects }));
    }

    /// Waits for some of these milliseconds, less when the faults are to end.
    pub(super) async fn hold(&self, random: &mut StdRng, milliseconds: std::ops::Range<u64>) {
        let hold = Duration::from_millis(random.random_range(milliseconds));
        tokio::select! {
            biased;
            () = self.stop.wait() => {}
            () = tokio::time::sleep(hold) => {}
        }
    }

    /// The place of the node that leads by the highest term, as far as the nodes say; otherwise the first.
    pub(super) async fn leader(&self) -> usize {
        let admins = self.rig.lock().await.admins();
        let mut newest = (0, 0);
        for mut admin in admins {
            let asked = tokio::time::timeout(Duration::from_millis(500), admin.status()).await;
            if let Ok(Ok(status)) = asked
                && status.leader != 0
            {
                newest = newest.max((status.term, status.leader));
            }
        }
        usize::try_from(newest.1).unwrap_or(0).saturating_sub(1).min(NODES - 1)
    }

    /// Waits until every node that is meant to run is ready, with a lease, under one leader; otherwise what was
    /// seen last.
    pub(crate) async fn until_ready(&self, patience: Duration) -> Result<(), String> {
        let deadline = self.recorder.now() + u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        loop {
            let seen = match self.statuses().await {
                Ok(statuses) if are_ready(&statuses) => return Ok(()),
                Ok(statuses) => describe(&statuses),
                Err(error) => error.to_string(),
            };
            if self.recorder.now() > deadline {
                return Err(seen);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn statuses(&self) -> Result<Vec<StatusReply>, RigError> {
        let admins = self.rig.lock().await.admins_meant_to_run();
        let mut statuses = Vec::new();
        for mut admin in admins {
            statuses.push(admin.status().await?);
        }
        Ok(statuses)
    }
}

fn are_ready(statuses: &[StatusReply]) -> bool {
    let Some(first) = statuses.first() else { return false };
    statuses.iter().all(|status| {
        status.ready
            && status.footing == "leased"
            && status.leader != 0
            && (status.leader, status.term) == (first.leader, first.term)
    })
}

fn describe(statuses: &[StatusReply]) -> String {
    let of_each = statuses.iter().map(|status| {
        format!(
            "node {}: {} of term {}, leader {}, {}, {}",
            status.node, status.role, status.term, status.leader, status.footing, status.readiness
        )
    });
    of_each.collect::<Vec<_>>().join("; ")
}
