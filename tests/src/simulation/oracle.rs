//! A client's own record of its session, and what follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::http::{PATIENCE, Reply};
use super::ledger::{Ledger, now};
use stickler_core::ids::NodeId;

/// What one client knows of one session of its own.
#[derive(Clone, Debug, Default)]
pub struct Record {
    home: Option<Home>,
    /// The highest epoch by which the session was routed, and since when that is known.
    epoch: Option<(u64, Duration)>,
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
    /// Whether any answer was taken in.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.home.is_some()
    }

    /// Takes in an answer of a shop to a request that was sent at `asked`, through `node`, by the
    /// identifier of this session.
    ///
    /// The session may be elsewhere than before only if some node's state had a reason for sessions to
    /// leave the old shop: at the earliest when a request that this client gave up was still on its way.
    /// An answer by an older epoch than one that is known may stem from a request that was sent before that
    /// was known, and from no other. On the same shop, in the same life, the cart is the same, and what was in it when the request was
    /// sent is in it.
    pub fn take(&mut self, ledger: &Ledger, who: &str, node: NodeId, asked: Duration, reply: &Reply) {
        let mut words = reply.body.split(' ');
        let (Some(shop), Some(boot), Some(cart)) = (words.next(), words.next(), words.next()) else {
            return ledger.violated(format!("{who} got an answer that no shop gives: {reply:?}"));
        };
        let items: Vec<u64> =
            words.next().unwrap_or_default().split(',').filter_map(|item| item.parse().ok()).collect();
        if ledger.open().may_be_isolated(node, shop, asked) {
            // A node without a lease answers known sessions by what it last knew: promised to nobody.
            return ledger.count("answers without a lease");
        }
        let epoch = reply.header("stickler-epoch").and_then(|epoch| epoch.parse().ok());
        if let (Some(epoch), Some((known, since))) = (epoch, self.epoch)
            && epoch < known
        {
            if asked > since {
                ledger.violated(format!("I5: {who} was answered by epoch {epoch}, after {known} was known"));
            }
            return ledger.count("answers overtaken");
        }
        let found = Home { shop: shop.to_owned(), boot: boot.to_owned(), cart: cart.to_owned() };
        match &self.home {
            Some(home) if home.shop == found.shop && home.boot == found.boot => {
                self.same_home(ledger, who, home, &found, asked, &items);
            }
            Some(home) if home.shop == found.shop => ledger.count("carts lost to a shop's death"),
            Some(home) => {
                let from = asked.saturating_sub(PATIENCE);
                if ledger.open().was_gone(&home.shop, from, now()) {
                    ledger.count("sessions moved");
                } else {
                    ledger.violated(format!(
                        "I4/I6: the session of {who} went from {home:?} to {found:?} for no reason"
                    ));
                }
            }
            None => ledger.count("sessions"),
        }
        if self.home.as_ref().is_none_or(|home| (&home.shop, &home.boot) != (&found.shop, &found.boot)) {
            self.items.clear();
        }
        self.home = Some(found);
        if let Some(epoch) = epoch.filter(|epoch| self.epoch.is_none_or(|(known, _)| known < *epoch)) {
            self.epoch = Some((epoch, now()));
        }
        for item in items {
            self.items.entry(item).or_insert_with(now);
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
            ledger.violated(format!("I6: the session of {who} has another cart: {home:?}, now {found:?}"));
        }
        let lost: Vec<u64> = self
            .items
            .iter()
            .filter(|(item, known)| **known <= asked && !items.contains(item))
            .map(|(item, _)| *item)
            .collect();
        if !lost.is_empty() {
            ledger
                .violated(format!("I4: the cart of {who} at {found:?} has lost {lost:?}, it has {items:?}"));
        }
    }
}
