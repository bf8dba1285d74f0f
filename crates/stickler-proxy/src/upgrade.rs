//! A WebSocket's bytes, both ways, after the backend has switched protocols.

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use stickler_rt::{BoxedStream, Clock, Moment, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};

use crate::client_stream::ClientStream;
use crate::hold::Hold;
use crate::in_flight::InFlightGuard;

/// Longest wait for the client's side to switch, once the backend has.
const SWITCH: Duration = Duration::from_secs(10);

/// Bytes of buffer for each direction. Most WebSockets are idle most of the time: memory counts for more.
const BUFFER: usize = 4 * 1024;

/// Two connections that are about to become one.
pub(crate) struct Tunnel {
    pub(crate) client: OnUpgrade,
    pub(crate) backend: OnUpgrade,
    pub(crate) hold: Hold,
    pub(crate) in_flight: InFlightGuard,
    /// Longest silence of both sides together.
    pub(crate) patience: Duration,
    pub(crate) clock: Clock,
    pub(crate) ending: Shutdown,
}

impl Tunnel {
    /// Passes bytes on until both sides have ended, one broke, all was silent for too long, or the session
    /// or the worker ends. The end of one side is passed on and leaves the other open.
    pub(crate) async fn run(self) {
        let Self { client, backend, hold, in_flight, patience, clock, ending } = self;
        let ended = tokio::select! {
            biased;
            () = ending.wait() => "the worker ends",
            () = closed(hold.close()) => "the session has ended",
            ended = pass(client, backend, patience, &clock) => ended,
        };
        drop((hold, in_flight));
        tracing::trace!(ended, "tunnel ended");
    }
}

async fn closed(close: Option<&Shutdown>) {
    match close {
        Some(close) => close.wait().await,
        None => std::future::pending().await,
    }
}

async fn pass(client: OnUpgrade, backend: OnUpgrade, patience: Duration, clock: &Clock) -> &'static str {
    let both = async { tokio::try_join!(client, backend) };
    let Ok(Ok((client, backend))) = tokio::time::timeout(SWITCH, both).await else {
        return "a side did not switch";
    };
    let last = Rc::new(Cell::new(clock.now()));
    let (Some((client, from_client)), Some((backend, from_backend))) =
        (open::<ClientStream>(client), open::<BoxedStream>(backend))
    else {
        return "a side is no stream of ours";
    };
    let (client, ahead, _place) = client.into_parts();
    let watched = |stream| Watched { stream, clock: clock.clone(), last: Rc::clone(&last) };
    let (mut client, mut backend) = (watched(client), watched(backend));
    // What was read ahead with the heads goes first.
    let first = async {
        client.write_all(&from_backend).await?;
        backend.write_all(&from_client).await?;
        backend.write_all(&ahead).await
    };
    if first.await.is_err() {
        return "a side broke";
    }
    let mut copy = pin!(copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER));
    loop {
        tokio::select! {
            biased;
            copied = &mut copy => return if copied.is_ok() { "both sides ended" } else { "a side broke" },
            () = clock.sleep_until(last.get() + patience) => {
                if clock.now() >= last.get() + patience {
                    return "both sides were silent";
                }
            }
        }
    }
}

/// Takes the stream out of hyper's hands, with what was read from it and not used. `None` for a stream that
/// is not of type `S`, which no worker makes.
fn open<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(upgraded: Upgraded) -> Option<(S, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<S>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// Notes when something last came.
struct Watched {
    stream: BoxedStream,
    clock: Clock,
    last: Rc<Cell<Moment>>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.last.set(self.clock.now());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
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
