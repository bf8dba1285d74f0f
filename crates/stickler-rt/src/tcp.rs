//! The real network: TCP of the operating system, through tokio.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::network::{BindOptions, BoxFuture, BoxedStream, Listener, Network, Stream};

/// TCP of the operating system. Every stream has Nagle's algorithm off: whole heads are written at once,
/// and a small body must not wait for the peer's acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

impl Network for TcpNetwork {
    fn bind(
        &self,
        address: SocketAddr,
        options: BindOptions,
    ) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(listen(address, options)?) as Box<dyn Listener>) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxedStream)
        })
    }
}

fn listen(address: SocketAddr, options: BindOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted process must not wait for its predecessor's closed connections to be forgotten.
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxedStream>> {
        Box::pin(async move {
            let (stream, _peer) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
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
