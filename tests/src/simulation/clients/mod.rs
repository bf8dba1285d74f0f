//! Clients: each goes through any node, keeps what it is told, and checks that it stays true.

mod asks;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::NodeId;
use stickler_rt::Seed;
use tokio::sync::{mpsc, watch};

use super::crowd::{self, Crowd};
use super::document::NEW_SESSIONS;
use super::http::{FORGED, REQUEST, Reply, ask};
use super::ledger::{Ledger, now};
use super::oracle::Record;
use super::session::{Kind, Session};
use super::waiting_for_room::Answered;

/// How the world is doing, as clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// Faults come and go.
    Turmoil,
    /// All is healed, and was given time to settle: every request must succeed.
    Calm,
}

/// How many clients there are.
pub const CLIENTS: usize = 12;

/// How often a client tries until an answer comes, in calm times. Nodes refuse sessions beyond a rate, and shops break off.
const ATTEMPTS: u32 = 10;

/// Longest pause between two requests of one client, in milliseconds.
const PAUSE: u64 = 300;

/// How often a client rests for longer than its session lasts, and how often it sends headers that it must
/// not.
const RESTS: f64 = 0.02;
const FORGES: f64 = 0.1;

/// How often a guest goes on in a tab that has its first cookie.
const OLD_TABS: f64 = 0.3;

/// First requests at once of a browser that opens several tabs.
const TABS: usize = 5;

/// Items of two clients never have the same number.
const ITEMS: u64 = 1_000_000;

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
    /// Crowds that come.
    pub crowds: mpsc::UnboundedReceiver<Crowd>,
    /// Where guests are sent whose shop is away, if they are.
    pub redirect_to: Option<&'static str>,
    /// Told when a client has checked everything in calm times.
    pub done: Arc<watch::Sender<usize>>,
}

impl Clients {
    /// What runs on the clients' host.
    ///
    /// # Errors
    /// None.
    pub async fn run(mut self) -> turmoil::Result {
        let (_, none) = mpsc::unbounded_channel();
        let crowds = std::mem::replace(&mut self.crowds, none);
        tokio::spawn(crowd::come(crowds, self.ledger.clone(), self.nodes.clone()));
        let shared = Arc::new(self);
        let all = (0..CLIENTS).map(|number| {
            let kind = Kind::ALL[number % Kind::ALL.len()];
            let name = format!("{}-{number}", kind.name());
            Client {
                kind,
                random: shared.seed.child(&name).rng(),
                name,
                shared: Arc::clone(&shared),
                session: Session::new(kind, 0),
                first_cookies: BTreeMap::new(),
                items: number as u64 * ITEMS,
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
    /// The cookies of the last first answer: what a tab that was opened then still has.
    first_cookies: BTreeMap<String, String>,
    items: u64,
}

/// A request that is on its way.
#[derive(Clone, Debug)]
struct Sent {
    node: NodeId,
    number: u64,
    path: String,
    asked: Duration,
}

impl Sent {
    fn answered<'a>(&self, reply: &'a Reply) -> Answered<'a> {
        let (node, number, asked) = (self.node, self.number, self.asked);
        Answered { node, number, asked, at: reply.at, refused: reply.header("stickler-error") }
    }
}

/// What is asked of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Add,
    Show,
    Login,
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
        if !self.first_cookies.is_empty() && self.random.random_bool(OLD_TABS) {
            // It may be where it was, or be somebody else's by now.
            self.session.cookies.clone_from(&self.first_cookies);
            self.session.record = self.session.record.in_doubt();
        }
        if self.kind == Kind::Api {
            self.race().await;
        }
        if self.kind == Kind::Own && self.random.random_bool(0.3) {
            self.open_tabs().await;
        }
        for _ in 0..self.random.random_range(4..30) {
            if *self.shared.season.borrow() != Season::Turmoil {
                return;
            }
            // Browsers send no bursts: where a session has moved, the shop would give each answer a name.
            if self.kind != Kind::Browser && self.session.has_identifier() && self.random.random_bool(0.3) {
                self.race().await;
            } else {
                let node = self.any_node();
                let wish = self.wish();
                self.request(node, wish).await;
            }
            if self.random.random_bool(RESTS) {
                tokio::time::sleep(super::document::idle_timeout(self.kind).min(LONGEST_REST) * 5 / 4).await;
            }
            self.pause(PAUSE).await;
        }
        if self.kind == Kind::Browser && self.session.has_identifier() && self.random.random_bool(0.5) {
            self.log_out().await;
        }
    }

