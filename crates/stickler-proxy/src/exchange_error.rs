//! Why an exchange with a backend failed: whose fault it was, whether the backend is suspected, and whether
//! the request may be sent again.

use std::fmt;
use std::io;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use crate::responses::Answer;

/// Which side an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client broke off or stalled.
    Client,
    /// The backend, or the way to it.
    Backend,
    /// This node: the request was no longer valid when it could have been sent.
    Node,
}

/// What went wrong. `E` is what the validation before the first byte answers.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeCause<E> {
    /// Nothing listens at the backend's address: its process is gone.
    #[error("the backend refused the connection")]
    Refused,
    /// No connection within the pool's `connect_timeout`: the machine or the way to it is gone or overrun.
    #[error("no connection to the backend within {0:?}")]
    ConnectTimedOut(Duration),
    /// No connection for another reason, which the operating system names.
    #[error("no connection to the backend: {0}")]
    Unreachable(#[source] io::Error),
    /// The validation failed. Nothing was sent.
    #[error("the request was no longer valid when it could be sent")]
    Invalid(E),
    /// The backend broke off before its response, or what it sent can't be read: look at its log.
    #[error("the backend broke off: {0}")]
    BrokeOff(#[source] hyper::Error),
    /// No response head within the pool's `response_timeout`.
    #[error("no response within {0:?}")]
    ResponseTimedOut(Duration),
    /// The backend switched protocols without being asked.
    #[error("the backend switched protocols without being asked")]
    UnexpectedUpgrade,
    /// The client broke off in its request body.
    #[error("the client broke off in its request")]
    ClientBrokeOff,
    /// The client sent nothing of its request body for too long.
    #[error("the client stalled in its request")]
    ClientStalled,
}

impl<E> ExchangeCause<E> {
    /// Which side it came from.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self {
            Self::Invalid(_) => Side::Node,
            Self::ClientBrokeOff | Self::ClientStalled => Side::Client,
            Self::Refused
            | Self::ConnectTimedOut(_)
            | Self::Unreachable(_)
            | Self::BrokeOff(_)
            | Self::ResponseTimedOut(_)
            | Self::UnexpectedUpgrade => Side::Backend,
        }
    }

    /// Whether it is a reason to have the backend probed at once: it could not be connected to, or broke
    /// off. A slow response is none, because the application may just be slow.
    #[must_use]
    pub const fn suspects_backend(&self) -> bool {
        matches!(self, Self::Refused | Self::ConnectTimedOut(_) | Self::Unreachable(_) | Self::BrokeOff(_))
    }

    /// The answer to the client; `None` for a failed validation, which only the caller can name.
    #[must_use]
    pub fn answer(&self) -> Option<Answer> {
        let (status, name, text) = match self {
            Self::Invalid(_) => return None,
            Self::Refused => {
                (StatusCode::BAD_GATEWAY, "backend-refused", "the backend refused the connection")
            }
            Self::ConnectTimedOut(_) => {
                (StatusCode::GATEWAY_TIMEOUT, "connect-timeout", "the backend could not be reached in time")
            }
            Self::Unreachable(_) => {
                (StatusCode::BAD_GATEWAY, "backend-unreachable", "the backend can't be reached")
            }
            Self::BrokeOff(_) => (StatusCode::BAD_GATEWAY, "backend-broke-off", "the backend broke off"),
            Self::ResponseTimedOut(_) => {
                (StatusCode::GATEWAY_TIMEOUT, "response-timeout", "the backend did not answer in time")
            }
            Self::UnexpectedUpgrade => {
                (StatusCode::BAD_GATEWAY, "unexpected-upgrade", "the backend switched protocols unasked")
            }
            Self::ClientBrokeOff => (StatusCode::BAD_REQUEST, "request-broken-off", "the request broke off"),
            Self::ClientStalled => {
                (StatusCode::REQUEST_TIMEOUT, "request-stalled", "the request body stalled")
            }
        };
        let answer = Answer::new(status, name, text);
        Some(if self.side() == Side::Client { answer.and_close() } else { answer })
    }
}

/// A failed exchange.
pub struct ExchangeError<E> {
    /// What went wrong.
    pub cause: ExchangeCause<E>,
    /// The request as it was handed in, when no byte of it was sent, or none but to a connection that was being closed and
    /// the request is safe to send again: then it may be sent elsewhere.
    pub unsent: Option<Box<Request<Incoming>>>,
    /// The request as it was handed in, when the backend got it and broke off before its response, and it may be sent once
    /// more: it has no body, and does nothing a second time that it did not do the first time.
    pub swallowed: Option<Box<Request<Incoming>>>,
    /// A connection that was being closed swallowed it: `unsent` and `swallowed` are what was tried a second time.
    pub sent_again: bool,
}

impl<E: fmt::Debug> fmt::Debug for ExchangeError<E> {
    /// Leaves the request out: it holds the client's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeError")
            .field("cause", &self.cause)
            .field("unsent", &self.unsent.is_some())
            .finish()
    }
}

impl<E> fmt::Display for ExchangeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({})",
            self.cause,
            if self.unsent.is_some() { "nothing was sent" } else { "maybe sent" }
        )
    }
}

impl<E: fmt::Debug> std::error::Error for ExchangeError<E> {}
