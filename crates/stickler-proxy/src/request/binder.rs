//! Binds, moves and ends sessions through the cluster. Concurrent first requests of one key on one node
//! share one proposal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use stickler_core::ids::LogIndex;
use stickler_core::state::{
    Bind, BindOutcome, Command, Origin, Outcome, Rebind, RebindOutcome, SessionKey, Unbind,
};
use stickler_raft::{Cluster, Persistence, ProposeError};

use super::node::PATIENCE;

type Sharing<T> = Shared<BoxFuture<'static, Result<T, ProposeError>>>;

/// What the workers of a node propose about sessions. Clones are the same.
#[derive(Clone)]
pub(super) struct Binder {
    cluster: Cluster,
    /// Placements under way. One entry for each key that is being placed right now.
    placing: Arc<Mutex<HashMap<SessionKey, Sharing<BindOutcome>>>>,
    /// Moves under way.
    moving: Arc<Mutex<HashMap<SessionKey, Sharing<RebindOutcome>>>>,
}

impl Binder {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster, placing: Arc::default(), moving: Arc::default() }
    }

    /// Binds a session before anything is sent.
    pub(super) async fn place(
        &self,
        session: SessionKey,
        origin: Origin,
    ) -> Result<BindOutcome, ProposeError> {
        share(&self.placing, session, || {
            let seen = self.cluster.view().applied;
            self.bind(session, origin, seen).boxed()
        })
        .await
    }

    /// Binds a session that a backend holds already: never shared, since the answer is for this one. `seen`
    /// is the applied index from before the backend was asked.
    pub(super) fn bind(
        &self,
        session: SessionKey,
        origin: Origin,
        seen: LogIndex,
    ) -> impl Future<Output = Result<BindOutcome, ProposeError>> + Send + use<> {
        let cluster = self.cluster.clone();
        let deadline = cluster.standing().time.max(cluster.view().time) + PATIENCE * 2;
        async move {
            let bind = Command::Bind(Bind { session, origin, seen, deadline });
            match cluster.propose(bind, PATIENCE, Persistence::Retry).await?.outcome {
                Outcome::Bind(outcome) => Ok(outcome),
                // Another kind of outcome would mean that answers were mixed up: trust none of them.
                _ => Err(ProposeError::Unknown),
            }
        }
    }

    /// Moves a session.
    pub(super) async fn rebind(&self, rebind: Rebind) -> Result<RebindOutcome, ProposeError> {
        let cluster = self.cluster.clone();
        share(&self.moving, rebind.session, move || {
            async move {
                let command = Command::Rebind(rebind);
                match cluster.propose(command, PATIENCE, Persistence::Retry).await?.outcome {
                    Outcome::Rebind(outcome) => Ok(outcome),
                    _ => Err(ProposeError::Unknown),
                }
            }
            .boxed()
        })
        .await
    }

    /// Records a session beside its request.
    pub(super) fn bind_meanwhile(&self, session: SessionKey, origin: Origin, seen: LogIndex) {
        let deadline = self.cluster.standing().time.max(self.cluster.view().time) + PATIENCE * 2;
        self.cluster.submit(Command::Bind(Bind { session, origin, seen, deadline }), PATIENCE);
    }

    /// Moves a session beside its request.
    pub(super) fn rebind_meanwhile(&self, rebind: Rebind) {
        self.cluster.submit(Command::Rebind(rebind), PATIENCE);
    }

    /// Ends a session that its application has ended. Nobody waits for it.
    pub(super) fn unbind(&self, unbind: Unbind) {
        self.cluster.submit(Command::Unbind(unbind), PATIENCE);
    }
}

/// Joins what is under way for `session`, or starts it.
async fn share<T: Clone>(
    under_way: &Mutex<HashMap<SessionKey, Sharing<T>>>,
    session: SessionKey,
    start: impl FnOnce() -> BoxFuture<'static, Result<T, ProposeError>>,
) -> Result<T, ProposeError> {
    let joined = {
        let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.entry(session).or_insert_with(|| start().shared()).clone()
    };
    let result = joined.clone().await;
    // Whoever comes later must not get this answer: it is about a state that may have passed.
    let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
    if under_way.get(&session).is_some_and(|current| current.ptr_eq(&joined)) {
        under_way.remove(&session);
    }
    result
}
