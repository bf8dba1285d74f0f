//! Connections to the other nodes: two for each, so that a snapshot or a full batch of proposals never
//! stands before a heartbeat.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use stickler_core::ids::{DirectoryId, NodeId};
use stickler_proto::peer::Body;
use stickler_proto::peer::peer_client::PeerClient;
use stickler_rt::Network;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::gatekeeper::Gatekeeper;
use crate::store::codec::{self, Kind};

/// Name of the metadata that carries the credentials.
pub(crate) const CREDENTIALS: &str = "stickler-peer-bin";

/// Longest wait for a connection. Nodes are near each other; a dead one must not keep an election waiting.
const CONNECT: Duration = Duration::from_millis(250);

/// A connection on which nothing has come for this long is asked for a sign of life, and closed when none
/// comes in time. Messages that a cut has dropped may not be sent again for many seconds after it is over,
/// and calls would time out on the old connection all the while.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
const NO_SIGN_OF_LIFE: Duration = Duration::from_millis(750);

/// Flow-control window of one stream and of a whole connection, in bytes: room for a full batch, so that
/// one does not take several round trips.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The largest message in bytes, either way; the codec's own limits are at most this.
pub(crate) const LARGEST_MESSAGE: usize = 20 << 20;

/// Which of a peer's two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Log entries, heartbeats, votes, leases.
    Consensus,
    /// Proposals and snapshots.
    Bulk,
}

/// Connections to all peers, made when they are first used and kept.
pub(crate) struct Links {
    network: Arc<dyn Network>,
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    channels: Mutex<BTreeMap<(SocketAddr, Lane), Channel>>,
}

/// One peer, as a member or a future one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) node: NodeId,
    pub(crate) address: SocketAddr,
    /// `None` before the peer has said it.
    pub(crate) directory: Option<DirectoryId>,
}

impl Links {
    pub(crate) fn new(network: Arc<dyn Network>, gatekeeper: Arc<Gatekeeper>) -> Self {
        Self { network, gatekeeper, channels: Mutex::default() }
    }

    /// The target by which the membership knows `node`.
    pub(crate) fn target(&self, node: NodeId) -> Option<Target> {
        let member = self.gatekeeper.member(node)?;
        Some(Target { node, address: member.address, directory: Some(member.directory) })
    }

    pub(crate) fn client(&self, target: &Target, lane: Lane) -> PeerClient<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.entry((target.address, lane)).or_insert_with(|| self.channel(target.address));
        PeerClient::new(channel.clone())
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE)
    }

    /// A message with the credentials that `target` will check.
    pub(crate) fn request<T>(&self, target: &Target, message: T) -> Result<Request<T>, Status> {
        let credentials = self.gatekeeper.credentials(target.node, target.directory);
        let bytes = codec::encode(Kind::PeerRequest, &credentials)
            .map_err(|error| Status::internal(format!("credentials: {error}")))?;
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin(CREDENTIALS, MetadataValue::from_bytes(&bytes));
        Ok(request)
    }

    /// Connects by itself whenever a call finds it unconnected; calls fail at once while it can't.
    fn channel(&self, address: SocketAddr) -> Channel {
        let network = Arc::clone(&self.network);
        Endpoint::from_shared(format!("http://{address}"))
            .expect("a socket address is a valid authority")
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(SIGN_OF_LIFE)
            .keep_alive_timeout(NO_SIGN_OF_LIFE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
                let network = Arc::clone(&network);
                async move { network.connect(address).await.map(TokioIo::new) }
            }))
    }
}

/// Encodes a body for the wire.
pub(crate) fn body<T: serde::Serialize>(kind: Kind, value: &T) -> Result<Body, Status> {
    let bytes = codec::encode(kind, value).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Body { bytes: bytes.into() })
}

/// Decodes a body from the wire.
pub(crate) fn value<T: serde::de::DeserializeOwned>(kind: Kind, body: &Body) -> Result<T, Status> {
    codec::decode(kind, &body.bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}
