//! A client's request body on its way to a backend, and what the exchange needs to know about it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use stickler_rt::{Clock, Moment};
use tokio::time::Sleep;

/// How far a request body has come, shared between the body (which hyper drives) and the exchange.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Clock,
    last: Cell<Moment>,
    waiting_for_client: Cell<bool>,
    failed: Cell<Option<ClientFailure>>,
}

/// The client did not bring its body to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFailure {
    BrokeOff,
    Stalled,
}

impl Progress {
    pub(crate) fn new(clock: Clock) -> Self {
        let last = Cell::new(clock.now());
        Self { clock, last, waiting_for_client: Cell::new(false), failed: Cell::new(None) }
    }

    /// When the backend last had reason to get on with it: the last piece of the body was handed over, or
    /// now, while the client is what everybody waits for.
    pub(crate) fn backends_turn_since(&self) -> Moment {
        if self.waiting_for_client.get() { self.clock.now() } else { self.last.get() }
    }

    pub(crate) fn failed(&self) -> Option<ClientFailure> {
        self.failed.get()
    }
}

/// What a request on the way to a backend has for a body.
pub(crate) struct ClientBody {
    incoming: Option<Incoming>,
    progress: Rc<Progress>,
    /// Longest wait for the client's next piece.
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

/// The client failed to bring its body to an end; the details are in `Progress`.
#[derive(Debug, thiserror::Error)]
#[error("the client did not finish its request")]
pub(crate) struct ClientBodyError;

impl ClientBody {
    /// `None` is for a request that has no body.
    pub(crate) fn new(incoming: Option<Incoming>, progress: Rc<Progress>, patience: Duration) -> Self {
        Self { incoming, progress, patience, waiting: None }
    }

    /// The body as it came; only of use as long as nothing of it was read.
    pub(crate) fn into_incoming(self) -> Option<Incoming> {
        self.incoming
    }

    fn fail(&mut self, failure: ClientFailure) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        self.progress.failed.set(Some(failure));
        Poll::Ready(Some(Err(ClientBodyError)))
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                self.progress.waiting_for_client.set(false);
                self.progress.last.set(self.progress.clock.now());
                self.waiting = None;
                match frame {
                    Some(Err(_broken)) => self.fail(ClientFailure::BrokeOff),
                    Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
                    None => Poll::Ready(None),
                }
            }
            Poll::Pending => {
                self.progress.waiting_for_client.set(true);
                let patience = self.patience;
                let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                if waiting.as_mut().poll(context).is_ready() {
                    return self.fail(ClientFailure::Stalled);
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
