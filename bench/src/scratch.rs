//! Where the measured systems keep their data.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use tempfile::TempDir;

use crate::failure::Failure;

/// What `statfs` calls file systems in memory (`TMPFS_MAGIC`, `RAMFS_MAGIC`).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The option that names the place.
#[derive(Clone, Debug, clap::Args)]
pub struct ScratchOptions {
    /// Where the data of a run lies while it runs; on a disk [default: the system's temporary directory]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl ScratchOptions {
    /// The place itself.
    ///
    /// # Errors
    /// [`Failure::NotADisk`] when nothing is ever written to a disk there.
    pub fn place(&self) -> Result<PathBuf, Failure> {
        let place = self.directory.clone().unwrap_or_else(std::env::temp_dir);
        let found = statfs(&place).map_err(|error| error.into());
        let found = found.map_err(Failure::system(place.display().to_string()))?;
        if u64::try_from(found.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)) {
            return Err(Failure::NotADisk(place));
        }
        Ok(place)
    }
}

/// A new empty directory there, removed with its contents when it is dropped.
///
/// # Errors
/// [`Failure::System`].
pub fn empty_directory(place: &Path) -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("stickler-bench-").tempdir_in(place);
    made.map_err(Failure::system(format!("a directory in {}", place.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_is_refused() {
        let options = ScratchOptions { directory: Some(PathBuf::from("/dev/shm")) };
        assert!(matches!(options.place(), Err(Failure::NotADisk(_))), "{:?}", options.place());
    }
}
