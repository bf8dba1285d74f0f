//! The tasks of one node's consensus: those of a leader, those of every follower, and those by which a cluster
//! comes to be.

use std::sync::Arc;

use stickler_core::ids::{Incarnation, NodeId};
use stickler_rt::{Outside, Shutdown, watch};
use tokio::sync::mpsc;

use crate::blocking::Blocking;
use crate::consensus::ConsensusConfig;
use crate::election::Elector;
use crate::founding::{Birth, Founding, MembershipError};
use crate::key_rotation::{KeyRotation, KeySource};
use crate::lease_holder::LeaseHolder;
use crate::office::{OfficeHandle, OfficeOwner, OfficeQueue, Term};
use crate::peers::Links;
use crate::proposals::{Courier, LeaderLog, LeaderLogOwner, LeaderLogQueue, Proposal};
use crate::published::Published;
use crate::quorum_rounds::QuorumRounds;
use crate::raft::Raft;
use crate::snapshotter;
use crate::store::IdentityStore;
use crate::sweeper::Sweeper;

/// What the tasks of a node are made from.
pub(crate) struct Tasks<'a> {
    pub(crate) config: &'a ConsensusConfig,
    pub(crate) outside: &'a Outside,
    pub(crate) raft: &'a Raft,
    pub(crate) published: &'a Arc<Published>,
    pub(crate) links: &'a Arc<Links>,
    pub(crate) leader_log: &'a LeaderLog,
    pub(crate) identity: &'a Arc<dyn IdentityStore>,
    pub(crate) keys: &'a KeySource,
    pub(crate) blocking: Blocking,
    pub(crate) shutdown: &'a Shutdown,
}

impl Tasks<'_> {
    /// The tasks of a leader; they idle while this node does not lead.
    pub(crate) fn lead(&self, queue: LeaderLogQueue, office: OfficeQueue) -> watch::Receiver<Option<Term>> {
        let (term, term_changes) = watch::channel(None);
        let office = OfficeOwner {
            raft: self.raft.clone(),
            clock: self.outside.clock.clone(),
            published: Arc::clone(self.published),
            queue: office,
            term,
        };
        tokio::spawn(office.run(self.shutdown.clone()));
        let log = LeaderLogOwner {
            raft: self.raft.clone(),
            clock: self.outside.clock.clone(),
            term: term_changes.clone(),
            published: Arc::clone(self.published),
            queue,
        };
        tokio::spawn(log.run(self.shutdown.clone()));
        let sweeper = Sweeper {
            clock: self.outside.clock.clone(),
            published: Arc::clone(self.published),
            term: term_changes.clone(),
            leader_log: self.leader_log.clone(),
            blocking: self.blocking,
        };
        tokio::spawn(sweeper.run(self.shutdown.clone()));
        let rotation = KeyRotation {
            clock: self.outside.clock.clone(),
            published: Arc::clone(self.published),
            term: term_changes.clone(),
            leader_log: self.leader_log.clone(),
            keys: self.keys.clone(),
        };
        tokio::spawn(rotation.run(self.shutdown.clone()));
        let rounds = QuorumRounds {
            raft: self.raft.clone(),
            clock: self.outside.clock.clone(),
            term: term_changes.clone(),
            leader_log: self.leader_log.clone(),
        };
        tokio::spawn(rounds.run(self.shutdown.clone()));
        term_changes
    }

    /// The tasks by which every node follows its leader, itself included.
    pub(crate) fn follow(
        &self,
        waiting: mpsc::Receiver<Proposal>,
        office: OfficeHandle,
        incarnation: Incarnation,
    ) {
        let leader = watch_leader(self.raft, self.shutdown);
        let courier = Courier {
            own: self.config.node,
            clock: self.outside.clock.clone(),
            queue: waiting,
            leader: leader.clone(),
            leader_log: self.leader_log.clone(),
            links: Arc::clone(self.links),
        };
        tokio::spawn(courier.run(self.shutdown.clone()));
        let (lost_leader, losses) = mpsc::channel(4);
        let holder = LeaseHolder {
            own: self.config.node,
            incarnation,
            clock: self.outside.clock.clone(),
            published: Arc::clone(self.published),
            leader,
            office,
            links: Arc::clone(self.links),
            lost_leader,
        };
        tokio::spawn(holder.run(self.shutdown.clone()));
        let elector = Elector::new(self.config.node, self.raft.clone(), self.outside.clock.clone(), losses);
        tokio::spawn(elector.run(self.shutdown.clone()));
        let published = Arc::clone(self.published);
        tokio::spawn(snapshotter::run(self.raft.clone(), published, self.shutdown.clone()));
    }

    /// The tasks by which a cluster comes to be.
    pub(crate) fn join(
        &self,
        term: &watch::Receiver<Option<Term>>,
    ) -> watch::Receiver<Option<MembershipError>> {
        let founding = Founding {
            own: self.config.node,
            members: self.config.members.clone(),
            identity: Arc::clone(self.identity),
            raft: self.raft.clone(),
            links: Arc::clone(self.links),
            seed: self.outside.seed.child("founding"),
        };
        let (failed, failure) = watch::channel(None);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                biased;
                () = shutdown.wait() => Ok(()),
                ended = founding.run() => ended,
            };
            if let Err(error) = ended {
                tracing::error!(%error, "this node can't become a member");
                failed.send_replace(Some(error));
            }
            // Keeps the channel open for those who watch it as long as the node runs.
            shutdown.wait().await;
        });
        let birth = Birth {
            identity: Arc::clone(self.identity),
            published: Arc::clone(self.published),
            term: term.clone(),
            leader_log: self.leader_log.clone(),
            seed: self.outside.seed.child("birth"),
            secrets: self.config.secrets.clone(),
        };
        tokio::spawn(birth.record(self.shutdown.clone()));
        failure
    }
}

/// Who leads, as openraft knows it; nobody once consensus has stopped.
fn watch_leader(raft: &Raft, shutdown: &Shutdown) -> watch::Receiver<Option<NodeId>> {
    let (leader, changes) = watch::channel(None);
    let mut metrics = raft.server_metrics();
    let (raft, shutdown) = (raft.metrics(), shutdown.clone());
    tokio::spawn(async move {
        loop {
            let now = metrics.borrow().current_leader.map(NodeId);
            leader.send_if_modified(|known| std::mem::replace(known, now) != now);
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                changed = metrics.changed() => if changed.is_err() { break },
            }
        }
        leader.send_replace(None);
        drop(raft);
        shutdown.wait().await;
    });
    changes
}
