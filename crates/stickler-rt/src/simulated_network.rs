//! The network of a deterministic simulation: turmoil's, whose hosts, delays and cuts come from one seed.

use std::io;
use std::net::SocketAddr;

use turmoil::net::{TcpListener, TcpStream};

use crate::network::{BindOptions, BoxFuture, BoxedStream, Listener, Network, Stream};

/// turmoil's network, seen from the host on which it is used. It does not know a shared port
/// (`reuse_port`), so a simulated node runs one worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedNetwork;

impl Network for SimulatedNetwork {
    fn bind(
        &self,
        address: SocketAddr,
        _options: BindOptions,
    ) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(TcpListener::bind(address).await?) as Box<dyn Listener>) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as BoxedStream) })
    }
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            let (stream, _peer) = TcpListener::accept(self).await?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl Stream for TcpStream {
    fn peer_address(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}
