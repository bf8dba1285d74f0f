//! A client's own record of its session, and what follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use stickler_core::ids::{Epoch, NodeId};
use stickler_core::state::MoveReason;

use super::document::idle_timeout;
use super::http::{PATIENCE, Reply};
use super::ledger::{Ledger, now};
use super::refusals::{Refused, sent_to};
use super::session::Kind;
use super::waiting_for_room::Answered;

/// How long an end that was on its way, or the report of the use that came too late, may take.
const DOUBT: Duration = Duration::from_secs(4);

/// What one client knows of one session of its own.
#[derive(Clone, Debug)]
pub struct Record {
    kind: Kind,
    /// When the last request was sent that the session's shop answered; before the first, when this record began,
    /// since a request without an answer may have begun the session.
    used: Duration,
    /// Until then the session may end although it was just used: it was overdue, and its end on its way.
    doubtful: Duration,
    home: Option<Home>,
    /// When the request was sent that showed where it is.
    shown: Duration,
    /// The highest epoch by which the session was routed, and since when that is known.
    epoch: Option<(u64, Duration)>,
    /// The first epoch that was told by the identifier that the client has.
    named: Option<u64>,
    /// Items that the shop has shown in an answer, with the time of the first such answer.
    items: BTreeMap<u64, Duration>,
}

/// Where the cart is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Home {
    shop: String,
    boot: String,
    cart: String,
}

