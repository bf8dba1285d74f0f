//! A client's connection as the HTTP server sees it: every byte that comes is watched for bad framing, and
//! a connection that is closed with input unread lingers, so that the client gets to read the answer.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use stickler_rt::BoxedStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::framing_watch::FramingWatch;
use crate::places::Place;

/// How long a closed connection lingers.
const LINGER: Duration = Duration::from_secs(1);

/// How much it throws away meanwhile, in bytes.
const LINGER_BYTES: usize = 1024 * 1024;

/// A client's connection, watched.
pub(crate) struct ClientStream {
    stream: BoxedStream,
    /// What was read before anybody knew that it is HTTP.
    ahead: Bytes,
    watch: FramingWatch,
    place: Place,
    lingering: Option<Lingering>,
}

struct Lingering {
    end: Pin<Box<Sleep>>,
    bytes: usize,
}

impl ClientStream {
    /// `ahead` was read from the stream already, and comes first.
    pub(crate) fn new(stream: BoxedStream, ahead: Bytes, place: Place) -> Self {
        Self { stream, ahead, watch: FramingWatch::new(), place, lingering: None }
    }

    /// The bare stream, for what is no longer HTTP, what was read from it ahead and is left, and the place that the
    /// client still takes.
    pub(crate) fn into_parts(self) -> (BoxedStream, Bytes, Place) {
        (self.stream, self.ahead, self.place)
    }

    pub(crate) fn watch(&self) -> &FramingWatch {
        &self.watch
    }

    /// Reads and throws away until the client has closed its side, too. Closing a socket with unread input
    /// resets it, and the reset may overtake the answer that is still on its way.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lingering = self
            .lingering
            .get_or_insert_with(|| Lingering { end: Box::pin(tokio::time::sleep(LINGER)), bytes: 0 });
        let mut waste = [0; 4096];
        while lingering.bytes < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut waste);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    lingering.bytes += buffer.filled().len()
                }
                Poll::Ready(_ended) => break,
                Poll::Pending => {
                    ready!(lingering.end.as_mut().poll(context));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let length = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(length));
        }
        this.watch.read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
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
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        if self.watch.is_between_requests() { Poll::Ready(Ok(())) } else { self.poll_linger(context) }
    }
}
