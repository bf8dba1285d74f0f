//! The node's key for the cluster's secrets: its file, and whether it is the one that the cluster was founded
//! with.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stickler_core::secrets::{NoSecretsKey, SecretsKey};
use stickler_raft::Cluster;
use stickler_rt::Shutdown;

use crate::readiness::Readiness;

/// More than a key's file has.
const LONGEST: u64 = 1024;

/// Permission bits of those who are neither the owner nor of the group.
const OTHERS: u32 = 0o007;

/// What the readiness calls this part of the node.
const PART: &str = "secrets";

/// Why the file of the node's `secrets_key_file` can't be used. The node does not start.
#[derive(Debug, thiserror::Error)]
pub enum SecretsFileError {
    /// It can't be read: correct the path in the node file, or make one with `stickler key new`.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Everybody on the machine may read it, or write it: take that away with `chmod 600`.
    #[error("{}: others may open it (mode {mode:o}): chmod 600 it, and think of who has read it", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds something else: make one with `stickler key new`, or copy that of another node.
    #[error("{}: {source}", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What a key looks like.
        source: NoSecretsKey,
    },
}

/// Reads a key from its file.
///
/// # Errors
/// [`SecretsFileError`].
pub fn read(path: &Path) -> Result<SecretsKey, SecretsFileError> {
    let failed = |source| SecretsFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(SecretsFileError::Open { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    SecretsKey::of_text(&text).map_err(|source| SecretsFileError::NoKey { path: path.to_owned(), source })
}

/// Compares the node's key with its cluster once that is known, and keeps the node from being ready where it
/// can't read the cluster's secrets.
pub(crate) async fn watch(cluster: Cluster, readiness: Readiness, shutdown: Shutdown) {
    let mut catalogs = cluster.catalog();
    loop {
        let found = catalogs.borrow_and_update().found.clone();
        if let Some(found) = found {
            match (found.hash_key(cluster.secrets()), cluster.secrets()) {
                (Err(error), _) => {
                    tracing::error!(%error, "this node can't route: it can't read the cluster's secrets");
                    readiness.obstruct(PART, error);
                }
                (Ok(_), Some(_)) if !found.hash_key.is_wrapped() => tracing::warn!(
                    "the cluster was founded without a secrets key: its secrets stay in the clear on disk"
                ),
                (Ok(_), Some(_)) => {}
                (Ok(_), None) => tracing::warn!(
                    "the cluster's secrets are in the clear on disk and in backups: `secrets_key_file` in the node \
                     files of a new cluster wraps them"
                ),
            }
            return;
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            changed = catalogs.changed() => if changed.is_err() { return },
        }
    }
}