    /// Several first requests at once, each of which begins a session. The browser keeps one of them.
    async fn open_tabs(&mut self) {
        let node = self.any_node();
        let asking: Vec<_> = (0..TABS)
            .map(|_| {
                let (method, path) = self.line(Wish::Add);
                let ((sent, headers), asks) = (self.sends(node, path), self.tries(node));
                let to = self.shared.nodes[&node];
                async move {
                    let reply = ask(to, method, &sent.path, &headers).await;
                    (sent, asks, reply)
                }
            })
            .collect();
        for (sent, asks, reply) in join_all(asking).await {
            self.forget();
            self.tried(node, asks, &reply);
            self.take(sent, reply);
        }
    }

    fn wish(&mut self) -> Wish {
        match self.random.random_range(0..20) {
            0 if self.kind == Kind::Browser && self.session.has_identifier() => Wish::Login,
            0..14 => Wish::Add,
            _ => Wish::Show,
        }
    }

    fn forget(&mut self) {
        self.session = Session::new(self.kind, self.session.number + 1);
    }

    /// Concurrent requests of one session through all nodes: they must agree.
    async fn race(&mut self) {
        let shared = Arc::clone(&self.shared);
        let nodes: Vec<NodeId> = shared.nodes.keys().copied().collect();
        let mut asking = Vec::new();
        for node in &nodes {
            let (method, path) = self.line(Wish::Add);
            let ((sent, headers), to, asks) =
                (self.sends(*node, path), shared.nodes[node], self.tries(*node));
            asking.push(async move {
                let reply = ask(to, method, &sent.path, &headers).await;
                (sent, asks, reply)
            });
        }
        let replies = join_all(asking).await;
        for (sent, asks, reply) in &replies {
            self.tried(sent.node, *asks, reply);
        }
        // Where the session has ended, each of the answers may belong to another new one. So it may where all that
        // is known of it came from a node without a lease.
        let begun = self.kind == Kind::Api || self.session.record.is_known();
        let one = begun && !self.session.record.may_have_ended(&shared.ledger);
        for (sent, _, reply) in replies {
            if !one {
                self.session.record = self.session.record.in_doubt();
            }
            self.take(sent, reply);
        }
    }

    /// All is well again: known sessions are where they were, and new ones can be had, through every node.
    async fn settle(&mut self) {
        for fresh in [false, true] {
            if fresh {
                self.forget();
            }
            let nodes: Vec<NodeId> = self.shared.nodes.keys().copied().collect();
            for node in nodes {
                let mut answered = false;
                for _ in 0..ATTEMPTS {
                    answered = self.request(node, if fresh { Wish::Add } else { Wish::Show }).await;
                    if answered {
                        break;
                    }
                    self.pause(400).await;
                }
                if !answered {
                    let name = &self.name;
                    self.shared.ledger.violated(format_args!(
                        "liveness: {name} gets no answer through node {node} in calm times"
                    ));
                }
            }
            if !self.session.record.is_known() {
                self.shared
                    .ledger
                    .violated(format_args!("liveness: {} has no session in calm times", self.name));
            }
        }
    }

    /// The application ends the session; the browser forgets it, whatever comes back.
    async fn log_out(&mut self) {
        let node = self.any_node();
        let (sent, headers) = self.sends(node, "/browser/logout".to_owned());
        self.shared.ledger.count("log-outs");
        let reply = ask(self.shared.nodes[&node], "POST", &sent.path, &headers).await;
        if let Ok(reply) = &reply {
            self.session.record.had_room(&self.shared.ledger, &self.name, &sent.answered(reply));
        }
        let status = reply.map_or(0, |reply| reply.status);
        self.shared.ledger.note(&self.name, format_args!("via {node}: logs out: {status}"));
        self.forget();
    }

