//! Rotates the sealing keys by age: looks at the ring, and proposes a new key while this node leads.

use std::sync::Arc;
use std::time::Duration;

use stickler_core::affinity::sealing::SealingKeyId;
use stickler_core::state::{Command, RotateKey};
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
    pub(crate) seed: Seed,
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
            return Some(vec![rotation(&self.seed, newest)]);
        }
        view.catalog.has_retired_keys(now, self.published.stable()).then(Vec::new)
    }
}

/// The command that adds a key after `newest`. Ids are never used again, so each key has a name of its own
/// under the seed.
pub(crate) fn rotation(seed: &Seed, newest: SealingKeyId) -> Command {
    let mut secret = [0; 32];
    seed.child("sealing keys").child(&format!("after {newest}")).fill(&mut secret);
    Command::RotateKey(RotateKey { expected: newest, secret })
}
