//! A node's network, with an eye on its connections to shops: it sees every request at the moment at which
//! its first byte leaves, which is when lease, stable index and epoch must have been right (I5).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;
use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::{Epoch, KeyHash, NodeId};
use stickler_core::lease::Footing;
use stickler_core::state::{Record, SessionKey};
use stickler_node::Node;
use stickler_proxy::request::Proxy;
use stickler_raft::Cluster;
use stickler_rt::{BindOptions, BoxFuture, BoxedStream, Listener, Network, SimulatedNetwork, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http::REQUEST;
use super::ledger::{Ledger, now};
use super::pool_settings::PoolSettings;
use super::response_end::ResponseEnd;
use super::sent_requests::{Head, Seen, SentRequests, Way};
use super::slow_starts::{SlowStarts, Taking, taking_since};

/// The simulated network as one process of a node sees it. Clones are the same.
#[derive(Clone)]
pub struct WatchedNetwork {
    watch: Arc<Watch>,
}

struct Watch {
    node: NodeId,
    ledger: Ledger,
    shops: BTreeMap<IpAddr, &'static str>,
    random: Mutex<StdRng>,
    /// Known once the node has started; before that it sends nothing.
    process: OnceLock<(Cluster, Proxy)>,
    sent: Mutex<SentRequests>,
    spread: Mutex<SlowStarts>,
    connections: AtomicU64,
}

/// What a node's network is given.
pub struct Wiring<'a> {
    /// Which node.
    pub node: NodeId,
    /// Where what it sends is judged.
    pub ledger: Ledger,
    /// Where the shops are.
    pub shops: &'a BTreeMap<&'static str, IpAddr>,
    /// What its document says about its requests.
    pub pool: PoolSettings,
    /// Whether nodes and links are well all the time.
    pub well: bool,
    /// All randomness of its connections.
    pub random: StdRng,
}

impl WatchedNetwork {
    /// The network of a node that is about to start.
    #[must_use]
    pub fn new(wiring: Wiring<'_>) -> Self {
        let Wiring { node, ledger, shops, pool, well, random } = wiring;
        let shops = shops.iter().map(|(name, ip)| (*ip, *name)).collect();
        let watch = Watch {
            node,
            ledger,
            shops,
            random: Mutex::new(random),
            process: OnceLock::new(),
            spread: Mutex::new(SlowStarts::new(&pool, well)),
            sent: Mutex::new(SentRequests::new(pool)),
            connections: AtomicU64::new(0),
        };
        Self { watch: Arc::new(watch) }
    }

    /// From now on requests are judged by what this node knows.
    pub fn watch(&self, process: &Node) {
        let _ = self.watch.process.set((process.cluster().clone(), process.proxy().clone()));
    }

    /// Looks at which shops the node has ejected.
    pub fn look(&self) {
        if let Some((cluster, proxy)) = self.watch.process.get() {
            self.watch.ejected(cluster, proxy);
        }
    }
}

impl Network for WatchedNetwork {
    fn bind(
        &self,
        address: SocketAddr,
        options: BindOptions,
    ) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { SimulatedNetwork.bind(address, options).await })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            let stream = SimulatedNetwork.connect(address).await?;
            let Some(shop) = self.watch.shops.get(&address.ip()) else { return Ok(stream) };
            if let Some(delay) = self.watch.delay() {
                tokio::time::sleep(delay).await;
            }
            let number = self.watch.connections.fetch_add(1, Ordering::Relaxed);
            let watch = Arc::clone(&self.watch);
            Ok(Box::new(Watched { stream, shop, number, response: None, reused: false, watch }))
        })
    }
}

/// A connection to a shop.
struct Watched {
    stream: BoxedStream,
    shop: &'static str,
    /// Its number among the process's connections.
    number: u64,
    /// Of the exchange that goes on, what has come.
    response: Option<ResponseEnd>,
    /// Whether an exchange has begun on it.
    reused: bool,
    watch: Arc<Watch>,
}

/// How often a connection to a shop takes its time, and how long at most: below the pool's time-out. What
/// was decided before may have passed by then.
const SLOW: f64 = 0.15;
const SLOWEST: Duration = Duration::from_millis(280);

