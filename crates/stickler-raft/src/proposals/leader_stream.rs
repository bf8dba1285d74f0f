//! A stream of batches to a leader that is another node.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use stickler_core::ids::{LogIndex, NodeId};
use stickler_core::state::{Command, Outcome};
use stickler_proto::peer::Body;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::peers::{Lane, Links, NotCommitted, ProposeAnswer, ProposeRequest, Target, body, value};
use crate::store::codec::Kind;

/// Batches that may wait to be written to the connection; the courier keeps fewer under way.
const OUTGOING: usize = 8;

type Result<T> = std::result::Result<T, NotCommitted>;
/// In order, so that those who wait are told in order when the stream breaks.
type Waiting = BTreeMap<u64, oneshot::Sender<Result<(LogIndex, Vec<Outcome>)>>>;

/// An open stream. Dropping it closes it; what was under way then is unknown.
pub(super) struct LeaderStream {
    leader: NodeId,
    next: u64,
    outgoing: mpsc::Sender<Body>,
    waiting: Arc<Mutex<Waiting>>,
}

impl LeaderStream {
    /// Opens a stream. It connects in the background; when that fails, what was proposed is refused.
    pub(super) fn open(links: &Arc<Links>, target: Target) -> Self {
        let (outgoing, batches) = mpsc::channel(OUTGOING);
        let waiting = Arc::new(Mutex::new(Waiting::new()));
        let reader = read(Arc::clone(links), target, batches, Arc::clone(&waiting));
        tokio::spawn(async move {
            if let Err(status) = reader.await {
                tracing::debug!(leader = %target.node, %status, "proposal stream ended");
            }
        });
        Self { leader: target.node, next: 0, outgoing, waiting }
    }

    pub(super) fn is_open_to(&self, leader: NodeId) -> bool {
        self.leader == leader && !self.outgoing.is_closed()
    }

    /// Sends a batch; the future is its outcome.
    pub(super) fn propose(
        &mut self,
        commands: Vec<Command>,
    ) -> impl Future<Output = Result<(LogIndex, Vec<Outcome>)>> + Send + use<> {
        self.next += 1;
        let number = self.next;
        let (answer, outcome) = oneshot::channel();
        lock(&self.waiting).insert(number, answer);
        let sent = body(Kind::PeerRequest, &ProposeRequest { number, commands })
            .is_ok_and(|message| self.outgoing.try_send(message).is_ok());
        if !sent {
            lock(&self.waiting).remove(&number);
        }
        async move {
            // Never sent: the stream is closed or overrun, and nothing has happened.
            if !sent {
                return Err(NotCommitted::NotLeading);
            }
            outcome.await.unwrap_or(Err(NotCommitted::Unknown))
        }
    }
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops everybody who still waits when the stream ends, which tells them that the outcome is unknown.
struct Forget(Arc<Mutex<Waiting>>);

impl Drop for Forget {
    fn drop(&mut self) {
        lock(&self.0).clear();
    }
}

async fn read(
    links: Arc<Links>,
    target: Target,
    mut batches: mpsc::Receiver<Body>,
    waiting: Arc<Mutex<Waiting>>,
) -> std::result::Result<(), Status> {
    let forget = Forget(waiting);
    let mut client = links.client(&target, Lane::Bulk);
    // Ends the outgoing half when this function ends, so that the courier opens another stream.
    let (relay, relayed) = mpsc::channel(1);
    let request = links.request(&target, ReceiverStream::new(relayed))?;
    let relaying = async move {
        while let Some(batch) = batches.recv().await {
            if relay.send(batch).await.is_err() {
                return;
            }
        }
    };
    let reading = async {
        let mut answers = client.propose(request).await?.into_inner();
        while let Some(answer) = answers.next().await {
            let answer: ProposeAnswer = value(Kind::PeerAnswer, &answer?)?;
            if let Some(waiter) = lock(&forget.0).remove(&answer.number) {
                let _ = waiter.send(answer.result);
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        ended = reading => ended,
        () = relaying => Ok(()),
    }
}
