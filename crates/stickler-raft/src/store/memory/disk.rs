//! The simulated disk.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stickler_core::ids::{ClusterId, NodeId};
use tokio::sync::Notify;

use super::contents::{Change, Contents, Envelope};
use super::snapshots::MemoryFolder;
use crate::store::{ClusterError, Identity, IdentityStore, SnapshotDirectory, StoreHealth};

/// When a simulated disk makes durable what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// With every write.
    Immediate,
    /// So long after a write, together with what else was written by then. Needs a tokio runtime.
    After(Duration),
    /// When [`MemoryDisk::sync`] is called.
    Manual,
}

/// A node's disk in a simulation. It outlives the node's processes: clones are the same disk.
#[derive(Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<Disk>>,
    policy: SyncPolicy,
    /// Wakes the task that syncs a while after a write.
    pub(super) written: Arc<Notify>,
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Pending {
    change: Change,
    /// The committed position at that moment; it becomes durable with the change.
    committed: Option<Envelope>,
    done: Done,
}

pub(super) struct Disk {
    identity: Option<Identity>,
    durable: Contents,
    /// What a reader sees: the durable state with everything pending.
    pub(super) current: Contents,
    pending: VecDeque<Pending>,
    pub(super) snapshots: BTreeMap<String, Arc<[u8]>>,
    /// Raised by a crash and by each open of the log, so that an earlier process can't write any more.
    generation: u64,
    health: StoreHealth,
    /// What the next sync fails with.
    fault: Option<String>,
}

/// Why a node was not started on a simulated disk.
#[derive(Debug, thiserror::Error)]
pub enum MemoryOpenError {
    /// The disk belongs to another node: the simulation mixed up two of them.
    #[error("this disk belongs to node {recorded}, not to node {asked}")]
    OtherNode {
        /// The node it belongs to.
        recorded: NodeId,
        /// The node that was asked for.
        asked: NodeId,
    },
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(policy: SyncPolicy) -> Self {
        let disk = Disk {
            identity: None,
            durable: Contents::default(),
            current: Contents::default(),
            pending: VecDeque::new(),
            snapshots: BTreeMap::new(),
            generation: 0,
            health: StoreHealth::new(),
            fault: None,
        };
        Self { state: Arc::new(Mutex::new(disk)), policy, written: Arc::new(Notify::new()) }
    }

    /// Starts a node on this disk, as [`DataDirectory::open`](crate::store::DataDirectory::open) does on a
    /// real one: makes or reads the identity and raises the incarnation.
    ///
    /// # Errors
    /// When the disk belongs to another node.
    pub fn start(&self, node: NodeId, random: [u8; 16]) -> Result<MemoryDirectory, MemoryOpenError> {
        let mut disk = self.locked();
        let identity = match disk.identity.take() {
            None => Identity::fresh(node, random),
            Some(identity) if identity.node == node => identity.restarted(),
            Some(identity) => {
                let recorded = identity.node;
                disk.identity = Some(identity);
                return Err(MemoryOpenError::OtherNode { recorded, asked: node });
            }
        };
        disk.identity = Some(identity.clone());
        Ok(MemoryDirectory { disk: self.clone(), identity: Mutex::new(identity) })
    }

