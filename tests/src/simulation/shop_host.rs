//! A shop: a backend that keeps carts in its own memory, and forgets them when it dies.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::{Epoch, KeyHash};
use stickler_rt::Seed;
use tokio::sync::watch;
use turmoil::net::TcpListener;

use super::document::{OTHER_PORT, SHOP};
use super::http::FORGED;
use super::ledger::{Ledger, now};
use super::plan::Trouble;
use super::pool_settings::{Check, WELL};

/// What outlives a shop's deaths.
pub struct ShopHost {
    name: &'static str,
    seed: Seed,
    ledger: Ledger,
    boots: Mutex<u64>,
    /// Whether the process lives: while it does not, its machine refuses connections.
    alive: watch::Sender<bool>,
    /// Whether it says that it wants no new sessions.
    drains: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<Trouble>>>,
    /// Whether its page has other words than it should have.
    ill: Arc<AtomicBool>,
    /// How it is checked.
    check: Check,
}

/// One life of a shop.
struct Life {
    name: &'static str,
    boot: u64,
    drains: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<Trouble>>>,
    ill: Arc<AtomicBool>,
    check: Check,
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
    pub fn new(name: &'static str, seed: Seed, ledger: Ledger, check: Check) -> Self {
        Self {
            name,
            seed,
            ledger,
            boots: Mutex::new(0),
            alive: watch::Sender::new(true),
            drains: Arc::default(),
            trouble: Arc::default(),
            ill: Arc::default(),
            check,
        }
    }

    /// Lets the process die, or start again.
    pub fn set_alive(&self, alive: bool) {
        self.alive.send_replace(alive);
    }

    /// Lets it say that it wants no new sessions, or that it does.
    pub fn set_drains(&self, drains: bool) {
        self.drains.store(drains, Ordering::Relaxed);
    }

    /// Lets its page have other words, or the right ones.
    pub fn set_ill(&self, ill: bool) {
        self.ill.store(ill, Ordering::Relaxed);
    }

    /// Lets it be in trouble, or well again.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
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
            self.ledger.note(self.name, format_args!("opens, {boot}"));
            let random = self.seed.child(&format!("boot {boot}")).rng();
            let inside = Mutex::new(Inside { carts: BTreeMap::new(), random });
            let drains = Arc::clone(&self.drains);
            let (trouble, ledger) = (Arc::clone(&self.trouble), self.ledger.clone());
            let (ill, check) = (Arc::clone(&self.ill), self.check);
            let life = Arc::new(Life { name: self.name, boot, drains, trouble, ill, check, ledger, inside });
            tokio::select! {
                biased;
                _ = alive.wait_for(|alive| !*alive) => self.ledger.note(self.name, "dies"),
                served = serve(life) => served?,
            }
        }
    }
}

