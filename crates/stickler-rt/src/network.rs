//! Sockets as a process sees them. One trait with one real implementation and one simulated, both over the
//! same kind of byte stream.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// A future behind a pointer, so that the traits here can be used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connected byte stream. Usable by hyper through `TokioIo`, and by tonic behind a type of the caller's
/// own that says what `Connected` wants.
pub type BoxedStream = Box<dyn Stream>;

/// Opens sockets.
pub trait Network: Send + Sync + 'static {
    /// Listens at `address`; port 0 asks for a free one. Fails with the operating system's error: an
    /// address in use or not of this machine is a mistake in a document or the node file.
    fn bind(&self, address: SocketAddr, options: BindOptions)
    -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// Connects to `address`. It has no time-out of its own. `ConnectionRefused` means that the machine
    /// answers and nothing listens there.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxedStream>>;
}

/// How a listening socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindOptions {
    /// Let several sockets of this process share the address; the kernel deals connections out to them.
    /// The simulated network has no such thing and refuses the second socket.
    pub reuse_port: bool,
    /// Connections that may wait to be accepted before the kernel drops new ones.
    pub backlog: u32,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self { reuse_port: false, backlog: 1024 }
    }
}

/// A listening socket.
pub trait Listener: Send + Sync + 'static {
    /// Waits for the next connection. An error is about that connection or about resources that ran out
    /// (descriptors), not the end of the listener: wait a little and accept again.
    fn accept(&self) -> BoxFuture<'_, io::Result<BoxedStream>>;

    /// Where it listens, with the port that was chosen for port 0.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// The other end.
    fn peer_address(&self) -> io::Result<SocketAddr>;

    /// This end.
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// The connections of `listener`, for servers that want a stream of them. It never ends by itself; errors
/// are passed on as `accept` gives them.
pub fn incoming(listener: Box<dyn Listener>) -> impl futures::Stream<Item = io::Result<BoxedStream>> + Send {
    futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await;
        Some((accepted, listener))
    })
}