/// How long a shop must have been there for none to have failed at it who is on its way now.
const THERE: Duration = Duration::from_secs(1);

impl Watch {
    fn delay(&self) -> Option<Duration> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.random_bool(SLOW).then(|| SLOWEST.mul_f64(random.random()))
    }

    fn requests(&self) -> MutexGuard<'_, SentRequests> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the shops are doing, as this node sees them at this moment.
    fn ejected(&self, cluster: &Cluster, proxy: &Proxy) {
        let view = cluster.view();
        let seen: Vec<Seen> = view
            .catalog
            .backends
            .iter()
            .filter(|(_, record)| record.leaving.is_none())
            .filter_map(|(id, record)| {
                let (shop, ejected) = (*self.shops.get(&record.address.ip())?, proxy.is_ejected(*id));
                Some(Seen { shop, ejected, takes_new: record.takes_new() })
            })
            .collect();
        if seen.iter().any(|one| one.ejected) {
            self.ledger.count("looks at shops that were ejected");
        }
        self.spread.lock().unwrap_or_else(PoisonError::into_inner).sees(now(), &seen);
        let ejections = proxy.counters().ejections.load(Ordering::Relaxed);
        if let Err(broken) = self.requests().sees(now(), ejections, &seen) {
            self.ledger.violated(format_args!("{broken} (on node {})", self.node));
        }
    }

    /// Takes in the head of a client's request that was just written.
    fn leaves(&self, (cluster, proxy): (&Cluster, &Proxy), to: &Watched, head: &Head) {
        self.ejected(cluster, proxy);
        let view = cluster.view();
        let mut backends = view.catalog.backends.iter();
        // One that was removed a moment ago is judged no more.
        let Some((id, _)) =
            backends.find(|(_, record)| self.shops.get(&record.address.ip()) == Some(&to.shop))
        else {
            return;
        };
        let way = Way { shop: (to.shop, *id), connection: to.number, reused: to.reused };
        let asked = self.ledger.open().evidence.asked_of(self.node);
        let mut requests = self.requests();
        let judged = requests.leaves(now(), way, head, asked);
        let (full, again) = (requests.is_full(to.shop), requests.has_left_before(head.number));
        drop(requests);
        if full {
            self.ledger.count("requests that filled a shop");
        }
        if again {
            self.ledger.count("requests sent again");
        }
        let spread = if again { Ok(()) } else { self.is_spread(cluster, to.shop, head.number) };
        if let Err(broken) = judged.and(spread) {
            self.ledger.violated(format_args!("{broken} (on node {})", self.node));
        }
    }

    /// Takes in that a request leaves for the first time. Only those of a crowd could go to any shop.
    fn is_spread(&self, cluster: &Cluster, shop: &str, number: u64) -> Result<(), String> {
        let there_since = {
            let evidence = &self.ledger.open().evidence;
            evidence.room.is_of_crowd(number).then(|| evidence.shops.all_there_since()).flatten()
        };
        // Who has failed at a shop that is not there chooses among the others.
        if there_since.is_none_or(|since| since + THERE > now()) {
            return Ok(());
        }
        let (view, requests) = (cluster.view(), self.requests());
        let takes = view.catalog.backends.values().filter(|record| record.takes_new());
        let taking: Vec<Taking> = takes
            .filter_map(|record| {
                let shop = *self.shops.get(&record.address.ip())?;
                Some(Taking { shop, open: requests.open_at(shop), since: taking_since(record) })
            })
            .collect();
        drop(requests);
        self.ledger.count("requests of crowds judged");
        let time = view.time.max(cluster.standing().time);
        self.spread.lock().unwrap_or_else(PoisonError::into_inner).leaves(now(), time, shop, &taking)
    }

    /// Takes in a request head that was just written; whether it is a client's.
    fn sent(&self, to: &Watched, bytes: &[u8]) -> bool {
        let head = String::from_utf8_lossy(bytes);
        let method = head.split(' ').next().and_then(|method| method.parse::<Method>().ok());
        let number = header(&head, REQUEST).and_then(|number| number.parse().ok());
        let (Some((cluster, proxy)), Some(method), Some(number)) = (self.process.get(), method, number)
        else {
            return false;
        };
        let session = header(&head, "stickler-session");
        let in_time = self.ledger.open().evidence.room.leaves(now(), self.node, to.shop, number);
        in_time.unwrap_or_else(|broken| self.ledger.violated(broken));
        self.leaves((cluster, proxy), to, &Head { number, method, has_session: session.is_some() });
        if let Some(session) = session {
            self.routed(cluster, to.shop, session, &head);
        }
        true
    }

    /// Takes in that a request of a session left.
    fn routed(&self, cluster: &Cluster, shop: &str, session: &str, head: &str) {
        let Some(epoch) = header(head, "stickler-epoch") else {
            if let Ok(key) = session.parse::<KeyHash>() {
                self.ledger.open().evidence.leaving.asks(now(), key);
            }
            // A session that is being created, or that a token without a record proves.
            if cluster.standing().footing == Footing::Isolated {
                self.ledger.open().evidence.sent_unrecorded(now(), self.node, shop);
            }
            return;
        };
        let (Ok(key), Ok(epoch)) = (session.parse::<KeyHash>(), epoch.parse().map(Epoch)) else {
            return self.ledger.violated(format!("a request with unreadable fencing: {head}"));
        };
        let (at, standing) = (now(), cluster.standing());
        let home = {
            let evidence = &mut self.ledger.open().evidence;
            evidence.used(at, key);
            evidence.leaving.asks(at, key);
            evidence.goes_to(shop, key, epoch)
        };
        if let Err(broken) = home {
            self.ledger.violated(format_args!("{broken} (on node {})", self.node));
        }
        let footing = self.ledger.open().evidence.sends_on(self.node, standing.footing);
        match footing {
            Footing::Leased => {
                self.ledger.count("requests by lease");
                let routes = self.ledger.open().evidence.routes(at, self.node, key, epoch);
                if let Err(broken) = routes {
                    self.ledger.violated(broken);
                }
                if self.unusable(cluster, key, epoch, standing.stable.0) {
                    self.ledger.violated(format!(
                        "I5: node {} used epoch {epoch} of {key} before the stable index was there",
                        self.node
                    ));
                }
            }
            Footing::Isolated => {
                self.ledger.count("requests without a lease");
                let sent = self.ledger.open().evidence.sent_isolated(at, self.node, shop, (key, epoch));
                if let Err(broken) = sent {
                    self.ledger.violated(broken);
                }
            }
            Footing::CatchingUp => self.ledger.violated(format!(
                "I5 OneOwner: node {} sent a request of {key} while it was catching up",
                self.node
            )),
        }
        self.ledger.note(
            format_args!("node-{}", self.node),
            format_args!("to {shop} {key} epoch {epoch} {footing:?}"),
        );
    }

    /// Whether this node's own state says that the epoch may not be used yet.
    fn unusable(&self, cluster: &Cluster, key: KeyHash, epoch: Epoch, stable: u64) -> bool {
        let view = cluster.view();
        view.catalog.affinities.iter().any(|affinity| {
            let session = SessionKey { affinity: *affinity, key };
            matches!(view.table.get(&session), Some(Record::Binding(binding))
                if binding.epoch == epoch && binding.usable_from.0 > stable)
        })
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl Watched {
    /// What was asked by it is answered, or won't be.
    fn ends(&mut self) {
        if self.response.take().is_some() {
            self.watch.requests().ends(self.shop, self.number);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ends();
    }
}

impl Stream for Watched {
    fn peer_address(&self) -> io::Result<SocketAddr> {
        self.stream.peer_address()
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_address()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let come = &buffer.filled()[before..];
        let ended = match &read {
            Poll::Pending => false,
            Poll::Ready(Ok(())) if !come.is_empty() => {
                self.response.as_mut().is_some_and(|response| response.takes(come))
            }
            Poll::Ready(_) => true,
        };
        if ended {
            self.ends();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            // hyper writes a head without a body in one piece.
            if self.watch.sent(&self, bytes) {
                (self.response, self.reused) = (Some(ResponseEnd::default()), true);
            }
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
