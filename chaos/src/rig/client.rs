//! A client of the cluster: one keep-alive HTTP/1.1 connection to one node.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, HOST, SET_COOKIE, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use stickler_rt::{BoxedStream, Outside};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::task::AbortHandle;

use crate::identifier::{Door, Identifier, SESSION_HEADER};

/// Longest wait for an answer unless the client has less patience. A node itself gives up sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// The backends' answers are far smaller.
const LARGEST_BODY: usize = 64 * 1024;

/// Why a request got no whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VisitError {
    /// Nothing listens there: nothing has happened.
    #[error("can't connect: {0}")]
    Connect(std::io::Error),
    /// The connection broke before the answer was there: the outcome is unknown.
    #[error("no answer: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer's body broke off: what its head says was said.
    #[error("no whole body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The outcome is unknown.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// What a client is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status; 200 is the backend's.
    pub status: u16,
    /// The backend, as it says itself.
    pub backend: String,
    /// The epoch by which the node routed the request, or that it has just drawn.
    pub epoch: Option<u64>,
    /// The session's key, as the node told it to the backend.
    pub key: Option<String>,
    /// An identifier that the answer reveals.
    pub revealed: Option<String>,
    /// The name of Stickler's refusal.
    pub error: Option<String>,
}

impl Answer {
    /// Whether the backend answered.
    pub(crate) fn is_served(&self) -> bool {
        self.status == 200 || self.status == 101
    }
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A client of one node. Connects when there is something to send, and again after the connection broke.
pub(crate) struct Client {
    outside: Outside,
    node: SocketAddr,
    source: Option<Ipv4Addr>,
    patience: Duration,
    connection: Option<Connection>,
}

impl Client {
    /// A client of the node whose public address this is.
    pub(crate) fn new(outside: &Outside, node: SocketAddr) -> Self {
        Self { outside: outside.clone(), node, source: None, patience: PATIENCE, connection: None }
    }