impl Record {
    /// Of a session that no shop has answered yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            used: now(),
            doubtful: Duration::ZERO,
            home: None,
            shown: Duration::ZERO,
            epoch: None,
            named: None,
            items: BTreeMap::new(),
        }
    }

    /// Of a session that may have ended, and another one may have begun.
    #[must_use]
    pub fn in_doubt(&self) -> Self {
        Self { doubtful: now() + DOUBT, ..Self::new(self.kind) }
    }

    /// I6: an answer that gives the client an identifier says by which epoch the session is bound, and some
    /// node has applied that.
    pub fn revealed(ledger: &Ledger, who: &str, reply: &Reply) {
        if reply.cookies().next().is_none() {
            return;
        }
        if reply.header("stickler-affinity") == Some("begun") {
            // A token without a record, which proves the session by itself.
            return ledger.count("sessions begun without a record");
        }
        let epoch = reply.header("stickler-epoch").and_then(|epoch| epoch.parse().ok()).map(Epoch);
        if !epoch.is_some_and(|epoch| ledger.open().evidence.is_committed(epoch)) {
            ledger.violated(format_args!(
                "I6 RevealedMeansCommitted: {who} was told {:?} by epoch {epoch:?}, which no node has applied",
                reply.cookies().collect::<Vec<_>>()
            ));
        }
    }

    /// Takes in that a node or a shop has answered, and judges how long it has waited for room, and before whom.
    pub fn had_room(&self, ledger: &Ledger, who: &str, answer: &Answered<'_>) {
        let over = self.may_have_ended(ledger);
        // What was heard after it was sent says nothing of where it has waited.
        let known =
            self.home.as_ref().zip(self.epoch).filter(|(_, (_, since))| !over && *since <= answer.asked);
        let known = known.map(|(home, (epoch, _))| (home.shop.as_str(), Epoch(epoch)));
        let judged = ledger.open().evidence.had_room(answer, known);
        judged.unwrap_or_else(|broken| ledger.violated(format_args!("{broken} ({who})")));
    }

    /// Takes in that a node has refused the session's request for this path since the session's shop is away, or has sent its
    /// client elsewhere, to where `redirect_to` says if the client is a guest.
    pub fn refused(
        &self,
        ledger: &Ledger,
        who: &str,
        (path, asked): (&str, Duration),
        reply: &Reply,
        redirect_to: Option<&str>,
    ) {
        let wanted = redirect_to.filter(|_| self.kind == Kind::Guest).map(|to| sent_to(to, path));
        let (status, place) = (if wanted.is_some() { 302 } else { 503 }, reply.header("location"));
        if reply.status != status || place != wanted.as_deref() {
            ledger.violated(format_args!(
                "failover: {who} asked for {path}, is refused with {} {place:?}, and not {status} {wanted:?}",
                reply.status
            ));
        }
        ledger.count(if wanted.is_some() { "clients sent elsewhere" } else { "clients whose shop was away" });
        if self.kind != Kind::Guest {
            ledger
                .violated(format_args!("failover: {who} is refused, and its affinity lets it go elsewhere"));
        }
        // What was heard after it was sent says nothing of where it has been.
        let known = self.epoch.filter(|(_, since)| *since <= asked && !self.may_have_ended(ledger));
        if let Some((home, (epoch, _))) = self.home.as_ref().zip(known) {
            let (who, shop) = (who.to_owned(), home.shop.clone());
            ledger.open().evidence.refused(Epoch(epoch), Refused { who, shop, between: (asked, reply.at) });
        }
    }

    /// Whether any answer was taken in.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.home.is_some()
    }

    /// Whether any answer came by a record of the session. Until then all that there is of it may be a token.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.epoch.is_some()
    }

    /// Takes in an answer of a shop to a request that was sent at `asked`, through `node`, by the
    /// identifier of this session.
    ///
    /// The session may be elsewhere than before only if some node's state had a reason for sessions to
    /// leave the old shop, since a request of this client could first have moved it.
    /// An answer by an older epoch than one that is known may stem from a request that was sent before that
    /// was known, and from no other. On the same shop, in the same life, the cart is the same, and what was
    /// in it when the request was sent is in it.
    pub fn take(&mut self, ledger: &Ledger, who: &str, node: NodeId, asked: Duration, reply: &Reply) {
        let mut words = reply.body.split(' ');
        let (Some(shop), Some(boot), Some(cart)) = (words.next(), words.next(), words.next()) else {
            return ledger.violated(format_args!("{who} got an answer that no shop gives: {reply:?}"));
        };
        let items: Vec<u64> =
            words.next().unwrap_or_default().split(',').filter_map(|item| item.parse().ok()).collect();
        if ledger.open().evidence.may_be_isolated(node, shop, asked) {
            // A node without a lease answers known sessions by what it last knew: promised to nobody.
            return ledger.count("answers without a lease");
        }
        let epoch = reply.header("stickler-epoch").and_then(|epoch| epoch.parse().ok());
        if let (Some(epoch), Some((known, since))) = (epoch, self.epoch)
            && epoch < known
        {
            if asked > since {
                ledger.violated(format_args!(
                    "I5: {who} was answered by epoch {epoch}, after {known} was known"
                ));
            }
            return ledger.count("answers overtaken");
        }
        let found = Home { shop: shop.to_owned(), boot: boot.to_owned(), cart: cart.to_owned() };
        if self.may_have_ended(ledger) {
            ledger.count("sessions that may have ended");
            if self.is_overdue() {
                self.doubtful = now() + DOUBT;
            }
            self.items.clear();
            self.home = None;
        }
        match &self.home {
            Some(home) if home.shop == found.shop && home.boot == found.boot => {
                self.same_home(ledger, who, home, &found, asked, &items);
            }
            Some(home) if home.shop == found.shop => {
                ledger.count("carts lost to a shop's death");
                let (settled, told) = {
                    let evidence = &ledger.open().evidence;
                    (evidence.settled, evidence.shops.tell_lives())
                };
                let same = epoch.is_some() && epoch == self.epoch.map(|(known, _)| known);
                if told && same && settled.is_some_and(|settled| asked > settled) {
                    ledger.violated(format_args!(
                        "a lost session that nobody noticed: {who} is at {found:?} by the epoch of {home:?}"
                    ));
                }
            }
            Some(home) => self.moved(ledger, who, home, &found, (asked, epoch)),
            None => ledger.count("sessions"),
        }
        if self.home.as_ref().is_none_or(|home| (&home.shop, &home.boot) != (&found.shop, &found.boot)) {
            self.items.clear();
        }
        if self.home.as_ref() != Some(&found) {
            self.shown = asked;
        }
        self.home = Some(found);
        self.used = asked.max(self.used);
        if reply.cookies().next().is_some() {
            self.named = None;
        } else if let Some(epoch) = epoch {
            self.named.get_or_insert(epoch);
        }
        if let Some(epoch) = epoch.filter(|epoch| self.epoch.is_none_or(|(known, _)| known < *epoch)) {
            self.epoch = Some((epoch, now()));
        }
        for item in items {
            self.items.entry(item).or_insert_with(now);
        }
    }

    /// Whether the session may be over for a reason that this client does not see: nobody has used it for
    /// its time, or an operator has moved or ended it.
    #[must_use]
    pub fn may_have_ended(&self, ledger: &Ledger) -> bool {
        self.is_overdue()
            || now() < self.doubtful
            || self.named.is_some_and(|epoch| ledger.open().evidence.is_renamed(Epoch(epoch)))
            || match self.epoch {
                Some((epoch, _)) => ledger.open().evidence.may_be_over(Epoch(epoch)),
                // Without a record so far.
                None => self.is_known() && ledger.open().evidence.may_be_ruled_out(self.shown),
            }
    }

    /// Whether nobody has used the session for its time. The rates of clocks are trusted to a few parts in
    /// a hundred.
    fn is_overdue(&self) -> bool {
        now().saturating_sub(self.used) * 105 / 100 >= idle_timeout(self.kind)
    }

    /// The session has left a shop. Where it went from there, and why, is judged by the nodes' states.
    fn moved(
        &self,
        ledger: &Ledger,
        who: &str,
        home: &Home,
        found: &Home,
        (asked, epoch): (Duration, Option<u64>),
    ) {
        let known = Epoch(self.epoch.map_or(0, |(known, _)| known));
        let left = epoch.and_then(|epoch| ledger.open().evidence.left_for(&home.shop, known, Epoch(epoch)));
        // Whoever moved it was sent after the last request that was answered, or is one that this client gave up
        // before that.
        let from = self.used.min(asked.saturating_sub(PATIENCE));
        match left {
            Some(MoveReason::Job) => ledger.count("sessions moved by jobs"),
            Some(MoveReason::BackendBack) => ledger.count("sessions gone home"),
            _ if ledger.open().evidence.was_gone(&home.shop, from, now()) => ledger.count("sessions moved"),
            _ => ledger.violated(format_args!(
                "I4/I6: the session of {who} went from {home:?} to {found:?} for no reason"
            )),
        }
    }

    fn same_home(
        &self,
        ledger: &Ledger,
        who: &str,
        home: &Home,
        found: &Home,
        asked: Duration,
        items: &[u64],
    ) {
        ledger.count("carts checked");
        if home.cart != found.cart {
            ledger
                .violated(format_args!("I6: the session of {who} has another cart: {home:?}, now {found:?}"));
        }
        let lost: Vec<u64> = self
            .items
            .iter()
            .filter(|(item, known)| **known <= asked && !items.contains(item))
            .map(|(item, _)| *item)
            .collect();
        if !lost.is_empty() {
            ledger.violated(format_args!(
                "I4: the cart of {who} at {found:?} has lost {lost:?}, it has {items:?}"
            ));
        }
    }
}