async fn serve(life: Arc<Life>) -> turmoil::Result {
    let at = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let (listener, other) = (at(SHOP).await?, at(OTHER_PORT).await?);
    // Connections end with this future.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = tokio::select! {
            biased;
            accepted = listener.accept() => accepted?,
            accepted = other.accept() => accepted?,
        };
        let life = Arc::clone(&life);
        connections.spawn(async move {
            let service = service_fn(move |request| Arc::clone(&life).answer(request));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// How often a shop breaks off after it has done what it was asked.
const BREAKS_OFF: f64 = 0.03;

/// Where it is told that a session is about to leave, and how often it agrees.
pub const TOLD: &str = "/told";
const AGREES: f64 = 0.7;

/// What stands between a cart's name and how often its session has got a new identifier.
const RENAMED: char = '~';

/// Shops that tell clients, too, in which life they are.
const TELLS: [&str; 2] = ["web-1", "web-3"];

/// How a request fails in a shop that is in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    /// It is answered with an error, and nothing is done.
    Errs,
    /// It is done, and not answered.
    BreaksOff,
}

/// How a request's cart was found.
struct Found {
    /// The name under which the cart is kept.
    cart: String,
    /// The identifier that the client must be told, if it is not the one that it has shown.
    told: Option<String>,
}

impl Life {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `/{kind}/add?{item}` puts something into the cart, `/browser/login` gives the session another
    /// identifier, `/browser/logout` ends it, and anything else shows the cart. The answer is the shop, its
    /// life, the cart's name and what is in it.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let uri = request.uri().clone();
        if uri.path() == "/health" {
            return Ok(self.is_checked());
        }
        if uri.path() == TOLD {
            return Ok(self.is_told(request.headers()));
        }
        let headers = request.headers();
        let handle = text(headers, "stickler-session");
        if handle.as_deref() == Some(FORGED) {
            self.ledger.violated(format_args!("fencing: {} got a client's own fencing headers", self.name));
        }
        let began = now();
        let work = Duration::from_millis(self.inside().random.random_range(0..25));
        let (works, fails) = self.struck();
        tokio::time::sleep(work + works).await;
        if fails == Some(Fails::Errs) {
            self.ledger.count("errors of shops");
            let mut response = Response::new(Full::from("out of order"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(response);
        }
        let Found { cart, told } = self.cart(uri.path(), headers);
        let items = self.act(&uri, &cart);
        let epoch = text(headers, "stickler-epoch").unwrap_or_default();
        if let (Some(Ok(session)), Ok(epoch)) = (handle.as_deref().map(str::parse::<KeyHash>), epoch.parse())
        {
            let worked = self.ledger.open().evidence.worked(began, session, Epoch(epoch));
            if let Err(broken) = worked {
                self.ledger.violated(broken);
            }
        }
        self.ledger.note(self.name, format_args!("{uri} epoch {epoch:?} cart {cart} [{items}]"));
        let breaks_off = uri.path().ends_with("/add") && self.inside().random.random_bool(BREAKS_OFF);
        if breaks_off || fails == Some(Fails::BreaksOff) {
            self.ledger.count("answers broken off");
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut response = Response::new(Full::from(format!("{} {} {cart} {items}", self.name, self.boot)));
        if TELLS.contains(&self.name) {
            response.headers_mut().insert("x-boot", HeaderValue::from(self.boot));
        }
        let mut set = told.map(|told| format!("SHOP={told}; Path=/"));
        if uri.path() == "/browser/logout" {
            self.ledger
                .open()
                .evidence
                .logouts
                .extend(handle.and_then(|handle| handle.parse::<KeyHash>().ok()));
            self.inside().carts.remove(&cart);
            set = Some("SHOP=; Path=/; Max-Age=0".to_owned());
        }
        if let Some(Ok(line)) = set.map(|line| line.parse()) {
            response.headers_mut().insert("set-cookie", line);
        }
        Ok(response)
    }

    /// The page for checks.
    fn is_checked(&self) -> Response<Full<Bytes>> {
        let words = if self.ill.load(Ordering::Relaxed) { "all is lost" } else { WELL };
        let mut response = Response::new(Full::from(words));
        response.headers_mut().insert("x-boot", HeaderValue::from(self.boot));
        if self.drains.load(Ordering::Relaxed) && self.check == Check::Status {
            *response.status_mut() = StatusCode::NOT_FOUND;
        } else if self.drains.load(Ordering::Relaxed) {
            response.headers_mut().insert("x-drain", HeaderValue::from_static("yes"));
        }
        response
    }

    /// A session is about to leave. The shop does not always agree.
    fn is_told(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let key = text(headers, "idempotency-key").unwrap_or_default();
        let agrees = self.inside().random.random_bool(AGREES);
        self.ledger.count(if agrees { "hooks agreed to" } else { "hooks refused" });
        self.ledger.note(self.name, format_args!("is told {key}, and agrees: {agrees}"));
        let mut response = Response::new(Full::default());
        if agrees {
            self.ledger.open().evidence.jobs.agrees(key);
        } else {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    /// What the shop's trouble does to a request: how much longer it takes, and how it fails.
    fn struck(&self) -> (Duration, Option<Fails>) {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let random = &mut self.inside().random;
        match trouble {
            None => (Duration::ZERO, None),
            Some(Trouble::Slow(by)) => (by.mul_f64(random.random_range(0.5..1.0)), None),
            Some(Trouble::Errs(share)) => (Duration::ZERO, random.random_bool(share).then_some(Fails::Errs)),
            Some(Trouble::BreaksOff(share)) => {
                (Duration::ZERO, random.random_bool(share).then_some(Fails::BreaksOff))
            }
        }
    }

    /// Puts an item into a cart, once; what is in it.
    fn act(&self, uri: &Uri, cart: &str) -> String {
        let mut inside = self.inside();
        let items = inside.carts.entry(cart.to_owned()).or_default();
        if uri.path().ends_with("/add")
            && let Some(item) = uri.query().and_then(|item| item.parse::<u64>().ok())
        {
            items.insert(item);
            if !self.ledger.open().evidence.acted.insert(item) {
                self.ledger
                    .violated(format_args!("once: {} got {uri} that a shop has had before", self.name));
            }
        }
        items.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
    }

    /// By which name the client's cart goes, and whether the client must be told.
    fn cart(&self, path: &str, headers: &HeaderMap) -> Found {
        let known = |cart| Found { cart, told: None };
        if path.starts_with("/plain") {
            return known("none".to_owned());
        }
        if path.starts_with("/api") {
            return known(text(headers, "x-session").unwrap_or_default());
        }
        if path.starts_with("/own") || path.starts_with("/guest") {
            return known(text(headers, "stickler-session").unwrap_or_default());
        }
        let shown = text(headers, "cookie").and_then(|line| line.strip_prefix("SHOP=").map(str::to_owned));
        let shown = shown.unwrap_or_default();
        let mut inside = self.inside();
        let (cart, times) = shown.split_once(RENAMED).unwrap_or((&shown, "0"));
        if !inside.carts.contains_key(cart) {
            let number: u64 = inside.random.random();
            let cart = format!("{}.{}.{number:016x}", self.name, self.boot);
            return Found { told: Some(format!("{cart}{RENAMED}0")), cart };
        }
        let times = times.parse::<u64>().unwrap_or(0);
        let told = (path == "/browser/login").then(|| format!("{cart}{RENAMED}{}", times + 1));
        Found { cart: cart.to_owned(), told }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