    /// The same client, at this address of the machine.
    pub(crate) fn from(mut self, source: Ipv4Addr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same client, which waits no longer than this for an answer.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    async fn open(&self) -> io::Result<BoxedStream> {
        let Some(source) = self.source else { return self.outside.network.connect(self.node).await };
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(self.node).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// Ends the connection; the next request makes another.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Has a connection before it is needed.
    pub(crate) async fn connect(&mut self) -> Result<(), VisitError> {
        let open = self.connection.as_ref().is_some_and(|connection| !connection.sender.is_closed());
        if !open {
            let stream = self.open().await.map_err(VisitError::Connect)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            // What breaks the connection is told to whoever waits for the answer.
            let driver = tokio::spawn(async move { drop(connection.with_upgrades().await) }).abort_handle();
            self.connection = Some(Connection { sender, driver });
        }
        Ok(())
    }

    /// The request of a client with this identifier.
    pub(crate) async fn visit(&mut self, identifier: &Identifier) -> Result<Answer, VisitError> {
        self.visit_door(identifier.door, Some(&identifier.value)).await
    }

    /// A request through a door, with an identifier or without one.
    pub(crate) async fn visit_door(&mut self, door: Door, value: Option<&str>) -> Result<Answer, VisitError> {
        let mut request = Request::get(door.path()).header(HOST, self.node.to_string());
        request = match (door.cookie(), value) {
            (Some(cookie), Some(value)) => request.header(COOKIE, format!("{cookie}={value}")),
            (None, Some(value)) if door.is_by_header() => request.header(SESSION_HEADER, value),
            (_, _) => request,
        };
        let request = request.body(Empty::new()).expect("paths and identifiers of a run make valid requests");
        let (status, headers) = self.send(request).await?;
        Ok(read_answer(door.cookie(), status, &headers))
    }

    /// A request of any target with these headers, and what came back: read, with the cookie of this name as what is
    /// revealed, and as it was.
    pub(crate) async fn ask(
        &mut self,
        target: &str,
        headers: &[(&str, String)],
        cookie: Option<&str>,
    ) -> Result<(Answer, HeaderMap), VisitError> {
        let request = Request::get(target).header(HOST, self.node.to_string());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = request.body(Empty::new()).expect("targets and headers of a run make valid requests");
        let (status, headers) = self.send(request).await?;
        Ok((read_answer(cookie, status, &headers), headers))
    }

    /// The status of a GET, for pages that are not the backends'.
    pub(crate) async fn status_of(&mut self, path: &'static str) -> Result<StatusCode, VisitError> {
        let request = Request::get(path).header(HOST, self.node.to_string()).body(Empty::new());
        self.send(request.expect("a constant path makes a valid request")).await.map(|(status, _)| status)
    }

    /// Asks for a WebSocket of a session, by header.
    pub(crate) async fn open_socket(
        &mut self,
        session: &str,
    ) -> (Result<Answer, VisitError>, Option<OpenSocket>) {
        let opened = tokio::time::timeout(self.patience, self.exchange_socket(session)).await;
        let opened = opened.unwrap_or(Err(VisitError::TimedOut(self.patience)));
        match opened {
            Ok((answer, socket)) => (Ok(answer), socket),
            Err(error) => (Err(error), None),
        }
    }

    async fn exchange_socket(&mut self, session: &str) -> Result<(Answer, Option<OpenSocket>), VisitError> {
        self.connect().await?;
        let request = Request::get(Door::Socket.path())
            .header(HOST, self.node.to_string())
            .header(SESSION_HEADER, session)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(Empty::new())
            .expect("a session's name makes a valid request");
        let connection = self.connection.as_mut().expect("it was connected in the line above");
        let response = connection.sender.send_request(request).await?;
        let answer = read_answer(None, response.status(), response.headers());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok((answer, None));
        }
        let upgraded = hyper::upgrade::on(response).await?;
        let connection = self.connection.take();
        let stream = BufReader::new(TokioIo::new(upgraded));
        Ok((answer, connection.map(|connection| OpenSocket { stream, _connection: connection })))
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<(StatusCode, HeaderMap), VisitError> {
        let exchanged = tokio::time::timeout(self.patience, self.exchange(request)).await;
        let exchanged = exchanged.unwrap_or(Err(VisitError::TimedOut(self.patience)));
        if exchanged.is_err() {
            self.connection = None;
        }
        exchanged.map(|response| (response.status(), response.into_parts().0.headers))
    }

    async fn exchange(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<()>, VisitError> {
        self.connect().await?;
        let sender = &mut self.connection.as_mut().expect("it was connected in the line above").sender;
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        Limited::new(body, LARGEST_BODY).collect().await.map_err(VisitError::Body)?;
        Ok(Response::from_parts(head, ()))
    }
}

/// A WebSocket through a node to a backend, whose messages are lines.
pub(crate) struct OpenSocket {
    stream: BufReader<TokioIo<Upgraded>>,
    _connection: Connection,
}

impl OpenSocket {
    /// Sends a message and waits for the answer: the backend that gave it. `None` when the WebSocket is closed
    /// or silent.
    pub(crate) async fn echo(&mut self, patience: Duration) -> Option<String> {
        let exchanged = async {
            self.stream.write_all(b"who are you?\n").await.ok()?;
            let mut line = String::new();
            let length = self.stream.read_line(&mut line).await.ok()?;
            (length > 0).then(|| line.trim_end().to_owned())
        };
        tokio::time::timeout(patience, exchanged).await.ok()?
    }
}

pub(super) fn read_answer(cookie: Option<&str>, status: StatusCode, headers: &HeaderMap) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let revealed = cookie.and_then(|cookie| {
        let lines = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.filter_map(|line| line.split(';').next()?.trim().split_once('='));
        pairs.filter(|(name, _)| *name == cookie).map(|(_, value)| value.to_owned()).next_back()
    });
    Answer {
        status: status.as_u16(),
        backend: text("x-backend").unwrap_or_default(),
        epoch: text("stickler-epoch").and_then(|epoch| epoch.parse().ok()),
        key: text("x-key"),
        revealed,
        error: text("stickler-error"),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_says_who_gave_it_and_what_it_reveals() {
        let mut headers = HeaderMap::new();
        headers.insert("x-backend", HeaderValue::from_static("web-1"));
        headers.insert("stickler-epoch", HeaderValue::from_static("17"));
        headers.append(SET_COOKIE, HeaderValue::from_static("OTHER=1; Path=/"));
        headers.append(SET_COOKIE, HeaderValue::from_static("SHOPSESSION=abc; Path=/; HttpOnly"));
        let answer = read_answer(Door::Own.cookie(), StatusCode::OK, &headers);
        let expected = Answer {
            status: 200,
            backend: "web-1".to_owned(),
            epoch: Some(17),
            revealed: Some("abc".to_owned()),
            ..Answer::default()
        };
        assert_eq!(answer, expected);
        assert_eq!(read_answer(Door::Token.cookie(), StatusCode::OK, &headers).revealed, None);
    }
}
