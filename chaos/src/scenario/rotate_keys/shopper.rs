//! Clients with Stickler's cookie and a cart, who shop through all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use rand::rngs::StdRng;
use stickler_rt::{Outside, Shutdown};

use crate::identifier::Door;
use crate::rig::backend::{CART, ITEMS};
use crate::rig::client::Client;

/// Pause between two requests, in milliseconds.
const THINK: std::ops::Range<u64> = 20..150;
/// Requests of a session, of shoppers who don't stay.
const REQUESTS: std::ops::Range<u64> = 4..16;
/// How many in a hundred requests come from another tab, which still has the session's first token.
const OTHER_TAB: u32 = 15;

/// What shoppers saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub carts: usize,
    pub visits: usize,
    /// Tokens that were replaced by one of a newer key, with the session going on.
    pub renewed: usize,
    /// Of what went wrong with carts: each is a lost one.
    pub lost: Vec<String>,
    /// Requests that were not served.
    pub unserved: Vec<String>,
    /// Keys of the tokens that each node gave out, by the node's place.
    pub keys: BTreeMap<usize, BTreeSet<u32>>,
}

impl Seen {
    pub(super) fn join(&mut self, other: Self) {
        self.carts += other.carts;
        self.visits += other.visits;
        self.renewed += other.renewed;
        self.lost.extend(other.lost);
        self.unserved.extend(other.unserved);
        for (node, keys) in other.keys {
            self.keys.entry(node).or_default().extend(keys);
        }
    }
}

/// The key that has sealed a token: its number stands in front, in the clear.
fn key_of(token: &str) -> Option<u32> {
    let token = URL_SAFE_NO_PAD.decode(token).ok()?;
    Some(u32::from_be_bytes(token.get(1..5)?.try_into().ok()?))
}

/// A session, as its client has it.
struct Cart {
    name: String,
    backend: String,
    epoch: Option<u64>,
    items: u64,
    /// The newest token, and the first.
    token: Option<String>,
    first_token: Option<String>,
}

pub(super) struct Shopper {
    pub outside: Outside,
    pub nodes: Vec<SocketAddr>,
    pub stop: Shutdown,
    /// Tells its carts from those of anybody else.
    pub name: String,
    /// It keeps one session for as long as it shops.
    pub stays: bool,
    pub random: StdRng,
}

impl Shopper {
    pub(super) async fn shop(mut self) -> Seen {
        let mut clients: Vec<Client> =
            self.nodes.iter().map(|node| Client::new(&self.outside, *node)).collect();
        let mut seen = Seen::default();
        while !self.stop.is_triggered() {
            seen.carts += 1;
            let requests = if self.stays { u64::MAX } else { self.random.random_range(REQUESTS) };
            let mut cart = Cart {
                name: format!("{}-{}", self.name, seen.carts),
                backend: String::new(),
                epoch: None,
                items: 0,
                token: None,
                first_token: None,
            };
            for _ in 0..requests {
                let place = self.random.random_range(0..clients.len());
                let other_tab = self.random.random_ratio(OTHER_TAB, 100);
                if !visit(&mut clients[place], place, &mut cart, other_tab, &mut seen).await
                    || self.stop.is_triggered()
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(self.random.random_range(THINK))).await;
            }
        }
        seen
    }
}

/// One request; whether the session goes on.
async fn visit(client: &mut Client, place: usize, cart: &mut Cart, other_tab: bool, seen: &mut Seen) -> bool {
    let token = if other_tab { &cart.first_token } else { &cart.token };
    let mut headers = vec![(CART, cart.name.clone())];
    headers.extend(token.as_ref().map(|token| ("cookie", format!("STICKLER={token}"))));
    seen.visits += 1;
    let (answer, headers) = match client.ask(Door::Token.path(), &headers, Door::Token.cookie()).await {
        Ok((answer, headers)) if answer.is_served() => (answer, headers),
        Ok((answer, _)) => {
            seen.unserved.push(format!("{}: {} {:?}", cart.name, answer.status, answer.error));
            return false;
        }
        Err(error) => {
            seen.unserved.push(format!("{}: {error}", cart.name));
            return false;
        }
    };
    let items = headers.get(ITEMS).and_then(|items| items.to_str().ok()?.parse().ok()).unwrap_or(0);
    let node = place + 1;
    if cart.items > 0 && (answer.backend != cart.backend || items <= cart.items || answer.epoch != cart.epoch)
    {
        seen.lost.push(format!(
            "{}: {} things at {} by epoch {:?}, through node {node} {items} at {} by epoch {:?}",
            cart.name, cart.items, cart.backend, cart.epoch, answer.backend, answer.epoch
        ));
        return false;
    }
    if let Some(token) = answer.revealed {
        seen.keys.entry(place).or_default().extend(key_of(&token));
        if let Some(before) = &cart.token {
            seen.renewed += usize::from(key_of(before) < key_of(&token));
        }
        cart.first_token.get_or_insert_with(|| token.clone());
        cart.token = Some(token);
    }
    (cart.backend, cart.epoch, cart.items) = (answer.backend, answer.epoch, items);
    if cart.token.is_none() {
        seen.lost.push(format!("{}: a first answer without a cookie, from node {node}", cart.name));
    }
    cart.token.is_some()
}
