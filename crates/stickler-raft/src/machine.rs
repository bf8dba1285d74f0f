//! The state machine behind openraft: applies the log to the replicated state, publishes it, and turns it
//! into snapshots and back. The state lives in memory; what is on disk is the log and the last snapshot.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use stickler_core::deliberate::{self, Fault};
use stickler_core::ids::{LogIndex, NodeId};
use stickler_core::state::{
    Batch, Command, Outcome, RebindOutcome, Record, RestoreError, SessionKey, SnapshotHeader,
    SnapshotSuperseded, State, StateSnapshot, UnbindOutcome,
};

use crate::blocking::Blocking;
use crate::peers::Gatekeeper;
use crate::published::{Applied, Published};
use crate::raft::{LogId, Outcomes, Types};
use crate::store::codec::{self, DecodeError, EncodeError, Kind};
use crate::store::{SnapshotDirectory, SnapshotError, SnapshotFile};

/// Records in one chunk of a snapshot: about 100 kB.
const CHUNK: usize = 1024;

/// Applies the log. Owned by openraft's worker; everybody else sees what it publishes.
pub(crate) struct StateMachine {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembershipOf<Types>,
    progress: Applied,
    published: Arc<Published>,
    gatekeeper: Arc<Gatekeeper>,
    snapshots: SnapshotDirectory,
    blocking: Blocking,
}

