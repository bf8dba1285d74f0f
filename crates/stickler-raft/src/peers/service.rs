//! What this node answers to the other nodes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::type_config::alias::SnapshotOf;
use stickler_core::ids::{BackendId, NodeId};
use stickler_proto::peer::Body;
use stickler_proto::peer::peer_server::{Peer, PeerServer};
use stickler_rt::{BoxedStream, Shutdown};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::bodies::{
    Credentials, Greeting, LeaseMessage, LeaseNews, NotCommitted, ProposeAnswer, ProposeRequest,
    SnapshotIntroduction,
};
use super::gatekeeper::Gatekeeper;
use super::link::{CREDENTIALS, LARGEST_MESSAGE, body, value};
use crate::blocking::Blocking;
use crate::hand_over::hand_over;
use crate::loads::OwnLoad;
use crate::office::{LeaseCall, OfficeHandle};
use crate::proposals::LeaderLog;
use crate::raft::{Raft, Types};
use crate::store::codec::{self, Kind};
use crate::store::{SnapshotDirectory, SnapshotFile};

/// Batches of one stream that may be under way at the leader at once.
const BATCHES_UNDER_WAY: usize = 16;

/// Concurrent streams on one connection: far above what a peer opens, so that HTTP/2's own default of 200
/// never stands in the way.
const STREAMS: u32 = 4096;

/// Answers the peers' calls.
pub(crate) struct PeerService {
    pub(crate) raft: Raft,
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    pub(crate) snapshots: SnapshotDirectory,
    pub(crate) leader_log: LeaderLog,
    pub(crate) office: OfficeHandle,
    pub(crate) blocking: Blocking,
    pub(crate) load: OwnLoad,
}

/// Serves until `shutdown`. `connections` are those of the node's peer listener.
pub(crate) async fn serve(
    service: PeerService,
    connections: impl Stream<Item = std::io::Result<BoxedStream>> + Send + 'static,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let peers = PeerServer::new(service)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    tonic::transport::Server::builder()
        .max_concurrent_streams(Some(STREAMS))
        .initial_stream_window_size(Some(4 << 20))
        .initial_connection_window_size(Some(16 << 20))
        .add_service(peers)
        .serve_with_incoming_shutdown(connections.map(|stream| stream.map(Accepted)), shutdown.wait_owned())
        .await
}

/// A connection that was accepted, as tonic wants it.
struct Accepted(BoxedStream);

impl tonic::transport::server::Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl tokio::io::AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl PeerService {
    fn credentials<T>(request: &Request<T>) -> Result<Credentials, Status> {
        let sent = request.metadata().get_bin(CREDENTIALS);
        let bytes = sent
            .and_then(|sent| sent.to_bytes().ok())
            .ok_or_else(|| Status::unauthenticated("no credentials: not a node of this program"))?;
        codec::decode(Kind::PeerRequest, &bytes).map_err(|error| Status::unauthenticated(error.to_string()))
    }

    /// Checks who calls before anything else is looked at.
    fn admit<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let caller = Self::credentials(request)?;
        self.gatekeeper.admit(&caller).map_err(|refusal| {
            tracing::warn!(node = %caller.from, %refusal, "peer refused");
            Status::permission_denied(refusal.to_string())
        })?;
        Ok(caller.from)
    }

    /// Writes the first message of a stream's snapshot to a temporary file, then its bytes.
    async fn receive(
        &self,
        mut pieces: Streaming<Body>,
    ) -> Result<(SnapshotIntroduction, SnapshotFile), Status> {
        let first = pieces.message().await?.ok_or_else(|| Status::invalid_argument("no snapshot"))?;
        let (introduction, length): (SnapshotIntroduction, u64) = value(Kind::PeerRequest, &first)?;
        let refused = |error: crate::store::SnapshotError| Status::internal(error.to_string());
        let mut receiver = self.snapshots.receive(length).map_err(refused)?;
        while let Some(piece) = pieces.message().await? {
            let writing = self
                .blocking
                .run(move || receiver.write_at(receiver.received(), &piece.bytes).map(|()| receiver));
            receiver = writing.await?.map_err(refused)?;
        }
        let file = self.blocking.run(move || receiver.finish()).await?.map_err(refused)?;
        Ok((introduction, file))
    }
}

/// Carries a call to consensus to its end, though the peer may have hung up: openraft panics when a call is
/// dropped while consensus ends.
async fn to_its_end<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    call: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Status> {
    match tokio::spawn(call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Status::internal(error.to_string())),
        Err(_) => Err(Status::unavailable("this node is stopping")),
    }
}

