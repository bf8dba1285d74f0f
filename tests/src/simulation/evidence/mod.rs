//! What promises are judged by, gathered from all nodes, shops, clients and operators of a run.

mod epochs;
mod leases;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use stickler_core::ids::{BackendId, Epoch, KeyHash, NodeId};
use stickler_core::invariants::History;
use stickler_core::lease::Footing;
use stickler_core::state::{Cause, SessionKey};

pub use leases::Overtaken;
use leases::{Ended, Routed};

use super::job_promises::JobPromises;
use super::leaving_rate::LeavingRate;
use super::new_sessions::NewSessions;
use super::pool_changes::PoolChanges;
use super::progress::Progress;
use super::refusals::{Refusals, Refused};
use super::shop_truths::ShopTruths;
use super::waiting_for_room::{Answered, WaitingForRoom};

/// All evidence of a run.
#[derive(Default)]
pub struct Evidence {
    /// Backends that come and go.
    pub pool_changes: PoolChanges,
    /// For what a node that comes back must have applied.
    pub progress: Progress,
    /// For I1, I2 and I9.
    pub history: History,
    /// What operators have asked for: the session and the epoch that they saw.
    pub moves_asked: BTreeSet<(SessionKey, Epoch)>,
    /// See `moves_asked`.
    pub unbinds_asked: BTreeSet<(SessionKey, Epoch)>,
    /// Identifiers that have become older names of a session. They end when their grace is over.
    pub renamed: BTreeSet<SessionKey>,
    /// On what footing each node was seen last.
    footings: BTreeMap<NodeId, Footing>,
    /// The last epoch that each backend has forgotten, by the state of some node.
    forgotten: BTreeMap<BackendId, Epoch>,
    /// Epochs that jobs gave when their time was over.
    forced: BTreeSet<Epoch>,
    /// Epochs that ended to make room for others.
    evicted: BTreeSet<Epoch>,
    /// On which backend each session was by which epoch.
    homes: BTreeMap<KeyHash, BTreeMap<Epoch, BackendId>>,
    /// What nodes without a lease served when the session was elsewhere already.
    overtaken: Vec<Overtaken>,
    /// Sessions that their application has ended.
    pub logouts: BTreeSet<KeyHash>,
    /// Items that a shop has put into a cart.
    pub acted: BTreeSet<u64>,
    /// When sessions were routed by which epoch, by nodes with a lease.
    routed: BTreeMap<KeyHash, BTreeMap<Epoch, Routed>>,
    /// Epochs that an operator has ended, with the receipt for it (I7).
    receipts: BTreeMap<KeyHash, Ended>,
    /// When the process of each node began that runs.
    begun: BTreeMap<NodeId, Duration>,
    /// When some node's state had a shop as one that sessions must leave.
    gone: BTreeMap<String, Vec<(Duration, Duration)>>,
    /// Requests that left for a shop from a node without a lease.
    isolated: Vec<(Duration, NodeId, String)>,
    /// Every epoch that some node has applied.
    epochs: BTreeMap<Epoch, (SessionKey, Cause)>,
    /// The first epoch of each session, and when sessions last got another one or lost theirs.
    firsts: BTreeMap<SessionKey, Epoch>,
    contested: BTreeMap<SessionKey, Duration>,
    /// Sessions that an operator has moved or ended, or wants to, with the last epoch that was seen for that.
    operated: BTreeMap<SessionKey, Epoch>,
    /// When rules that end sessions were being given: what has no record yet ends with them.
    rules: Vec<(Duration, Duration)>,
    /// Since when all is well, and was given time to settle.
    pub settled: Option<Duration>,
    /// Since when all nodes run and hold leases, if they do.
    pub all_leased: Option<Duration>,
    /// Requests of clients with Stickler's cookie that may have begun a session.
    pub new_sessions: NewSessions,
    /// What jobs were told.
    pub jobs: JobPromises,
    /// How shops really are.
    pub shops: ShopTruths,
    /// Requests that were refused since a shop is away.
    refusals: Refusals,
    /// How fast sessions leave shops that are gone.
    pub leaving: LeavingRate,
    /// Requests that wait for room at a shop.
    pub room: WaitingForRoom,
    /// How often clients have asked each node for anything.
    asked: BTreeMap<NodeId, u64>,
    /// What each backend id names.
    names: BTreeMap<BackendId, (String, SocketAddr)>,
    /// When a request of a session last left for a shop, or the session was bound or moved.
    used: BTreeMap<KeyHash, Duration>,
}

