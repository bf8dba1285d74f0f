//! Raft's messages to the other nodes. Every call has a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory};

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::{SnapshotOf, VoteOf};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stickler_core::ids::NodeId;
use stickler_proto::peer::Body;
use tonic::{Code, Response, Status};

use super::bodies::SnapshotIntroduction;
use super::link::{Lane, Links, Target, body, value};
use crate::blocking::Blocking;
use crate::raft::{Member, Types};
use crate::store::SnapshotFile;
use crate::store::codec::Kind;

/// Bytes of a snapshot in one message.
const SNAPSHOT_PIECE: usize = 256 << 10;

/// Longest wait for the whole of a snapshot: a million sessions are some 60 MB.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(120);

/// Longest wait for an append. openraft gives it one heartbeat's time, in which a follower whose disk is busy
/// can't have synced; giving up early only makes the leader send everything again. (Heartbeats have a task
/// and a deadline of their own.)
const APPEND_DEADLINE: Duration = Duration::from_millis(1000);

/// How long an unreachable peer is left alone. Short: while it is, it gets no heartbeats, and one that
/// comes back must not call an election first.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(50);

/// Makes openraft's connections to peers.
pub(crate) struct PeerNetwork {
    pub(crate) links: Arc<Links>,
    pub(crate) own: u64,
    pub(crate) blocking: Blocking,
}

/// openraft's connection to one peer.
pub(crate) struct PeerConnection {
    links: Arc<Links>,
    own: u64,
    target: Target,
    blocking: Blocking,
}

impl RaftNetworkFactory<Types> for PeerNetwork {
    type Network = PeerConnection;

    async fn new_client(&mut self, target: u64, member: &Member) -> PeerConnection {
        let target =
            Target { node: NodeId(target), address: member.address, directory: Some(member.directory) };
        PeerConnection { links: Arc::clone(&self.links), own: self.own, target, blocking: self.blocking }
    }
}

/// One kind of unary call.
#[derive(Clone, Copy)]
enum Call {
    Append,
    Vote,
    PreVote,
    TransferLeader,
}

impl Call {
    fn rpc_type(self) -> RPCTypes {
        match self {
            Self::Append => RPCTypes::AppendEntries,
            Self::Vote | Self::PreVote => RPCTypes::Vote,
            Self::TransferLeader => RPCTypes::TransferLeader,
        }
    }
}

impl PeerConnection {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call,
        question: &Q,
        deadline: Duration,
    ) -> Result<A, RPCError<Types>> {
        let answer = tokio::time::timeout(deadline, self.send(call, question)).await;
        match answer {
            Ok(Ok(answer)) => value(Kind::PeerAnswer, answer.get_ref()).map_err(|status| failed(&status)),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action: call.rpc_type(),
                id: self.own,
                target: self.target.node.0,
                timeout: deadline,
            })),
        }
    }

    async fn send<Q: Serialize>(&self, call: Call, question: &Q) -> Result<Response<Body>, Status> {
        let mut client = self.links.client(&self.target, Lane::Consensus);
        let request = self.links.request(&self.target, body(Kind::PeerRequest, question)?)?;
        match call {
            Call::Append => client.append(request).await,
            Call::Vote => client.vote(request).await,
            Call::PreVote => client.pre_vote(request).await,
            Call::TransferLeader => client.transfer_leader(request).await,
        }
    }

    async fn send_snapshot(
        &self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotFile>,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let introduction = SnapshotIntroduction { vote, meta: snapshot.meta };
        let first = body(Kind::PeerRequest, &(introduction, snapshot.snapshot.length()))
            .map_err(|status| streaming_failed(&status))?;
        let (pieces, stream) = tokio::sync::mpsc::channel(4);
        let reading = read_pieces(first, snapshot.snapshot, pieces, self.blocking);
        let request = self
            .links
            .request(&self.target, tokio_stream::wrappers::ReceiverStream::new(stream))
            .map_err(|status| streaming_failed(&status))?;
        let mut client = self.links.client(&self.target, Lane::Bulk);
        // The reader ends when the call drops its end of the channel, so neither outlives the other.
        let (answer, ()) = tokio::join!(client.install_snapshot(request), reading);
        let answer = answer.map_err(|status| streaming_failed(&status))?;
        value(Kind::PeerAnswer, answer.get_ref()).map_err(|status| streaming_failed(&status))
    }
}

/// Hands a snapshot's bytes on as fast as they are taken.
async fn read_pieces(
    first: Body,
    file: SnapshotFile,
    pieces: tokio::sync::mpsc::Sender<Body>,
    blocking: Blocking,
) {
    if pieces.send(first).await.is_err() {
        return;
    }
    let mut offset = 0;
    while offset < file.length() {
        let source = file.clone();
        let read = blocking.run(move || {
            let mut piece = vec![0; SNAPSHOT_PIECE];
            source.read_at(&mut piece, offset).map(|length| {
                piece.truncate(length);
                piece
            })
        });
        match read.await {
            Ok(Ok(piece)) if !piece.is_empty() => {
                offset += piece.len() as u64;
                if pieces.send(Body { bytes: piece.into() }).await.is_err() {
                    return;
                }
            }
            // Ending the stream early makes the receiver refuse what it got.
            Ok(Ok(_)) => return,
            Ok(Err(error)) => return tracing::error!(%error, "a snapshot can't be read"),
            Err(error) => return tracing::error!(%error, "a snapshot can't be read"),
        }
    }
}

impl RaftNetworkV2<Types> for PeerConnection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.call(Call::Append, &request, option.hard_ttl().max(APPEND_DEADLINE)).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Call::Vote, &request, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Call::PreVote, &request, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            sent = tokio::time::timeout(SNAPSHOT_DEADLINE, self.send_snapshot(vote, snapshot)) => {
                sent.unwrap_or(Err(StreamingError::Timeout(Timeout {
                    action: RPCTypes::InstallSnapshot,
                    id: self.own,
                    target: self.target.node.0,
                    timeout: SNAPSHOT_DEADLINE,
                })))
            }
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(Call::TransferLeader, &request, option.hard_ttl()).await
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE)))
    }
}

/// An unreachable peer is left alone for a moment; any other failure is tried again at once.
fn failed(status: &Status) -> RPCError<Types> {
    if status.code() == Code::Unavailable {
        RPCError::Unreachable(Unreachable::new(status))
    } else {
        RPCError::Network(NetworkError::new(status))
    }
}

fn streaming_failed(status: &Status) -> StreamingError<Types> {
    if status.code() == Code::Unavailable {
        StreamingError::Unreachable(Unreachable::new(status))
    } else {
        StreamingError::Network(NetworkError::new(status))
    }
}
