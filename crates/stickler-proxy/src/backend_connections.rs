//! One worker's connections to backends: idle ones kept for reuse, newest first, and new ones made when
//! there is none.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use stickler_rt::{Clock, Moment, Network, Shutdown};

use crate::client_body::ClientBody;

/// Ceilings on idle connections of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLimits {
    /// Idle connections kept to one backend.
    pub per_backend: usize,
    /// Idle connections kept in all.
    pub total: usize,
    /// How long one is kept. Below what backends allow, or they close connections as they are being used.
    pub age: Duration,
}

impl Default for IdleLimits {
    fn default() -> Self {
        Self { per_backend: 128, total: 1024, age: Duration::from_secs(4) }
    }
}

/// The largest response head read from a backend, in bytes.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// How far a connection reads ahead of a client that takes its time, in bytes.
const MAX_READ_AHEAD: usize = 128 * 1024;

/// After a response's end, how long the rest of its request may take before the connection is given up.
const LATE_REQUEST_BODY: Duration = Duration::from_secs(1);

/// One worker's connections to backends. Clones share them. Everything runs on the worker's own thread,
/// inside a `LocalSet`.
#[derive(Clone)]
pub struct BackendConnections {
    shared: Rc<Shared>,
}

struct Shared {
    network: Arc<dyn Network>,
    clock: Clock,
    limits: IdleLimits,
    ending: Shutdown,
    idle: RefCell<BTreeMap<SocketAddr, VecDeque<Idle>>>,
    idle_total: Cell<usize>,
}

struct Idle {
    sender: SendRequest<ClientBody>,
    since: Moment,
}

/// A connection that can take one request now.
pub(crate) struct Ready {
    pub(crate) sender: SendRequest<ClientBody>,
    /// It carried requests before, so the backend may have closed it without us knowing yet.
    pub(crate) reused: bool,
}

impl BackendConnections {
    /// No connections yet. Once `ending` is triggered none is kept, and tunnels to backends end.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, clock: Clock, limits: IdleLimits, ending: Shutdown) -> Self {
        let (idle, idle_total) = (RefCell::default(), Cell::new(0));
        Self { shared: Rc::new(Shared { network, clock, limits, ending, idle, idle_total }) }
    }

    pub(crate) fn ending(&self) -> &Shutdown {
        &self.shared.ending
    }

    /// The clock that idle connections age by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Idle connections kept to `address` now, as far as this worker knows alive.
    #[must_use]
    pub fn idle(&self, address: SocketAddr) -> usize {
        self.shared.idle.borrow().get(&address).map_or(0, VecDeque::len)
    }

    /// Closes the idle connections to `address`, after its backend was removed or went down.
    pub fn forget(&self, address: SocketAddr) {
        let forgotten = self.shared.idle.borrow_mut().remove(&address).map_or(0, |idle| idle.len());
        self.shared.idle_total.set(self.shared.idle_total.get() - forgotten);
    }

    /// Closes idle connections as they get too old, and at the end all of them. Each worker runs one.
    pub async fn keep_tidy(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.shared.ending.wait() => break,
                () = tokio::time::sleep(self.shared.limits.age / 2) => self.close_old(),
            }
        }
        self.shared.idle.borrow_mut().clear();
        self.shared.idle_total.set(0);
    }

    fn close_old(&self) {
        let now = self.shared.clock.now();
        let mut idle = self.shared.idle.borrow_mut();
        let mut total = 0;
        idle.retain(|_address, connections| {
            connections
                .retain(|idle| !idle.sender.is_closed() && now.since(idle.since) < self.shared.limits.age);
            total += connections.len();
            !connections.is_empty()
        });
        self.shared.idle_total.set(total);
    }

    /// The idle connection to `address` that was used last, if one is still good.
    pub(crate) fn take_idle(&self, address: SocketAddr) -> Option<Ready> {
        let now = self.shared.clock.now();
        let mut idle = self.shared.idle.borrow_mut();
        let connections = idle.get_mut(&address)?;
        while let Some(Idle { sender, since }) = connections.pop_back() {
            self.shared.idle_total.set(self.shared.idle_total.get() - 1);
            if sender.is_ready() && now.since(since) < self.shared.limits.age {
                return Some(Ready { sender, reused: true });
            }
        }
        idle.remove(&address);
        None
    }

    /// A new connection to `address`. Has no time-out of its own.
    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Ready> {
        let stream = self.shared.network.connect(address).await?;
        let (sender, connection) = http1::Builder::new()
            .max_header_size(MAX_RESPONSE_HEAD)
            .max_buf_size(MAX_READ_AHEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                // The exchange on it, if any, gets the error too and says so where it is handled.
                tracing::trace!(%address, %error, "connection to a backend ended");
            }
        });
        Ok(Ready { sender, reused: false })
    }

    fn keep(&self, address: SocketAddr, sender: SendRequest<ClientBody>) {
        let limits = self.shared.limits;
        if self.shared.idle_total.get() >= limits.total {
            self.close_old();
        }
        if self.shared.ending.is_triggered()
            || limits.per_backend == 0
            || self.shared.idle_total.get() >= limits.total
        {
            return;
        }
        let mut idle = self.shared.idle.borrow_mut();
        let connections = idle.entry(address).or_default();
        if connections.len() >= limits.per_backend {
            connections.pop_front();
        } else {
            self.shared.idle_total.set(self.shared.idle_total.get() + 1);
        }
        connections.push_back(Idle { sender, since: self.shared.clock.now() });
    }
}

impl fmt::Debug for BackendConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendConnections")
            .field("idle", &self.shared.idle_total.get())
            .finish_non_exhaustive()
    }
}

/// A connection in use, and where it goes once its exchange has ended well. Dropped instead, it is closed.
pub(crate) struct Reuse {
    pub(crate) connections: BackendConnections,
    pub(crate) address: SocketAddr,
    pub(crate) sender: SendRequest<ClientBody>,
}

impl Reuse {
    /// The response has ended. The connection is idle once its request has, too.
    pub(crate) fn give_back(self) {
        let Self { connections, address, mut sender } = self;
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            connections.keep(address, sender);
            return;
        }
        tokio::task::spawn_local(async move {
            if let Ok(Ok(())) = tokio::time::timeout(LATE_REQUEST_BODY, sender.ready()).await {
                connections.keep(address, sender);
            }
        });
    }
}