    /// One request; whether a shop answered.
    async fn request(&mut self, node: NodeId, wish: Wish) -> bool {
        let (method, path) = self.line(wish);
        let (sent, headers) = self.sends(node, path);
        self.session.renaming |= wish == Wish::Login;
        self.shared.ledger.count("requests");
        let asks = self.tries(node);
        let reply = ask(self.shared.nodes[&node], method, &sent.path, &headers).await;
        self.tried(node, asks, &reply);
        if reply.as_ref().is_ok_and(|reply| reply.status == 429) {
            tokio::time::sleep(NEW_SESSIONS.1 / 2).await;
        }
        self.take(sent, reply)
    }

    fn take(&mut self, sent: Sent, reply: std::io::Result<Reply>) -> bool {
        let ledger = self.shared.ledger.clone();
        let Sent { node, asked, .. } = sent;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.session.renamed_unheard |= self.session.renaming;
                ledger.count("requests of unknown outcome");
                ledger.note(&self.name, format_args!("via {node}: {}", error.kind()));
                return false;
            }
        };
        self.session.record.had_room(&ledger, &self.name, &sent.answered(&reply));
        let error = reply.header("stickler-error").unwrap_or("-");
        ledger.note(&self.name, format_args!("via {node}: {} {error} {}", reply.status, reply.body.trim()));
        if reply.status != 200 {
            self.session.renamed_unheard |= self.session.renaming;
            ledger.count("requests refused");
            if error == "backend-gone" {
                let (record, to) = (&self.session.record, self.shared.redirect_to);
                record.refused(&ledger, &self.name, (&sent.path, asked), &reply, to);
            }
            if error == "session-lost" {
                // Its end is on its way; what comes after that is another session.
                ledger.count("lost sessions said");
                self.session.record = self.session.record.in_doubt();
            }
            return false;
        }
        Record::revealed(&ledger, &self.name, &reply);
        self.session.renaming &= reply.cookies().next().is_none();
        // Whatever the lost answer was: the old identifier may have ended since, and the new one is older than
        // what has happened under the old one.
        let unheard = self.session.renamed_unheard;
        self.session.renamed_unheard &= self.session.renaming;
        if self.session.renaming || unheard {
            self.session.record = self.session.record.in_doubt();
        }
        let had = self.session.has_identifier();
        if !had && self.kind == Kind::Guest {
            let first = reply.cookies().map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.first_cookies = first.collect();
        }
        for (name, value) in reply.cookies() {
            self.session.cookies.insert(name.to_owned(), value.to_owned());
        }
        if (had || self.session.has_identifier()) && self.session.has_cart(&reply) {
            self.session.record.take(&ledger, &self.name, node, asked, &reply);
        } else {
            // A cart whose name was kept back belongs to nobody, and where the session is now is not known.
            ledger.count("identifiers held back");
            self.session.record = Record::new(self.kind);
        }
        true
    }

    fn sends(&mut self, node: NodeId, path: String) -> (Sent, Vec<(&'static str, String)>) {
        let number = {
            let evidence = &mut self.shared.ledger.open().evidence;
            evidence.room.asks(node);
            evidence.asks(node)
        };
        let mut headers = vec![(REQUEST, number.to_string())];
        headers.extend(self.session.shown_by(&self.name));
        if self.random.random_bool(FORGES) {
            headers.push(("stickler-session", FORGED.to_owned()));
            headers.push(("stickler-epoch", u64::MAX.to_string()));
        }
        (Sent { node, number, path, asked: now() }, headers)
    }

    fn line(&mut self, wish: Wish) -> (&'static str, String) {
        let kind = self.kind.name();
        match wish {
            Wish::Show => ("GET", format!("/{kind}/cart")),
            Wish::Login => {
                self.shared.ledger.count("log-ins");
                ("POST", format!("/{kind}/login"))
            }
            Wish::Add => {
                self.items += 1;
                ("POST", format!("/{kind}/add?{}", self.items))
            }
        }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(self.random.random_range(1..=self.shared.nodes.len() as u64))
    }

    async fn pause(&mut self, longest: u64) {
        let pause = Duration::from_millis(self.random.random_range(10..longest));
        tokio::time::sleep(pause).await;
    }
}

/// No client rests for longer.
const LONGEST_REST: Duration = Duration::from_secs(2);
