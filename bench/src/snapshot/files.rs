//! The snapshots that lie in a node's data directory.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::child::{PATIENCE, until};
use crate::failure::Failure;
use crate::stickler::SticklerCluster;

/// How long nothing may happen to a node's snapshots before it counts as quiet.
const QUIET: Duration = Duration::from_secs(1);

/// How the names of finished snapshots begin; behind that they sort by the entries that they cover.
const FINISHED: &str = "snapshot-";

/// A node's snapshots by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    finished: BTreeSet<String>,
    unfinished: usize,
}

impl Snapshots {
    /// In this data directory.
    ///
    /// # Errors
    /// [`Failure::System`].
    pub fn of(directory: &Path) -> Result<Self, Failure> {
        let folder = directory.join("snapshots");
        let names = names(&folder).map_err(Failure::system(folder.display().to_string()))?;
        let (finished, unfinished): (BTreeSet<String>, BTreeSet<String>) =
            names.into_iter().partition(|name| name.starts_with(FINISHED));
        Ok(Self { finished, unfinished: unfinished.len() })
    }

    /// The one that covers most.
    pub fn newest(&self) -> Option<&str> {
        self.finished.last().map(String::as_str)
    }

    /// Whether a snapshot of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.finished.contains(name)
    }

    /// Whether one is being written.
    pub const fn under_way(&self) -> bool {
        self.unfinished > 0
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// The snapshots of all running nodes.
///
/// # Errors
/// [`Failure::System`].
pub fn of_running(cluster: &SticklerCluster) -> Result<Vec<Snapshots>, Failure> {
    cluster.running().map(|node| Snapshots::of(cluster.directory(node))).collect()
}

/// Waits until no running node has begun or finished a snapshot for a while.
///
/// # Errors
/// [`Failure::Late`].
pub async fn quiet(cluster: &SticklerCluster) -> Result<(), Failure> {
    until("the nodes to be done with their snapshots", PATIENCE, async || {
        let before = of_running(cluster)?;
        tokio::time::sleep(QUIET).await;
        let quiet = before == of_running(cluster)? && !before.iter().any(Snapshots::under_way);
        Ok(quiet.then_some(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_snapshot_is_the_one_that_covers_most() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("snapshots");
        fs::create_dir(&folder).unwrap();
        for name in ["snapshot-00000000000000000900", "snapshot-00000000000000001000", "unfinished-3.new"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let snapshots = Snapshots::of(directory.path()).unwrap();
        assert_eq!(snapshots.newest(), Some("snapshot-00000000000000001000"));
        assert!(snapshots.under_way() && snapshots.has("snapshot-00000000000000000900"));
    }
}
