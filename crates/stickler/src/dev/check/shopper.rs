//! A virtual shopper: puts one item after the other into its cart, and notes what came back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, Request, Response};
use serde::Deserialize;
use stickler_rt::{Clock, Network, Shutdown};

use super::super::http::describe;
use super::super::plan::NodePlan;
use super::client::{Answered, GaveUp, RetryingClient};
use super::record::{Exchange, Outcome, Visit};

/// Between two items of one shopper.
const PAUSE: Duration = Duration::from_millis(400);
/// After an error, until the shopper tries the same again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// After this, a shopper who only looks in comes back for one more item, through the next node.
const PAUSE_OF_NEWCOMER: Duration = Duration::from_millis(1_000);
/// How often a shopper who only looks in tries one addition.
const PATIENCE_OF_NEWCOMER: usize = 3;

/// How a shopper's session is recognised.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// By the shop's own cookie.
    Own,
    /// By the cookie that Stickler makes.
    Token,
    /// By a header that the shopper sends.
    Api,
}

impl Kind {
    /// All of them, for taking turns.
    pub const ALL: [Self; 3] = [Self::Own, Self::Token, Self::Api];

    fn cart_path(self) -> &'static str {
        match self {
            Self::Own => "/cart",
            Self::Token => "/token/cart",
            Self::Api => "/api/cart",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Own => "the shop's cookie",
            Self::Token => "Stickler's cookie",
            Self::Api => "a header",
        }
    }
}

/// What all shoppers share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub clock: Clock,
    pub network: Arc<dyn Network>,
    pub nodes: Arc<[NodePlan]>,
    /// Given when shopping ends.
    pub closing: Shutdown,
}

/// One virtual shopper with one session.
pub(super) struct Shopper {
    kind: Kind,
    /// For `Kind::Api`: what it names its session.
    identifier: String,
    cookies: BTreeMap<String, String>,
    client: RetryingClient,
    clock: Clock,
    closing: Shutdown,
    visit: Visit,
}

/// The shop's answer, as far as a shopper looks at it.
#[derive(Deserialize)]
struct Cart {
    backend: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    number: u64,
}

impl Shopper {
    /// A shopper that goes to the node at the place `first` first. `identifier` is its own among all shoppers.
    pub fn new(kind: Kind, identifier: String, first: usize, around: &Surroundings) -> Self {
        let client = format!("shopper {identifier} (by {})", kind.description());
        Self {
            kind,
            identifier,
            cookies: BTreeMap::new(),
            client: RetryingClient::new(Arc::clone(&around.network), Arc::clone(&around.nodes), first),
            clock: around.clock.clone(),
            closing: around.closing.clone(),
            visit: Visit {
                client,
                stays: true,
                proves_bind: !matches!(kind, Kind::Token),
                exchanges: Vec::new(),
            },
        }
    }

    /// Shops until closing.
    pub async fn stay(mut self) -> Visit {
        let mut number = 1;
        while !self.closing.is_triggered() {
            let pause = if self.add(number).await {
                number += 1;
                PAUSE
            } else {
                PAUSE_AFTER_ERROR
            };
            tokio::select! {
                () = self.clock.sleep(pause) => (),
                () = self.closing.wait() => break,
            }
        }
        self.visit
    }

    /// Begins a session, comes back for one more item, and leaves.
    pub async fn look_in(mut self) -> Visit {
        self.visit.stays = false;
        if self.add_patiently(1).await {
            self.clock.sleep(PAUSE_OF_NEWCOMER).await;
            self.add_patiently(2).await;
        }
        self.visit
    }

    async fn add_patiently(&mut self, number: u64) -> bool {
        for _ in 0..PATIENCE_OF_NEWCOMER {
            if self.add(number).await {
                return true;
            }
            self.clock.sleep(PAUSE_AFTER_ERROR).await;
        }
        false
    }

    /// Adds the item of this number and notes what came of it; whether the cart came back.
    async fn add(&mut self, number: u64) -> bool {
        let request = self.request(number);
        let started = self.clock.now();
        let (outcome, retries) = match self.client.send(&request).await {
            Ok(Answered { node, retries, response }) => (self.read(node, &response), retries),
            Err(GaveUp { attempts, retries }) => (Outcome::Failed { attempts }, retries),
        };
        let served = matches!(outcome, Outcome::Served { .. });
        let ended = self.clock.now();
        self.visit.exchanges.push(Exchange { number, started, ended, retries, outcome });
        served
    }

    fn request(&self, number: u64) -> Request<Bytes> {
        let mut request = Request::post(self.kind.cart_path())
            .header(HOST, "shop.localhost")
            .header(CONTENT_TYPE, "application/json");
        if let Kind::Api = self.kind {
            request = request.header("X-Session", &self.identifier);
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        let item = serde_json::json!({"item": format!("item {number}"), "number": number});
        request
            .body(Bytes::from(item.to_string()))
            .expect("cookies that came in headers, and identifiers of digits, can stand in headers")
    }

    fn read(&mut self, node: u64, response: &Response<Bytes>) -> Outcome {
        let failed =
            |why: &str| Outcome::Failed { attempts: format!("node {node}: {why}: {}", describe(response)) };
        if !response.status().is_success() {
            return failed("not what was asked for");
        }
        self.keep_cookies(response.headers());
        if !matches!(self.kind, Kind::Api) && self.cookies.is_empty() {
            return failed("no session");
        }
        match serde_json::from_slice::<Cart>(response.body()) {
            Ok(Cart { backend, items }) => {
                let numbers = items.into_iter().map(|item| item.number).collect();
                Outcome::Served { node, backend, numbers }
            }
            Err(_) => failed("not a cart"),
        }
    }

    /// A shopper goes to one place of the shop only, so that the cookies' paths play no role.
    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            let mut parts = line.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let deleted = value.is_empty() || parts.any(|part| part.eq_ignore_ascii_case("max-age=0"));
            if deleted {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
