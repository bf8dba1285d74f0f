//! A node's network, with an eye on its connections to shops: it sees every request at the moment at which
//! its first byte leaves, which is when lease, stable index and epoch must have been right (I5).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use stickler_core::ids::{Epoch, KeyHash, NodeId};
use stickler_core::lease::Footing;
use stickler_core::state::{Record, SessionKey};
use stickler_raft::Cluster;
use stickler_rt::{BindOptions, BoxFuture, BoxedStream, Listener, Network, SimulatedNetwork, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ledger::{Ledger, now};

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
    cluster: OnceLock<Cluster>,
}

impl WatchedNetwork {
    /// The network of a node that is about to start.
    #[must_use]
    pub fn new(node: NodeId, ledger: Ledger, shops: &BTreeMap<&'static str, IpAddr>, random: StdRng) -> Self {
        let shops = shops.iter().map(|(name, ip)| (*ip, *name)).collect();
        let (random, cluster) = (Mutex::new(random), OnceLock::new());
        Self { watch: Arc::new(Watch { node, ledger, shops, random, cluster }) }
    }

    /// From now on requests are judged by what this node knows.
    pub fn watch(&self, cluster: Cluster) {
        let _ = self.watch.cluster.set(cluster);
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
            Ok(Box::new(Watched { stream, shop, watch: Arc::clone(&self.watch) }))
        })
    }
}

/// A connection to a shop.
struct Watched {
    stream: BoxedStream,
    shop: &'static str,
    watch: Arc<Watch>,
}

/// How often a connection to a shop takes its time, and how long at most: below the pool's time-out. What
/// was decided before may have passed by then.
const SLOW: f64 = 0.15;
const SLOWEST: Duration = Duration::from_millis(280);

impl Watch {
    fn delay(&self) -> Option<Duration> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.random_bool(SLOW).then(|| SLOWEST.mul_f64(random.random()))
    }

    /// Takes in a request head that was just written.
    fn sent(&self, shop: &str, bytes: &[u8]) {
        let Some(cluster) = self.cluster.get() else { return };
        let head = String::from_utf8_lossy(bytes);
        let Some(session) = header(&head, "stickler-session") else { return };
        let Some(epoch) = header(&head, "stickler-epoch") else {
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
        self.ledger.open().evidence.used(at, key);
        match standing.footing {
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
            format_args!("to {shop} {key} epoch {epoch} {:?}", standing.footing),
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
            self.watch.sent(self.shop, bytes);
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
