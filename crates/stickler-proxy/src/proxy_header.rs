//! Reads what a trusted proxy says about a connection before the client's own bytes, and gives the connection
//! back as if that had never been on it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use stickler_core::client_address::proxy_header::{self, LONGEST, NoProxyHeader, ProxyHeader};
use stickler_rt::{BoxedStream, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Room for the first read: what nearly all headers need.
const FIRST_READ: usize = 512;

/// Why a connection did not begin as it had to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    /// It comes from somebody who is no trusted proxy.
    #[error("it comes from no trusted proxy")]
    Stranger,
    /// It begins with something else.
    #[error(transparent)]
    NoHeader(#[from] NoProxyHeader),
    /// No whole header came in time.
    #[error("its PROXY header did not come in time")]
    Late,
    /// It ended or broke before its first byte, as checks by connection alone do.
    #[error("it was closed before it began")]
    Unused,
    /// It broke in the middle of the header.
    #[error("it broke: {0}")]
    Broken(#[from] io::Error),
}

/// Reads the header that `stream` begins with, for at most `patience`. What is given back begins behind it,
/// with the client's address, if the header names one.
pub(crate) async fn read(
    stream: BoxedStream,
    patience: Duration,
) -> Result<(BoxedStream, Option<SocketAddr>), GreetingError> {
    tokio::time::timeout(patience, read_header(stream)).await.map_err(|_| GreetingError::Late)?
}

async fn read_header(mut stream: BoxedStream) -> Result<(BoxedStream, Option<SocketAddr>), GreetingError> {
    let mut read = BytesMut::with_capacity(FIRST_READ);
    loop {
        // There is an answer for the longest header, so there is always room for a byte more.
        let room = LONGEST - read.len();
        match stream.read_buf(&mut (&mut read).limit(room)).await {
            Ok(0) | Err(_) if read.is_empty() => return Err(GreetingError::Unused),
            Ok(0) => return Err(NoProxyHeader.into()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(ProxyHeader { length, source }) = proxy_header::read(&read)? {
            let ahead = read.split_off(length).freeze();
            let stream = if ahead.is_empty() { stream } else { Box::new(Rewound { ahead, stream }) };
            return Ok((stream, source));
        }
    }
}

/// A stream of which some bytes were read ahead, as if they had not been.
struct Rewound {
    ahead: Bytes,
    stream: BoxedStream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Stream for Rewound {
    fn peer_address(&self) -> io::Result<SocketAddr> {
        self.stream.peer_address()
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_address()
    }
}
