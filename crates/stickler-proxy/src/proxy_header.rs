//! Reads what a trusted proxy says about a connection before the client's own bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use stickler_core::client_address::proxy_header::{self, LONGEST, NoProxyHeader, ProxyHeader};
use stickler_rt::BoxedStream;
use tokio::io::AsyncReadExt;

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

/// What a proxy said at the start of a connection.
#[derive(Debug, Default)]
pub(crate) struct Greeted {
    /// The client's end of the connection, if the proxy named it.
    pub source: Option<SocketAddr>,
    /// Bytes of the client's own that were read along with the header.
    pub ahead: Bytes,
}

/// Reads the header that `stream` begins with, for at most `patience`.
pub(crate) async fn read(stream: &mut BoxedStream, patience: Duration) -> Result<Greeted, GreetingError> {
    tokio::time::timeout(patience, read_header(stream)).await.map_err(|_| GreetingError::Late)?
}

async fn read_header(stream: &mut BoxedStream) -> Result<Greeted, GreetingError> {
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
            return Ok(Greeted { source, ahead: read.split_off(length).freeze() });
        }
    }
}
