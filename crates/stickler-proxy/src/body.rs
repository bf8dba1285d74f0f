//! The body of every response that leaves a worker.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::backend_connections::Reuse;
use crate::hold::Hold;
use crate::in_flight::InFlightGuard;

/// A response's body: a backend's, passed on piece by piece, or a small one of our own.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// Bytes of our own, not sent yet.
    Own(Bytes),
    /// A stream from a backend.
    Backend(BackendBody),
}

/// A body ended before its time. The client sees the connection break, because its status is long gone.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The backend broke off or sent what can't be read: look at the backend.
    #[error("the backend broke off its response: {0}")]
    Backend(#[from] hyper::Error),
    /// The session's epoch has ended and the grace for its streams is over.
    #[error("the stream was closed because its session ended")]
    Closed,
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Backend(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(bytes) => bytes.is_empty(),
            Self::Backend(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Backend(body) => body.incoming.size_hint(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Own(bytes)
    }
}

/// A response body on its way from a backend. The next piece is read when the client took the last one.
pub struct BackendBody {
    incoming: Incoming,
    running: Option<Running>,
    closed: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// What lasts as long as the exchange does.
struct Running {
    reuse: Reuse,
    hold: Hold,
    _in_flight: InFlightGuard,
}

impl BackendBody {
    pub(crate) fn new(incoming: Incoming, reuse: Reuse, hold: Hold, in_flight: InFlightGuard) -> Self {
        let mut body =
            Self { incoming, running: Some(Running { reuse, hold, _in_flight: in_flight }), closed: None };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.poll_closed(context) {
            // Dropped without being given back, so that the connection to the backend ends too.
            self.running = None;
            return Poll::Ready(Some(Err(BodyError::Closed)));
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(context));
        match &frame {
            Some(Ok(_)) if !self.incoming.is_end_stream() => {}
            Some(Ok(_)) | None => self.finish(),
            Some(Err(_)) => self.running = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn poll_closed(&mut self, context: &mut Context<'_>) -> bool {
        let Some(close) = self.running.as_ref().and_then(|running| running.hold.close()) else {
            return false;
        };
        self.closed.get_or_insert_with(|| Box::pin(close.wait_owned())).as_mut().poll(context).is_ready()
    }

    fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            running.reuse.give_back();
        }
    }
}

impl Drop for BackendBody {
    /// A body of known length is not polled again after its last byte: this is where its end is noticed.
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }
}

impl fmt::Debug for BackendBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendBody")
            .field("incoming", &self.incoming)
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}