/// Observations of one shop this close together are one stretch of time.
const STRETCH: Duration = Duration::from_millis(100);

impl Evidence {
    /// Takes in that a node's state has a shop down, in maint, drained or removed.
    pub fn shop_gone(&mut self, at: Duration, shop: &str) {
        if let Some(stretches) = self.gone.get_mut(shop) {
            match stretches.last_mut() {
                Some((_, until)) if at <= *until + STRETCH => *until = at.max(*until),
                _ => stretches.push((at, at)),
            }
        } else {
            self.gone.insert(shop.to_owned(), vec![(at, at)]);
        }
    }

    /// Whether sessions had a reason to leave a shop within this time.
    #[must_use]
    pub fn was_gone(&self, shop: &str, from: Duration, to: Duration) -> bool {
        let stretches = self.gone.get(shop).map(Vec::as_slice).unwrap_or_default();
        stretches.iter().any(|(began, ended)| *began <= to && *ended >= from)
    }

    /// Takes in that a client asks a node for something; no other request has this number.
    pub fn asks(&mut self, node: NodeId) -> u64 {
        *self.asked.entry(node).or_default() += 1;
        self.asked.values().sum()
    }

    /// How often a node was asked so far.
    #[must_use]
    pub fn asked_of(&self, node: NodeId) -> u64 {
        self.asked.get(&node).copied().unwrap_or_default()
    }

    /// Takes in that a request of a session left.
    pub fn used(&mut self, at: Duration, session: KeyHash) {
        let last = self.used.entry(session).or_default();
        *last = at.max(*last);
    }

    /// When a session was last used, by the wire.
    #[must_use]
    pub fn last_used(&self, session: KeyHash) -> Option<Duration> {
        self.used.get(&session).copied()
    }

    /// Takes in that an operator gives a rule that ends sessions; [`Evidence::rule_is_given`] with this number ends that.
    pub fn gives_rule(&mut self, at: Duration) -> usize {
        self.rules.push((at, Duration::MAX));
        self.rules.len() - 1
    }

    /// Takes in that a rule has been given, or can't be in effect later than at `until` if it is not by now.
    pub fn rule_is_given(&mut self, number: usize, until: Duration) {
        self.rules[number].1 = until;
    }

    /// Whether a session without a record that began at `since` may have ended with a rule: it was given later, or
    /// took effect later.
    #[must_use]
    pub fn may_be_ruled_out(&self, since: Duration) -> bool {
        self.rules.iter().any(|(_, until)| *until >= since)
    }

    /// Takes in an answer to a client; where it has a session for sure, on which shop and by which epoch.
    ///
    /// # Errors
    /// When the request was given up too early, had no place in the queue, or waited after others that it goes before.
    pub fn had_room(&mut self, answer: &Answered<'_>, known: Option<(&str, Epoch)>) -> Result<(), String> {
        self.room.is_answered(answer.at, answer.node);
        self.room.is_in_time(answer)?;
        let Some((shop, epoch)) = known else { return Ok(()) };
        self.room.has_a_place(answer)?;
        let stays = self.session_by(epoch).is_some_and(|session| {
            !self.room.was_announced(session, answer.asked) && !self.was_gone(shop, answer.asked, answer.at)
        });
        if stays { self.room.goes_first(answer, shop) } else { Ok(()) }
    }

    /// Takes in that a request of a session which has this epoch was refused since its shop is away.
    pub fn refused(&mut self, epoch: Epoch, refused: Refused) {
        if self.session_by(epoch).is_some() {
            self.refusals.take(refused);
        }
    }

    /// What is wrong with refusals that are due by now.
    pub fn unfounded_refusal(&mut self, now: Duration) -> Option<String> {
        let mut refusals = std::mem::take(&mut self.refusals);
        let broken = refusals.broken(now, |shop, from, to| self.was_gone(shop, from, to));
        self.refusals = refusals;
        broken
    }
}