    /// The snapshots on this disk.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotDirectory {
        SnapshotDirectory::in_folder(Arc::new(MemoryFolder::new(self.clone())))
    }

    /// When this disk syncs.
    #[must_use]
    pub fn policy(&self) -> SyncPolicy {
        self.policy
    }

    /// How many writes would be lost by a crash now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.locked().pending.len()
    }

    /// Makes everything written so far durable and acknowledges it.
    pub fn sync(&self) {
        let (acknowledged, outcome) = self.locked().sync();
        for done in acknowledged {
            done(match &outcome {
                Ok(()) => Ok(()),
                Err(failure) => Err(io::Error::other(failure.clone())),
            });
        }
    }

    /// Lets the next sync fail: the log on this disk acknowledges nothing more until it is opened anew.
    pub fn fail_next_sync(&self, reason: &str) {
        self.locked().fault = Some(reason.to_owned());
    }

    /// The power goes. Nothing of what was not synced is left, or, with a seed, a beginning of it that the
    /// seed chooses, which may end in the middle of an append. Nothing is acknowledged, and the log that was
    /// open can't be used any more.
    pub fn crash(&self, tear: Option<u64>) {
        let mut disk = self.locked();
        disk.generation += 1;
        let pending = std::mem::take(&mut disk.pending);
        if let Some(seed) = tear {
            let kept = usize::try_from(mix(seed) % (pending.len() as u64 + 1)).unwrap_or(0);
            for (position, write) in pending.into_iter().take(kept + 1).enumerate() {
                let whole = position < kept;
                let change = if whole { Some(write.change) } else { write.change.torn(mix(!seed)) };
                if whole {
                    disk.durable.committed = write.committed;
                }
                if let Some(change) = change {
                    disk.durable.apply(change);
                }
            }
        }
        disk.current = disk.durable.clone();
    }

    /// Begins a new life of the log: what an earlier process wrote is still in the machine's memory (unless
    /// there was a crash) and is made durable, unacknowledged.
    pub(super) fn open_log(&self) -> (u64, StoreHealth) {
        let mut disk = self.locked();
        let (unacknowledged, _) = disk.sync();
        drop(unacknowledged);
        disk.generation += 1;
        disk.health = StoreHealth::new();
        (disk.generation, disk.health.clone())
    }

    /// The state, for the log of that generation.
    pub(super) fn of_generation(&self, generation: u64) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.locked();
        disk.health.check()?;
        if disk.generation != generation {
            return Err(io::Error::other(
                "the simulated machine of this log has crashed or was started anew",
            ));
        }
        Ok(disk)
    }

    /// Writes a change and acknowledges it when it is durable.
    pub(super) fn write(&self, generation: u64, change: Change, done: Done) -> io::Result<()> {
        let mut disk = self.of_generation(generation)?;
        disk.current.apply(change.clone());
        let committed = disk.current.committed.clone();
        disk.pending.push_back(Pending { change, committed, done });
        drop(disk);
        match self.policy {
            SyncPolicy::Immediate => self.sync(),
            SyncPolicy::After(_) => self.written.notify_one(),
            SyncPolicy::Manual => {}
        }
        Ok(())
    }

    /// Syncs for a log, unless its life is over.
    pub(super) fn sync_generation(&self, generation: u64) -> io::Result<()> {
        drop(self.of_generation(generation)?);
        self.sync();
        Ok(())
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, Disk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Whom to answer, and what. They are called without the lock: they may come back to this disk.
    fn sync(&mut self) -> (Vec<Done>, Result<(), crate::store::StoreFailure>) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(fault) = self.fault.take().filter(|_| !pending.is_empty()) {
            let failure = self.health.fail(&fault);
            // After a failed sync the kernel may drop what it could not write.
            self.current = self.durable.clone();
            return (pending.into_iter().map(|write| write.done).collect(), Err(failure));
        }
        let mut acknowledged = Vec::with_capacity(pending.len());
        for write in pending {
            self.durable.apply(write.change);
            self.durable.committed = write.committed;
            acknowledged.push(write.done);
        }
        (acknowledged, Ok(()))
    }
}

/// Spreads a seed over all bits (the finaliser of splitmix64).
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The identity of a node that was started on a simulated disk.
pub struct MemoryDirectory {
    disk: MemoryDisk,
    identity: Mutex<Identity>,
}

impl IdentityStore for MemoryDirectory {
    fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn_cluster(&self, cluster: ClusterId) -> Result<(), ClusterError> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(learned) = identity.in_cluster(cluster)? {
            self.disk.locked().identity = Some(learned.clone());
            *identity = learned;
        }
        Ok(())
    }
}
