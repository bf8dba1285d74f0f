//! A shop: a backend that keeps carts in its own memory, and forgets them when it dies.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rand::rngs::StdRng;
use stickler_rt::Seed;
use tokio::sync::watch;
use turmoil::net::TcpListener;

use super::document::SHOP;
use super::ledger::Ledger;

/// What outlives a shop's deaths.
pub struct ShopHost {
    name: &'static str,
    seed: Seed,
    ledger: Ledger,
    boots: Mutex<u64>,
    /// Whether the process lives: while it does not, its machine refuses connections.
    alive: watch::Sender<bool>,
}

/// One life of a shop.
struct Life {
    name: &'static str,
    boot: u64,
    ledger: Ledger,
    inside: Mutex<Inside>,
}

struct Inside {
    carts: BTreeMap<String, BTreeSet<u64>>,
    random: StdRng,
}

impl ShopHost {
    /// A shop that has never run.
    #[must_use]
    pub fn new(name: &'static str, seed: Seed, ledger: Ledger) -> Self {
        Self { name, seed, ledger, boots: Mutex::new(0), alive: watch::Sender::new(true) }
    }

    /// Lets the process die, or start again.
    pub fn set_alive(&self, alive: bool) {
        self.alive.send_replace(alive);
    }

    /// What runs on the shop's host.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn run(self: Arc<Self>) -> turmoil::Result {
        let mut alive = self.alive.subscribe();
        loop {
            alive.wait_for(|alive| *alive).await?;
            let boot = {
                let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
                *boots += 1;
                *boots
            };
            self.ledger.note(self.name, format!("opens, {boot}"));
            let random = self.seed.child(&format!("boot {boot}")).rng();
            let inside = Mutex::new(Inside { carts: BTreeMap::new(), random });
            let life = Arc::new(Life { name: self.name, boot, ledger: self.ledger.clone(), inside });
            tokio::select! {
                biased;
                _ = alive.wait_for(|alive| !*alive) => self.ledger.note(self.name, "dies"),
                served = serve(life) => served?,
            }
        }
    }
}

async fn serve(life: Arc<Life>) -> turmoil::Result {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, SHOP))).await?;
    // Connections end with this future.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let life = Arc::clone(&life);
        connections.spawn(async move {
            let service = service_fn(move |request| Arc::clone(&life).answer(request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Life {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `/{kind}/add?{item}` puts something into the cart, anything else shows it. The answer is the shop,
    /// its life, the cart's name and what is in it.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let uri = request.uri().clone();
        if uri.path() == "/health" {
            return Ok(Response::new(Full::from("ok")));
        }
        let work = Duration::from_millis(self.inside().random.random_range(0..25));
        tokio::time::sleep(work).await;
        let (cart, set) = self.cart(uri.path(), request.headers());
        let items = {
            let mut inside = self.inside();
            let items = inside.carts.entry(cart.clone()).or_default();
            if uri.path().ends_with("/add") {
                items.extend(uri.query().and_then(|item| item.parse::<u64>().ok()));
            }
            items.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
        };
        let epoch = text(request.headers(), "stickler-epoch").unwrap_or_default();
        self.ledger.note(self.name, format!("{uri} epoch {epoch:?} cart {cart} [{items}]"));
        let mut response = Response::new(Full::from(format!("{} {} {cart} {items}", self.name, self.boot)));
        if set && let Ok(line) = format!("SHOP={cart}; Path=/").parse() {
            response.headers_mut().insert("set-cookie", line);
        }
        Ok(response)
    }

    /// By which name the client's cart goes, and whether the client must be told.
    fn cart(&self, path: &str, headers: &HeaderMap) -> (String, bool) {
        if path.starts_with("/api") {
            return (text(headers, "x-session").unwrap_or_default(), false);
        }
        if path.starts_with("/own") {
            return (text(headers, "stickler-session").unwrap_or_default(), false);
        }
        let shown = text(headers, "cookie").and_then(|line| line.strip_prefix("SHOP=").map(str::to_owned));
        let mut inside = self.inside();
        match shown.filter(|shown| inside.carts.contains_key(shown)) {
            Some(known) => (known, false),
            None => {
                let number: u64 = inside.random.random();
                (format!("{}.{}.{number:016x}", self.name, self.boot), true)
            }
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
