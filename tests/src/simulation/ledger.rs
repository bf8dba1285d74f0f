//! What one run has shown so far, of all nodes, shops and clients: the trace, the evidence, and what was
//! found broken.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stickler_core::ids::{Epoch, KeyHash, NodeId};
use stickler_core::invariants::History;

/// Shared by everything in a run. Clones are the same ledger.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Contents>>);

/// See [`Ledger`].
#[derive(Default)]
pub struct Contents {
    /// What happened, line by line, in the order in which it was simulated.
    pub trace: Vec<String>,
    /// What was found broken.
    pub violations: Vec<String>,
    /// What happened how often, to see that a run was no idle one.
    pub counts: BTreeMap<&'static str, u64>,
    /// Evidence for I1, I2 and I9.
    pub history: History,
    /// When sessions were routed by which epoch, by nodes with a lease.
    routed: BTreeMap<KeyHash, BTreeMap<Epoch, Routed>>,
    /// When some node's state had a shop as one that sessions must leave.
    gone: BTreeMap<String, Vec<(Duration, Duration)>>,
    /// Requests that left for a shop from a node without a lease.
    isolated: Vec<(Duration, NodeId, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Routed {
    first: (Duration, NodeId),
    last: (Duration, NodeId),
}

/// Observations of one shop this close together are one stretch of time.
const STRETCH: Duration = Duration::from_millis(100);

/// Virtual time on the host that asks.
///
/// # Panics
/// Outside of a simulation.
#[must_use]
pub fn now() -> Duration {
    turmoil::sim_elapsed().expect("called on a simulated host")
}

impl Ledger {
    /// The contents, for a moment.
    pub fn open(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub fn note(&self, who: impl Display, what: impl Display) {
        self.note_at(now(), who, what);
    }

    /// Adds a line to the trace, from outside of a host.
    pub fn note_at(&self, at: Duration, who: impl Display, what: impl Display) {
        self.open().trace.push(format!("{:10.3} {who}: {what}", at.as_secs_f64()));
    }

    /// Says that a promise was broken.
    pub fn violated(&self, what: impl Display) {
        let mut contents = self.open();
        let last = contents.trace.last().and_then(|line| line.split_whitespace().next()).unwrap_or_default();
        let violation = format!("{what} (near {last})");
        contents.trace.push(format!("VIOLATION {violation}"));
        contents.violations.push(violation);
    }

    /// Counts.
    pub fn count(&self, what: &'static str) {
        *self.open().counts.entry(what).or_default() += 1;
    }

    /// How often it was counted.
    #[must_use]
    pub fn counted(&self, what: &str) -> u64 {
        self.open().counts.get(what).copied().unwrap_or_default()
    }
}

impl Contents {
    /// I5: takes in that a node with a lease routes a session by this epoch right now, or just sent a
    /// request by it.
    ///
    /// # Errors
    /// When another one (or the same) used a higher epoch before, or a lower one later. Hosts are
    /// simulated one after the other, so reports come in any order within a tick.
    pub fn routes(
        &mut self,
        at: Duration,
        node: NodeId,
        session: KeyHash,
        epoch: Epoch,
    ) -> Result<(), String> {
        let epochs = self.routed.entry(session).or_default();
        let seen = epochs.entry(epoch).or_insert(Routed { first: (at, node), last: (at, node) });
        if at < seen.first.0 {
            seen.first = (at, node);
        }
        if at > seen.last.0 {
            seen.last = (at, node);
        }
        for (other, routed) in epochs.iter() {
            let (early, late) =
                if *other < epoch { (routed.last, (at, node)) } else { ((at, node), routed.first) };
            if *other != epoch && early.0 > late.0 {
                return Err(format!(
                    "I5 OneOwner: session {session} was routed by epoch {} on node {} at {:?}, after epoch {} was used \
                     on node {} at {:?}, all with leases",
                    epoch.min(*other),
                    early.1,
                    early.0,
                    epoch.max(*other),
                    late.1,
                    late.0,
                ));
            }
        }
        Ok(())
    }

    /// Takes in that a node's state has a shop down or in maint.
    pub fn shop_gone(&mut self, at: Duration, shop: &str) {
        let stretches = self.gone.entry(shop.to_owned()).or_default();
        match stretches.last_mut() {
            Some((_, until)) if at <= *until + STRETCH => *until = at.max(*until),
            _ => stretches.push((at, at)),
        }
    }

    /// Whether sessions had a reason to leave a shop within this time.
    #[must_use]
    pub fn was_gone(&self, shop: &str, from: Duration, to: Duration) -> bool {
        let stretches = self.gone.get(shop).map(Vec::as_slice).unwrap_or_default();
        stretches.iter().any(|(began, ended)| *began <= to && *ended >= from)
    }

    /// Takes in that a node without a lease sent a request of a known session.
    pub fn sent_isolated(&mut self, at: Duration, node: NodeId, shop: &str) {
        self.isolated.push((at, node, shop.to_owned()));
    }

    /// Whether a response that a client got through a node may stem from such a request.
    #[must_use]
    pub fn may_be_isolated(&self, node: NodeId, shop: &str, from: Duration) -> bool {
        self.isolated
            .iter()
            .rev()
            .take_while(|(at, _, _)| *at >= from)
            .any(|(_, by, to)| *by == node && to == shop)
    }
}