type BodyStream = Pin<Box<dyn Stream<Item = Result<Body, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for PeerService {
    type ProposeStream = BodyStream;
    type LeaseStream = BodyStream;

    async fn hello(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let caller = Self::credentials(&request)?;
        self.gatekeeper
            .admit_greeting(&caller)
            .map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
        let own = self.gatekeeper.credentials(caller.from, Some(caller.from_directory));
        let greeting = Greeting {
            node: own.from,
            directory: own.from_directory,
            cluster: own.cluster,
            knows_you_as: self.gatekeeper.member(caller.from).map(|member| member.directory),
        };
        Ok(Response::new(body(Kind::PeerAnswer, &greeting)?))
    }

    async fn append(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let question = value(Kind::PeerRequest, request.get_ref())?;
        let raft = self.raft.clone();
        let answer = to_its_end(async move { raft.append_entries(question).await }).await?;
        Ok(Response::new(body(Kind::PeerAnswer, &answer)?))
    }

    async fn vote(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let question = value(Kind::PeerRequest, request.get_ref())?;
        let raft = self.raft.clone();
        let answer = to_its_end(async move { raft.vote(question).await }).await?;
        Ok(Response::new(body(Kind::PeerAnswer, &answer)?))
    }

    async fn pre_vote(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let question = value(Kind::PeerRequest, request.get_ref())?;
        let raft = self.raft.clone();
        let answer = to_its_end(async move { raft.pre_vote(question).await }).await?;
        Ok(Response::new(body(Kind::PeerAnswer, &answer)?))
    }

    async fn transfer_leader(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let question = value(Kind::PeerRequest, request.get_ref())?;
        let raft = self.raft.clone();
        let answer = to_its_end(async move { raft.handle_transfer_leader(question).await }).await?;
        Ok(Response::new(body(Kind::PeerAnswer, &answer)?))
    }

    async fn hand_over(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let to = value(Kind::PeerRequest, request.get_ref())?;
        let raft = self.raft.clone();
        let answer = to_its_end(async move { Ok::<_, Infallible>(hand_over(&raft, to).await) }).await?;
        Ok(Response::new(body(Kind::PeerAnswer, &answer)?))
    }

    async fn holdings(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let answer = self.office.holdings().await;
        Ok(Response::new(body(Kind::PeerAnswer, &answer)?))
    }

    async fn load(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let backends: Vec<BackendId> = value(Kind::PeerRequest, request.get_ref())?;
        Ok(Response::new(body(Kind::PeerAnswer, &self.load.of(&backends))?))
    }

    async fn install_snapshot(&self, request: Request<Streaming<Body>>) -> Result<Response<Body>, Status> {
        self.admit(&request)?;
        let (introduction, file) = self.receive(request.into_inner()).await?;
        let snapshot = SnapshotOf::<Types, SnapshotFile> { meta: introduction.meta, snapshot: file };
        let raft = self.raft.clone();
        let vote = introduction.vote;
        let answer = to_its_end(async move { raft.install_full_snapshot(vote, snapshot).await }).await?;
        Ok(Response::new(body(Kind::PeerAnswer, &answer)?))
    }

    async fn propose(&self, request: Request<Streaming<Body>>) -> Result<Response<BodyStream>, Status> {
        self.admit(&request)?;
        let leader_log = self.leader_log.clone();
        let answers = request
            .into_inner()
            .map(move |message| {
                let leader_log = leader_log.clone();
                async move {
                    let batch: ProposeRequest = value(Kind::PeerRequest, &message?)?;
                    let result = leader_log.propose(batch.commands).await;
                    if leader_log.has_ended() {
                        // Ends the stream, so that the peer connects to whoever has this address next.
                        return Err(Status::unavailable("this node is stopping"));
                    }
                    encode_answer(batch.number, result)
                }
            })
            // Unordered: a batch that is refused at once need not wait for one that is under way.
            .buffer_unordered(BATCHES_UNDER_WAY);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease(&self, request: Request<Streaming<Body>>) -> Result<Response<BodyStream>, Status> {
        let node = self.admit(&request)?;
        let (news, stream) = mpsc::channel(64);
        let office = self.office.clone();
        let mut messages = request.into_inner();
        office.call(LeaseCall::Joined { news: news.clone() });
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let Ok(message) = value::<LeaseMessage>(Kind::PeerRequest, &message) else { break };
                let speaker = match message {
                    LeaseMessage::Request(request) => request.node,
                    LeaseMessage::Applied { node, .. } => node,
                };
                if speaker != node {
                    tracing::warn!(%node, %speaker, "a peer spoke for another one");
                    break;
                }
                office.call(LeaseCall::Message { message, news: news.clone() });
            }
        });
        let encoded = ReceiverStream::new(stream).map(|news: LeaseNews| body(Kind::PeerAnswer, &news));
        Ok(Response::new(Box::pin(encoded)))
    }
}

fn encode_answer(
    number: u64,
    result: Result<(stickler_core::ids::LogIndex, Vec<stickler_core::state::Outcome>), NotCommitted>,
) -> Result<Body, Status> {
    body(Kind::PeerAnswer, &ProposeAnswer { number, result })
}
