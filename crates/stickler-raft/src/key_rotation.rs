//! Rotates the sealing keys by age: looks at the ring, and proposes a new key while this node leads.

use std::sync::Arc;
use std::time::Duration;

use stickler_core::affinity::sealing::SealingKeyId;
use stickler_core::secrets::{SecretsError, SecretsKey};
use stickler_core::state::{Catalog, Command, RotateKey};
use stickler_rt::{Clock, Seed, Shutdown, watch};

use crate::office::Term;
use crate::proposals::LeaderLog;
use crate::published::Published;

/// Pause between two looks: rotations are days apart.
const PAUSE: Duration = Duration::from_secs(1);

/// The one task that rotates sealing keys.
pub(crate) struct KeyRotation {
    pub(crate) clock: Clock,
    pub(crate) published: Arc<Published>,
    pub(crate) term: watch::Receiver<Option<Term>>,
    pub(crate) leader_log: LeaderLog,
    pub(crate) keys: KeySource,
}

/// Why a node can't propose a sealing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The cluster has no keys yet: wait until its founding members have found each other.
    #[error("the cluster is not founded yet")]
    NotFounded,
    /// The node can't read the cluster's secrets, so it must not write any; the error says what to do.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

/// Where a node's new sealing keys come from.
#[derive(Clone)]
pub(crate) struct KeySource {
    seed: Seed,
    secrets: Option<SecretsKey>,
}

impl KeySource {
    /// Draws from the node's seed; `secrets` is the node's key for the cluster's secrets.
    pub(crate) fn new(seed: &Seed, secrets: Option<SecretsKey>) -> Self {
        Self { seed: seed.child("sealing keys"), secrets }
    }

    /// The node's key for the cluster's secrets.
    pub(crate) fn secrets(&self) -> Option<&SecretsKey> {
        self.secrets.as_ref()
    }

    /// The command that adds a key after `newest`. Ids are never used again, so each key has a name of its
    /// own under the seed, and a second command for it is the same.
    pub(crate) fn rotation(&self, catalog: &Catalog, newest: SealingKeyId) -> Result<Command, RotationError> {
        let found = catalog.found.as_ref().ok_or(RotationError::NotFounded)?;
        let seed = self.seed.child(&format!("after {newest}"));
        let (mut secret, mut nonce) = ([0; 32], [0; 24]);
        seed.child("secret").fill(&mut secret);
        seed.child("nonce").fill(&mut nonce);
        let secret = found.keep_sealing_secret(&secret, self.secrets(), nonce)?;
        Ok(Command::RotateKey(RotateKey { expected: newest, secret }))
    }
}

impl KeyRotation {
    /// Runs until `shutdown`.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            let term = self.term.borrow().clone();
            if let Some(commands) = term.and_then(|term| self.due(&term)) {
                let rotates = !commands.is_empty();
                match self.leader_log.propose(commands).await {
                    Ok((index, outcomes)) if rotates => {
                        tracing::info!(%index, ?outcomes, "a sealing key was added, since the newest was old");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a rotation was not committed; it is looked at again")
                    }
                }
            }
        }
    }

    /// What is to be proposed now: a new key, or nothing but the time, by which an old one goes. Where
    /// nobody writes, cluster time reaches the state with no other entry.
    fn due(&self, term: &Term) -> Option<Vec<Command>> {
        let now = term.cluster_time(self.clock.now());
        let view = self.published.view();
        if let Some(newest) = view.catalog.rotation_due(now) {
            // A node that can't read the cluster's secrets says so elsewhere; the next leader may be able to.
            return self.keys.rotation(&view.catalog, newest).ok().map(|command| vec![command]);
        }
        view.catalog.has_retired_keys(now, self.published.stable()).then(Vec::new)
    }
}