/// Why a snapshot could not be made or taken over. The node goes on with what it had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error(transparent)]
    Superseded(#[from] SnapshotSuperseded),
    #[error(transparent)]
    File(#[from] SnapshotError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("a chunk of the snapshot can't be read: {0}")]
    Decode(#[from] DecodeError),
    #[error("the snapshot has no header")]
    NoHeader,
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl From<MachineError> for io::Error {
    fn from(error: MachineError) -> Self {
        Self::other(error)
    }
}

impl StateMachine {
    pub(crate) fn new(
        published: Arc<Published>,
        gatekeeper: Arc<Gatekeeper>,
        snapshots: SnapshotDirectory,
        blocking: Blocking,
    ) -> Self {
        Self {
            state: State::new(),
            applied: None,
            membership: StoredMembershipOf::<Types>::default(),
            progress: Applied::default(),
            published,
            gatekeeper,
            snapshots,
            blocking,
        }
    }

    /// The hash of the replicated state, and the index that it belongs to.
    pub(crate) fn hash(&self) -> (LogIndex, u128) {
        (self.progress.index, self.state.hash())
    }

    fn apply_entry(
        &mut self,
        log_id: LogId,
        payload: EntryPayload<crate::raft::LoggedBatch, u64, crate::raft::Member>,
    ) -> Outcomes {
        let index = LogIndex(log_id.index());
        self.progress.index = index;
        self.progress.term = log_id.committed_leader_id().term;
        self.applied = Some(log_id);
        let outcomes = match payload {
            EntryPayload::Blank => {
                self.state.advance(index);
                Vec::new()
            }
            EntryPayload::Normal(logged) => {
                let outcomes = self.state.apply(index, &logged.0);
                self.progress.commands += logged.0.commands.len() as u64;
                if ends_an_epoch(&logged.0, &outcomes) {
                    self.progress.ended_epoch = index;
                }
                outcomes
            }
            EntryPayload::Membership(membership) => {
                self.state.advance(index);
                self.membership = StoredMembershipOf::<Types>::new(Some(log_id), membership);
                self.membership_changed();
                Vec::new()
            }
        };
        Outcomes(outcomes)
    }

    fn membership_changed(&mut self) {
        let voters: BTreeSet<NodeId> = self.membership.membership().voter_ids().map(NodeId).collect();
        self.state.set_voters(voters);
        let members = self.membership.nodes().map(|(id, member)| (NodeId(*id), member.clone())).collect();
        self.gatekeeper.set_members(members);
    }

    fn publish(&self) {
        self.published.publish(self.state.view(), self.progress);
    }
}

/// Whether an entry ended an epoch whose key somebody may want to use again, so that the stable index
/// must reach it soon.
fn ends_an_epoch(batch: &Batch, outcomes: &[Outcome]) -> bool {
    let ended = outcomes.iter().any(|outcome| {
        matches!(outcome, Outcome::Rebind(RebindOutcome::Moved(_)) | Outcome::Unbind(UnbindOutcome::Unbound))
    });
    ended || batch.commands.iter().any(|command| matches!(command, Command::Expire(_)))
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotMaker;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            if !deliberate::active(Fault::IsolatedWhileCatchingUp) {
                self.published.heard_leader();
            }
            let outcomes = self.apply_entry(entry.log_id, entry.payload);
            self.publish();
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotMaker {
        SnapshotMaker {
            snapshot: Some(self.state.begin_snapshot()),
            meta: SnapshotMetaOf::<Types> {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            snapshots: self.snapshots.clone(),
            blocking: self.blocking,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let installing = move || {
            let state = restore(&snapshot)?;
            // openraft has removed what contradicts it from the log by now.
            snapshot.keep()?;
            Ok::<_, MachineError>(state)
        };
        self.state = self.blocking.run(installing).await??;
        self.published.heard_leader();
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.membership_changed();
        if let Some(log_id) = meta.last_log_id {
            self.progress.index = LogIndex(log_id.index());
            self.progress.term = log_id.committed_leader_id().term;
            // What ended before the snapshot is not known one by one, so all of it counts.
            self.progress.ended_epoch = self.progress.index;
        }
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, SnapshotFile>>, io::Error> {
        let snapshots = self.snapshots.clone();
        let latest = self.blocking.run(move || snapshots.latest()).await?.map_err(MachineError::from)?;
        let Some(file) = latest else { return Ok(None) };
        let meta = file.meta::<Types>().map_err(MachineError::from)?;
        Ok(Some(SnapshotOf::<Types, SnapshotFile> { meta, snapshot: file }))
    }
}

/// Writes one snapshot, while the state goes on changing.
pub(crate) struct SnapshotMaker {
    snapshot: Option<StateSnapshot>,
    meta: SnapshotMetaOf<Types>,
    snapshots: SnapshotDirectory,
    blocking: Blocking,
}

impl RaftSnapshotBuilder<Types> for SnapshotMaker {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, SnapshotFile>, io::Error> {
        let snapshot = self.snapshot.take().ok_or_else(|| io::Error::other("a snapshot is built once"))?;
        let (meta, snapshots) = (self.meta.clone(), self.snapshots.clone());
        let file = self.blocking.run_in_background(move || write(snapshot, &meta, &snapshots)).await??;
        Ok(SnapshotOf::<Types, SnapshotFile> { meta: self.meta.clone(), snapshot: file })
    }
}

/// A snapshot file's chunks: one header, then records.
fn write(
    snapshot: StateSnapshot,
    meta: &SnapshotMetaOf<Types>,
    snapshots: &SnapshotDirectory,
) -> Result<SnapshotFile, MachineError> {
    let mut writer = snapshots.create::<Types>(meta)?;
    writer.write_chunk(&codec::encode(Kind::SnapshotRecords, &snapshot.header)?)?;
    snapshot.read(CHUNK, |records| {
        if records.is_empty() {
            return Ok::<(), MachineError>(());
        }
        writer.write_chunk(&codec::encode(Kind::SnapshotRecords, &records)?)?;
        Ok(())
    })?;
    Ok(writer.finish()?)
}

/// The state that a snapshot holds, read as a node reads it that starts from it or was sent it: with the
/// description of what it covers, and every record. For what looks at snapshots without running a node.
///
/// # Errors
/// When a piece of it can't be read, or the records are not those that its header speaks of.
pub fn restore_snapshot(file: &SnapshotFile) -> io::Result<State> {
    file.meta::<Types>().map_err(MachineError::from)?;
    Ok(restore(file)?)
}

fn restore(file: &SnapshotFile) -> Result<State, MachineError> {
    let mut chunks = file.chunks()?;
    let header = chunks.next().ok_or(MachineError::NoHeader)??;
    let header: SnapshotHeader = codec::decode(Kind::SnapshotRecords, &header)?;
    let mut state = State::restore(&header);
    let torn = deliberate::active(Fault::AcceptTornSnapshot);
    for chunk in chunks.take(if torn { 0 } else { usize::MAX }) {
        let records: Vec<(SessionKey, Record)> = codec::decode(Kind::SnapshotRecords, &chunk?)?;
        state.restore_records(records);
    }
    Ok(state.finish_restore(&header)?)
}
