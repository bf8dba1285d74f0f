//! A decision to send a request to a backend, and the last look at it before a byte leaves.

use std::net::SocketAddr;

use crate::deliberate::{self, Fault};
use crate::document::cluster::WhenIsolated;
use crate::ids::{BackendId, Epoch, KeyHash, LogIndex};
use crate::lease::{Footing, Standing};
use crate::state::{Located, Record, SessionKey, View};
use crate::time::ClusterTime;

/// Where a request is to go, and by what right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The backend.
    pub backend: BackendId,
    /// Its address.
    pub address: SocketAddr,
    /// The session by which it goes there; `None` for a request without one, and for the first request of
    /// a session that the backend is about to create.
    pub session: Option<Routed>,
    /// The key of a session that a token without a record proves: for the backend to know it by.
    pub unrecorded: Option<KeyHash>,
}

/// The binding by which a request goes to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The key that the client showed.
    pub asked: SessionKey,
    /// The key under which the binding stands.
    pub session: SessionKey,
    /// The binding's epoch: the fencing token.
    pub epoch: Epoch,
    /// The stable index must have reached this.
    pub usable_from: LogIndex,
    /// The replicated last use.
    pub last_use: ClusterTime,
}

impl Routed {
    pub(super) fn of(located: &Located, asked: SessionKey) -> Self {
        Self {
            asked,
            session: located.session,
            epoch: located.binding.epoch,
            usable_from: located.usable_from,
            last_use: located.binding.last_use,
        }
    }
}

/// Why a ticket is no longer good. Decide again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the decision is no longer good")]
pub struct Stale;

/// The last step before the first byte goes to the backend: by the state and the standing as they are at
/// this moment, may the request still go by this ticket (I5)?
///
/// # Errors
/// [`Stale`].
pub fn validate(
    ticket: &Ticket,
    view: &View,
    standing: &Standing,
    when_isolated: WhenIsolated,
) -> Result<(), Stale> {
    let Some(routed) = &ticket.session else { return Ok(()) };
    match standing.footing {
        Footing::Leased if deliberate::active(Fault::RouteBeforeStable) => {}
        Footing::Leased if routed.usable_from > standing.stable => return Err(Stale),
        Footing::Isolated if when_isolated == WhenIsolated::Refuse => return Err(Stale),
        Footing::CatchingUp => return Err(Stale),
        Footing::Leased | Footing::Isolated => {}
    }
    // Its memory of the session went a moment ago. Whoever sent it there all the same would have nobody notice.
    let forgotten =
        view.catalog.backends.get(&ticket.backend).is_some_and(|it| it.has_forgotten(routed.epoch));
    if forgotten && standing.footing == Footing::Leased {
        return Err(Stale);
    }
    // About to move: this node may have said already that nothing goes on by this epoch.
    if standing.footing == Footing::Leased
        && view.jobs.is_announced(routed.session, routed.epoch)
        && !deliberate::active(Fault::SendAnnounced)
    {
        return Err(Stale);
    }
    match view.table.get(&routed.session) {
        // The ticket comes from the leader's answer, and this node has yet to apply the entry. Once it has,
        // nothing there means that the epoch has ended so long ago that its end is forgotten.
        None if routed.epoch > view.epoch => Ok(()),
        None => Err(Stale),
        Some(record) if record.epoch() < routed.epoch => Ok(()),
        Some(Record::Binding(binding)) if binding.epoch == routed.epoch => Ok(()),
        // Moved on, ended, or taken over by another name.
        Some(_) => Err(Stale),
    }
}
