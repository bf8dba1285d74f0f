//! A connection of an operator, and who is at its other end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use stickler_rt::BoxedStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

/// Who makes a call, as the operating system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process of this machine, over the unix socket.
    Process {
        /// The user that it runs as.
        user: u32,
        /// Its number, where the operating system tells.
        process: Option<i32>,
    },
    /// A loopback address.
    Address(SocketAddr),
    /// The operating system does not say.
    Unknown,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { user, process: Some(process) } => write!(f, "user {user}, process {process}"),
            Self::Process { user, process: None } => write!(f, "user {user}"),
            Self::Address(address) => address.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A connection that was accepted. It counts among the listener's connections until it is dropped.
pub(super) struct Connection {
    stream: Either<UnixStream, BoxedStream>,
    caller: Caller,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn unix(stream: UnixStream, permit: OwnedSemaphorePermit) -> Self {
        let caller = stream.peer_cred().map_or(Caller::Unknown, |credentials| Caller::Process {
            user: credentials.uid(),
            process: credentials.pid(),
        });
        Self { stream: Either::Left(stream), caller, _permit: permit }
    }

    pub(super) fn tcp(stream: BoxedStream, permit: OwnedSemaphorePermit) -> Self {
        let caller = stream.peer_address().map_or(Caller::Unknown, Caller::Address);
        Self { stream: Either::Right(stream), caller, _permit: permit }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
