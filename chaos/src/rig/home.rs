//! The directory of a run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the data and logs of a run lie. A directory that was made for the occasion is removed when this is
/// dropped, unless it was decided to [`keep`](Home::keep) it; one that the user named stays.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

/// Why there is no directory for the run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    /// Name another directory, or remove what is in this one.
    #[error("{0} is not empty; --keep takes a new or an empty directory")]
    NotEmpty(PathBuf),
    /// The message says what the file system refused.
    #[error("can't use {0} as the run's directory: {1}")]
    Unusable(PathBuf, io::Error),
}

impl Home {
    /// Uses the named directory, or else makes a temporary one.
    pub(crate) fn open(named: Option<&Path>) -> Result<Self, HomeError> {
        let Some(path) = named else {
            let directory = tempfile::Builder::new()
                .prefix("stickler-chaos-")
                .tempdir()
                .map_err(|error| HomeError::Unusable(std::env::temp_dir(), error))?;
            return Ok(Self { path: directory.path().to_owned(), temporary: Some(directory) });
        };
        let unusable = |error| HomeError::Unusable(path.to_owned(), error);
        fs::create_dir_all(path).map_err(unusable)?;
        if fs::read_dir(path).map_err(unusable)?.next().is_some() {
            return Err(HomeError::NotEmpty(path.to_owned()));
        }
        Ok(Self { path: path.canonicalize().map_err(unusable)?, temporary: None })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory where it is.
    pub(crate) fn keep(&mut self) {
        if let Some(directory) = self.temporary.take() {
            let _path = directory.keep();
        }
    }

    /// Whether the directory will be there afterwards.
    pub(crate) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }
}
