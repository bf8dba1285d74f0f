//! A node's data directory: whose it is, and that one process at a time uses it.
//!
//! ```text
//! <data directory>/
//! ├── identity     who this directory belongs to
//! ├── lock         held by the process that uses it
//! ├── log/         the replicated log, vote and positions
//! └── snapshots/   the state machine's snapshots
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stickler_core::ids::{ClusterId, DirectoryId, Incarnation, NodeId};

use super::codec::DecodeError;
use super::durable::{TEMPORARY_SUFFIX, replace_file, sync_directory};
use super::identity::{ClusterError, Identity, IdentityDamage, IdentityStore};

const IDENTITY: &str = "identity";
const LOCK: &str = "lock";
const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";

/// An opened data directory. Clones share it; it stays locked until the last clone is gone, and each log or
/// snapshot folder opened from it keeps one.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    identity: Mutex<Identity>,
    /// The lock ends with this file handle.
    _lock: File,
}

/// Why a data directory was not opened. Nothing in it was changed; each message says the way out.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("{}: another process uses this data directory; stop it, or give this node its own", .path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It is neither empty nor a data directory.
    #[error(
        "{}: the directory holds \"{found}\" but no \"identity\" file, so it is not a data directory; \
         name an empty directory, or one that a node made",
        .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// A name in it that doesn't belong there.
        found: String,
    },
    /// There is replicated state without the file that says whose it is.
    #[error(
        "{}: the file is missing although \"{remains}\" is there; restore it from the same backup as the rest, \
         or remove this node from the cluster and let it join again with an empty directory",
        .path.display()
    )]
    IdentityMissing {
        /// Where the identity file belongs.
        path: PathBuf,
        /// What is there of the state.
        remains: String,
    },
    /// The identity file is not what was written.
    #[error(
        "{}: the identity file is damaged ({reason}); restore it from a backup, or remove this node from the \
         cluster and let it join again with an empty directory",
        .path.display()
    )]
    Damaged {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later release wrote the directory.
    #[error("{}: {reason}", .path.display())]
    NewerVersion {
        /// The identity file.
        path: PathBuf,
        /// Which version it has.
        reason: DecodeError,
    },
    /// The directory was made for another node.
    #[error(
        "{}: this data directory belongs to node {recorded}, not to node {asked}; correct the node file's id or \
         its data directory",
        .path.display()
    )]
    OtherNode {
        /// The identity file.
        path: PathBuf,
        /// The node it was made for.
        recorded: NodeId,
        /// The node that was asked for.
        asked: NodeId,
    },
    /// The operating system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl DataDirectory {
    /// Opens the data directory of a node, or makes it when `path` is missing or empty. Raises the
    /// incarnation and makes that durable. `random` becomes the identity of a directory that is made, and is
    /// not used otherwise.
    ///
    /// # Errors
    /// One of [`OpenError`]. A directory with anything missing or wrong is never made anew.
    pub fn open(path: impl AsRef<Path>, node: NodeId, random: [u8; 16]) -> Result<Self, OpenError> {
        let path = path.as_ref();
        make_directory(path).map_err(at(path))?;
        // Looked at once before the lock file is made, so that a foreign directory stays as it was.
        refuse_foreign(path)?;
        let lock = take_lock(&path.join(LOCK))?;
        refuse_foreign(path)?;

        let identity_path = path.join(IDENTITY);
        let identity = match fs::read(&identity_path) {
            Ok(bytes) => read_identity(&identity_path, &bytes, node)?.restarted(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Identity::fresh(node, random),
            Err(error) => return Err(at(&identity_path)(error)),
        };
        write_identity(path, &identity).map_err(at(&identity_path))?;
        tracing::info!(
            path = %path.display(), node = %node, directory = %identity.directory,
            incarnation = %identity.incarnation, "data directory opened"
        );
        let shared = Shared { path: path.to_owned(), identity: Mutex::new(identity), _lock: lock };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Its random identity, which the membership names.
    #[must_use]
    pub fn id(&self) -> DirectoryId {
        self.locked().directory
    }

    /// How often it was opened, this time included.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.locked().incarnation
    }

    /// Where the log is.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.shared.path.join(LOG)
    }

    /// Where the snapshots are.
    pub(crate) fn snapshots_path(&self) -> PathBuf {
        self.shared.path.join(SNAPSHOTS)
    }

    /// Where the identity is.
    pub(crate) fn identity_path(&self) -> PathBuf {
        self.shared.path.join(IDENTITY)
    }

    /// Notes that the log made at least so many batches durable. Call it only after they are.
    pub(crate) fn note_log_sequence(&self, sequence: u64) -> io::Result<()> {
        let mut identity = self.locked();
        let noted = Identity { log_sequence: Some(sequence), ..identity.clone() };
        write_identity(&self.shared.path, &noted)?;
        *identity = noted;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Identity> {
        // The identity is replaced whole, after its file: a panic in between leaves it as it was.
        self.shared.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdentityStore for DataDirectory {
    fn identity(&self) -> Identity {
        self.locked().clone()
    }

    fn learn_cluster(&self, cluster: ClusterId) -> Result<(), ClusterError> {
        let mut identity = self.locked();
        if let Some(learned) = identity.in_cluster(cluster)? {
            write_identity(&self.shared.path, &learned)?;
            *identity = learned;
        }
        Ok(())
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.to_owned(), source }
}

/// Makes the directory and its parents where missing, each name durable.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_directory(parent),
    }
}

/// Refuses a directory that has content but no identity.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let identity_path = path.join(IDENTITY);
    if identity_path.try_exists().map_err(at(&identity_path))? {
        return Ok(());
    }
    let mut names = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
        .map_err(at(path))?;
    names.sort();
    let unfinished = format!("{IDENTITY}{TEMPORARY_SUFFIX}");
    for name in names {
        let name = name.to_string_lossy();
        if name == LOG || name == SNAPSHOTS {
            return Err(OpenError::IdentityMissing { path: identity_path, remains: name.into_owned() });
        }
        // A start that was cut short leaves its lock and a half-written identity; a volume of its own has
        // lost+found.
        if name != LOCK && name != "lost+found" && *name != unfinished {
            return Err(OpenError::Foreign { path: path.to_owned(), found: name.into_owned() });
        }
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(at(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(at(path)(error)),
    }
}

fn read_identity(path: &Path, bytes: &[u8], asked: NodeId) -> Result<Identity, OpenError> {
    let path = path.to_owned();
    match Identity::from_file(bytes) {
        Ok(identity) if identity.node == asked => Ok(identity),
        Ok(identity) => Err(OpenError::OtherNode { path, recorded: identity.node, asked }),
        Err(IdentityDamage::Content(reason @ DecodeError::NewerVersion { .. })) => {
            Err(OpenError::NewerVersion { path, reason })
        }
        Err(damage) => Err(OpenError::Damaged { path, reason: damage.to_string() }),
    }
}

fn write_identity(directory: &Path, identity: &Identity) -> io::Result<()> {
    let bytes = identity.to_file().map_err(io::Error::other)?;
    replace_file(directory, IDENTITY, &bytes)
}
