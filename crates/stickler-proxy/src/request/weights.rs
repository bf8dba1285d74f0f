//! Counts the requests of each key, for the list of the heaviest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stickler_core::heaviest::{HeaviestKeys, Heavy};
use stickler_core::ids::AffinityId;
use stickler_core::state::SessionKey;

/// How long what is listed reaches back: one to two of these.
const PERIOD: Duration = Duration::from_secs(60);

/// How often a worker hands its counts over.
const GATHER: Duration = Duration::from_secs(1);

/// Keys that a worker counts in between. Further ones are left out: they can't all be heavy.
const COUNTED: usize = 4096;

/// The requests of a node's sessions, by key. Clones are the same.
#[derive(Clone, Default)]
pub struct Weights {
    // Taken once a second by each worker.
    keys: Arc<Mutex<HeaviestKeys>>,
}

impl Weights {
    /// Starts the task that forgets what is old; it ends with the last clone.
    pub(super) fn start() -> Self {
        let weights = Self::default();
        let keys = Arc::downgrade(&weights.keys);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                let Some(keys) = keys.upgrade() else { return };
                keys.lock().unwrap_or_else(PoisonError::into_inner).end_period();
            }
        });
        weights
    }

    /// The heaviest keys of an affinity over the last one to two minutes, the heaviest first, and the requests of all.
    #[must_use]
    pub fn heaviest(&self, affinity: AffinityId, most: usize) -> (Vec<Heavy>, u64) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).of(affinity, most)
    }
}

/// The counts of one worker since it last handed them over.
pub(super) struct WorkerWeights {
    all: Weights,
    counts: RefCell<BTreeMap<SessionKey, u64>>,
}

impl WorkerWeights {
    pub(super) fn new(all: Weights) -> Rc<Self> {
        Rc::new(Self { all, counts: RefCell::default() })
    }

    pub(super) fn count(&self, session: SessionKey) {
        let mut counts = self.counts.borrow_mut();
        if let Some(count) = counts.get_mut(&session) {
            *count += 1;
        } else if counts.len() < COUNTED {
            counts.insert(session, 1);
        }
    }

    /// Hands the counts over, again and again. Each worker runs one.
    pub(super) async fn gather(self: Rc<Self>) {
        loop {
            tokio::time::sleep(GATHER).await;
            let counts = self.counts.take();
            if counts.is_empty() {
                continue;
            }
            let mut keys = self.all.keys.lock().unwrap_or_else(PoisonError::into_inner);
            for (session, count) in counts {
                keys.count(session.affinity, session.key, count);
            }
        }
    }
}
