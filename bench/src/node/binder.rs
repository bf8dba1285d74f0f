//! Binds sessions through this node, as its data plane does.

use std::time::Duration;

use stickler_core::state::{BindOutcome, Command, Outcome};
use stickler_raft::{Cluster, Persistence};

use crate::callers::{Operation, key};
use crate::document::Places;

/// Longest wait for one bind. A change of leader shows as slow binds, not as failed ones.
const PATIENCE: Duration = Duration::from_secs(10);

/// Binds sessions, one at a time.
#[derive(Clone)]
pub struct Binder {
    cluster: Cluster,
    places: Places,
}

impl Binder {
    /// Through this node; `None` while its document is not there.
    pub fn new(cluster: &Cluster) -> Option<Self> {
        let places = Places::of(&cluster.view().catalog)?;
        Some(Self { cluster: cluster.clone(), places })
    }

    /// Binds the session of this key. Returns its backend and epoch.
    pub async fn bind(&self, key: u128) -> Result<(u64, u64), String> {
        let (seen, time) = {
            let view = self.cluster.view();
            (view.applied, view.time)
        };
        let bind = self.places.bind(key, seen, self.cluster.standing().time.max(time));
        let answer = self.cluster.propose(Command::Bind(bind), PATIENCE, Persistence::Retry).await;
        match answer.map_err(|error| error.to_string())?.outcome {
            Outcome::Bind(BindOutcome::Bound { binding, .. }) => Ok((binding.backend.0, binding.epoch.0)),
            Outcome::Bind(BindOutcome::Refused(refusal)) => Err(refusal.to_string()),
            other => Err(format!("a bind was answered by {other:?}")),
        }
    }
}

impl Operation for Binder {
    async fn perform(&mut self, number: u64) -> Result<(), String> {
        self.bind(key(number)).await.map(|_| ())
    }
}
