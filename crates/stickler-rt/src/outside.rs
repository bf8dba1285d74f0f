//! Everything that a node takes from outside, in one value.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::dns_resolver::DnsResolver;
use crate::network::Network;
use crate::resolver::Resolver;
use crate::seed::{Seed, SeedError};
use crate::spawner::{Spawner, ThreadSpawner};
use crate::tcp::TcpNetwork;

/// Sockets, names, clock, seed and spawner of one node. The store is handed over beside it.
#[derive(Clone)]
pub struct Outside {
    /// Opens sockets.
    pub network: Arc<dyn Network>,
    /// Looks names up.
    pub resolver: Arc<dyn Resolver>,
    /// The node's clock.
    pub clock: Clock,
    /// The root of the node's randomness.
    pub seed: Seed,
    /// Starts workers.
    pub spawner: Arc<dyn Spawner>,
}

impl Outside {
    /// What a real process gets: TCP, DNS, the monotonic clock from now on, the system's randomness, threads.
    pub fn of_process() -> Result<Self, SeedError> {
        Ok(Self {
            network: Arc::new(TcpNetwork),
            resolver: Arc::new(DnsResolver::default()),
            clock: Clock::start(),
            seed: Seed::from_system()?,
            spawner: Arc::new(ThreadSpawner),
        })
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside")
            .field("clock", &self.clock)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
