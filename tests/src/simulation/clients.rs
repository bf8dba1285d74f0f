//! Clients: each goes through any node, keeps what it is told, and checks that it stays true.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::NodeId;
use stickler_rt::Seed;
use tokio::sync::watch;

use super::document::NODES;
use super::http::{Reply, get};
use super::ledger::{Ledger, now};
use super::oracle::Record;

/// How the world is doing, as clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// Faults come and go.
    Turmoil,
    /// All is healed, and was given time to settle: every request must succeed.
    Calm,
}

/// By what a client's session is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The shop's own cookie.
    Browser,
    /// Stickler's cookie.
    Own,
    /// The header `X-Session`.
    Api,
}

/// How often a client tries until an answer comes, in calm times.
const ATTEMPTS: u32 = 5;

/// Everything that the clients' host needs.
pub struct Clients {
    /// All their randomness.
    pub seed: Seed,
    /// Where they report.
    pub ledger: Ledger,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, IpAddr>,
    /// How the world is doing.
    pub season: watch::Receiver<Season>,
    /// Told when a client has checked everything in calm times.
    pub done: Arc<watch::Sender<usize>>,
}

/// How many clients there are.
pub const CLIENTS: usize = 9;

impl Clients {
    /// What runs on the clients' host.
    ///
    /// # Errors
    /// None.
    pub async fn run(self) -> turmoil::Result {
        let shared = Arc::new(self);
        let kinds = [Kind::Browser, Kind::Own, Kind::Api];
        let all = (0..CLIENTS).map(|number| {
            let name = format!("{:?}-{number}", kinds[number % kinds.len()]).to_lowercase();
            let random = shared.seed.child(&name).rng();
            let session = Session { number: 0, cookies: BTreeMap::new(), record: Record::default() };
            Client {
                name,
                kind: kinds[number % kinds.len()],
                shared: Arc::clone(&shared),
                random,
                session,
                items: 0,
            }
            .run()
        });
        join_all(all).await;
        Ok(())
    }
}

struct Client {
    name: String,
    kind: Kind,
    shared: Arc<Clients>,
    random: StdRng,
    session: Session,
    items: u64,
}

/// One session, and what it is recognised by.
struct Session {
    number: u64,
    cookies: BTreeMap<String, String>,
    record: Record,
}

impl Client {
    async fn run(mut self) {
        self.pause(1500).await;
        while *self.shared.season.borrow() == Season::Turmoil {
            self.visit().await;
        }
        self.settle().await;
        self.shared.done.send_modify(|done| *done += 1);
    }

    /// One visit: a handful of requests, and then another session.
    async fn visit(&mut self) {
        self.forget();
        if self.kind == Kind::Api {
            self.race().await;
        }
        for _ in 0..self.random.random_range(4..30) {
            if *self.shared.season.borrow() != Season::Turmoil {
                return;
            }
            // Browsers send no bursts: where a session has moved, the shop would give each answer a name.
            if self.kind != Kind::Browser && self.has_identifier() && self.random.random_bool(0.3) {
                self.race().await;
            } else {
                let node = self.any_node();
                let adds = self.random.random_bool(0.7);
                self.request(node, adds).await;
            }
            self.pause(300).await;
        }
    }

    fn forget(&mut self) {
        let number = self.session.number + 1;
        self.session = Session { number, cookies: BTreeMap::new(), record: Record::default() };
    }

    /// Concurrent requests of one session through all nodes: they must agree.
    async fn race(&mut self) {
        let headers = self.headers();
        let asked = now();
        let path = self.path(true);
        let shared = Arc::clone(&self.shared);
        let replies = join_all(NODES.map(|node| get(shared.nodes[&node], &path, &headers))).await;
        for (node, reply) in NODES.into_iter().zip(replies) {
            self.take(node, asked, reply);
        }
    }

    /// All is well again: known sessions are where they were, and new ones can be had, through every node.
    async fn settle(&mut self) {
        for fresh in [false, true] {
            if fresh {
                self.forget();
            }
            for node in NODES {
                let mut answered = false;
                for _ in 0..ATTEMPTS {
                    answered = self.request(node, fresh).await;
                    if answered {
                        break;
                    }
                    self.pause(400).await;
                }
                if !answered {
                    self.shared
                        .ledger
                        .violated(format!("{} gets no answer through node {node} in calm times", self.name));
                }
            }
            if !self.session.record.is_known() {
                self.shared.ledger.violated(format!("{} has no session in calm times", self.name));
            }
        }
    }

    /// One request; whether a shop answered.
    async fn request(&mut self, node: NodeId, adds: bool) -> bool {
        let (headers, path, asked) = (self.headers(), self.path(adds), now());
        self.shared.ledger.count("requests");
        let reply = get(self.shared.nodes[&node], &path, &headers).await;
        self.take(node, asked, reply)
    }

    fn take(&mut self, node: NodeId, asked: Duration, reply: std::io::Result<Reply>) -> bool {
        let ledger = self.shared.ledger.clone();
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                ledger.count("requests of unknown outcome");
                ledger.note(&self.name, format!("via {node}: {}", error.kind()));
                return false;
            }
        };
        let error = reply.header("stickler-error").unwrap_or("-");
        ledger.note(&self.name, format!("via {node}: {} {error} {}", reply.status, reply.body.trim()));
        if reply.status != 200 {
            ledger.count("requests refused");
            return false;
        }
        let had = self.has_identifier();
        for (name, value) in reply.cookies() {
            self.session.cookies.insert(name.to_owned(), value.to_owned());
        }
        if (had || self.has_identifier()) && self.has_cart(&reply) {
            self.session.record.take(&ledger, &self.name, node, asked, &reply);
        } else {
            // A cart whose name was kept back belongs to nobody, and where the session is now is not known.
            ledger.count("identifiers held back");
            self.session.record = Record::default();
        }
        true
    }

    fn has_identifier(&self) -> bool {
        self.kind == Kind::Api || !self.session.cookies.is_empty()
    }

    /// Whether the cart in an answer goes by the name that this browser has.
    fn has_cart(&self, reply: &Reply) -> bool {
        self.kind != Kind::Browser
            || self.session.cookies.get("SHOP").map(String::as_str) == reply.body.split(' ').nth(2)
    }

    fn headers(&self) -> Vec<(String, String)> {
        match self.kind {
            Kind::Api => vec![("x-session".to_owned(), format!("{}.{}", self.name, self.session.number))],
            Kind::Browser | Kind::Own if self.session.cookies.is_empty() => Vec::new(),
            Kind::Browser | Kind::Own => {
                let pairs: Vec<String> =
                    self.session.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                vec![("cookie".to_owned(), pairs.join("; "))]
            }
        }
    }

    fn path(&mut self, adds: bool) -> String {
        let kind = format!("{:?}", self.kind).to_lowercase();
        if !adds {
            return format!("/{kind}/cart");
        }
        self.items += 1;
        format!("/{kind}/add?{}", self.items)
    }

    fn any_node(&mut self) -> NodeId {
        NODES[self.random.random_range(0..NODES.len())]
    }

    async fn pause(&mut self, longest: u64) {
        let pause = Duration::from_millis(self.random.random_range(10..longest));
        tokio::time::sleep(pause).await;
    }
}
