//! Sessions that are to leave backends which are gone, found without waiting for a request of theirs.

use crate::ids::{AffinityId, BackendId, Epoch, Revision};
use crate::lease::Standing;
use crate::routing::{leaves_at_once, lets_go};
use crate::state::{BackendRecord, Command, MoveReason, Rebind, Record, SessionKey, View};

/// A session that is to leave its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaving {
    /// The session.
    pub session: SessionKey,
    /// The epoch that is to end.
    pub epoch: Epoch,
    /// Why.
    pub reason: MoveReason,
}

impl Leaving {
    /// The command that moves it, if it still has this epoch.
    #[must_use]
    pub const fn command(self) -> Command {
        let Self { session, epoch, reason } = self;
        Command::Rebind(Rebind { session, epoch, reason, candidate: None })
    }
}

/// Up to `most` sessions of an affinity that leave their backend at once, by the view at this moment. Where its sessions
/// stay, or are waited for, none.
#[must_use]
pub fn find(view: &View, standing: &Standing, affinity: AffinityId, most: usize) -> Vec<Leaving> {
    let Some(policy) = view.catalog.affinity(affinity) else { return Vec::new() };
    let mut found = Vec::new();
    view.table.visit(|session, record| {
        if let Record::Binding(binding) = record
            && session.affinity == affinity
            && let Some(reason) = leaves_at_once(view, standing, policy, binding)
        {
            found.push(Leaving { session: *session, epoch: binding.epoch, reason });
        }
        found.len() < most
    });
    // The table yields them in no order; with one, a seed of the simulation is one run.
    found.sort_unstable();
    found
}

/// What sends sessions of an affinity away from their backends: as long as it is the same and nobody was found, nobody is.
#[must_use]
pub fn occasion(view: &View, standing: &Standing, affinity: AffinityId) -> Occasion {
    let policy = view.catalog.affinity(affinity);
    let of_backend = |(id, backend): (&BackendId, &BackendRecord)| {
        let gone = policy.and_then(|policy| lets_go(view, standing, policy, *id));
        (*id, gone, backend.health.forgotten)
    };
    (view.catalog.revision, view.catalog.backends.iter().map(of_backend).collect())
}

/// See [`occasion`].
pub type Occasion = (Revision, Vec<(BackendId, Option<MoveReason>, Epoch)>);
