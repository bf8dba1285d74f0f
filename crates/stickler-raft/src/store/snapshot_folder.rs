//! Where snapshots lie: a folder on a real disk. The simulated disk has its own, behind the same traits, and
//! everything about a snapshot's format is built on top of these few calls.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use stickler_rt::Clock;

use super::DataDirectory;
use super::durable::{TEMPORARY_SUFFIX, sync_directory};

/// The disk is left alone for so long at most after one sync of a snapshot.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// A folder of finished snapshots, by name.
pub(crate) trait SnapshotFolder: Send + Sync {
    /// Where a name is, for messages.
    fn place(&self, name: &str) -> String;
    /// The names of all finished snapshots.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A new snapshot without a name; lost unless it is committed.
    fn begin(&self) -> io::Result<Box<dyn UnfinishedSnapshot>>;
    /// A finished snapshot's bytes; they stay readable after it was removed.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SnapshotBytes>>;
    /// Removes a finished snapshot.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A snapshot while it is written.
pub(crate) trait UnfinishedSnapshot: Send + Sync {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written so far durable, then leaves the disk alone for as long as that took: at the
    /// end there is little left to sync, and whoever else syncs meanwhile never waits for long.
    fn sync_gently(&mut self) -> io::Result<()>;
    /// What was written so far.
    fn bytes(&mut self) -> io::Result<Arc<dyn SnapshotBytes>>;
    /// Gives it its name, in place of what had that name; durable, content and name, when it returns.
    fn commit(self: Box<Self>, name: &str) -> io::Result<()>;
}

/// Bytes that don't change.
pub(crate) trait SnapshotBytes: Send + Sync {
    /// How many there are.
    fn length(&self) -> u64;
    /// Reads some at an offset into the buffer and says how many; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// The folder in a data directory. It keeps the data directory locked.
pub(crate) struct DiskFolder {
    path: PathBuf,
    unfinished: AtomicU64,
    _directory: DataDirectory,
}

impl DiskFolder {
    /// Makes the folder where it is missing, and removes what an earlier process left unfinished.
    pub(crate) fn open(directory: &DataDirectory) -> io::Result<Self> {
        let path = directory.snapshots_path();
        if !path.is_dir() {
            fs::create_dir(&path)?;
            sync_directory(directory.path())?;
        }
        for name in file_names(&path)? {
            if name.ends_with(TEMPORARY_SUFFIX) {
                tracing::info!(path = %path.join(&name).display(), "unfinished snapshot removed");
                fs::remove_file(path.join(name))?;
            }
        }
        Ok(Self { path, unfinished: AtomicU64::new(0), _directory: directory.clone() })
    }
}

impl SnapshotFolder for DiskFolder {
    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = file_names(&self.path)?;
        names.retain(|name| !name.ends_with(TEMPORARY_SUFFIX));
        Ok(names)
    }

    fn begin(&self) -> io::Result<Box<dyn UnfinishedSnapshot>> {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("unfinished-{number}{TEMPORARY_SUFFIX}"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Box::new(UnfinishedFile { folder: self.path.clone(), path, file, committed: false }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SnapshotBytes>> {
        Ok(Arc::new(FileBytes::new(File::open(self.path.join(name))?)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }
}

fn file_names(path: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

struct UnfinishedFile {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    committed: bool,
}

impl UnfinishedSnapshot for UnfinishedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync_gently(&mut self) -> io::Result<()> {
        let clock = Clock::start();
        self.file.sync_data()?;
        thread::sleep(clock.now().0.min(LONGEST_REST));
        Ok(())
    }

    fn bytes(&mut self) -> io::Result<Arc<dyn SnapshotBytes>> {
        Ok(Arc::new(FileBytes::new(self.file.try_clone()?)?))
    }

    fn commit(mut self: Box<Self>, name: &str) -> io::Result<()> {
        // Content before name, so that a finished name never stands for half a snapshot.
        self.file.sync_all()?;
        fs::rename(&self.path, self.folder.join(name))?;
        self.committed = true;
        sync_directory(&self.folder)
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "unfinished snapshot not removed");
        }
    }
}

/// Reads at offsets, so that a file can be sent to several followers at once.
struct FileBytes {
    file: File,
    length: u64,
}

impl FileBytes {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl SnapshotBytes for FileBytes {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}
