//! What a process gets from outside: sockets, names, clock, seed, spawner. With the store this is the only seam
//! between a real process and a deterministic simulation, and no other crate opens sockets, reads a clock,
//! draws randomness or starts threads by itself.

pub mod clock;
pub mod dns_resolver;
pub mod network;
pub mod outside;
pub mod resolver;
pub mod seed;
pub mod shutdown;
#[cfg(feature = "turmoil")]
pub mod simulated_network;
pub mod spawner;
pub mod tcp;
pub mod watch;

pub use clock::{Clock, Moment, Skew, wall_clock};
pub use dns_resolver::DnsResolver;
pub use network::{BindOptions, BoxFuture, BoxedStream, Listener, Network, Stream, incoming};
pub use outside::Outside;
pub use resolver::{Family, NameTable, ResolveError, Resolved, Resolver, ServiceRecord};
pub use seed::{Seed, SeedError};
pub use shutdown::Shutdown;
#[cfg(feature = "turmoil")]
pub use simulated_network::SimulatedNetwork;
pub use spawner::{Spawner, TaskSpawner, ThreadSpawner, WorkerHandle, WorkerMain, WorkerPanicked};
pub use tcp::TcpNetwork;
