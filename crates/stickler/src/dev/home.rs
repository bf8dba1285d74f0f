//! The directory of a demo cluster.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::plan::Plan;

/// Where a demo cluster's files lie. A directory that was made for the occasion is removed when this is
/// dropped, unless it was decided to [`keep`](Home::keep) it; one that the user named stays.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

/// Why there is no directory for the demo.
#[derive(Debug, thiserror::Error)]
pub(super) enum HomeError {
    /// Name another directory, or remove what is in this one: an old demo's files name ports that others may
    /// have by now.
    #[error("{0} is not empty; --directory takes a new or an empty one")]
    NotEmpty(PathBuf),
    /// The message says what the file system refused.
    #[error("can't use {0} as the demo's directory: {1}")]
    Unusable(PathBuf, io::Error),
}

impl Home {
    /// Uses the named directory, or else makes a temporary one.
    pub fn open(named: Option<&Path>) -> Result<Self, HomeError> {
        match named {
            Some(path) => Self::open_named(path),
            None => Self::make_temporary(),
        }
    }

    fn open_named(path: &Path) -> Result<Self, HomeError> {
        let unusable = |error| HomeError::Unusable(path.to_owned(), error);
        fs::create_dir_all(path).map_err(unusable)?;
        if fs::read_dir(path).map_err(unusable)?.next().is_some() {
            return Err(HomeError::NotEmpty(path.to_owned()));
        }
        // The processes' files name it, and they may run elsewhere.
        let path = path.canonicalize().map_err(unusable)?;
        Ok(Self { path, temporary: None })
    }

    fn make_temporary() -> Result<Self, HomeError> {
        let directory = tempfile::Builder::new()
            .prefix("stickler-dev-")
            .tempdir()
            .map_err(|error| HomeError::Unusable(std::env::temp_dir(), error))?;
        Ok(Self { path: directory.path().to_owned(), temporary: Some(directory) })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory where it is.
    pub fn keep(&mut self) {
        if let Some(directory) = self.temporary.take() {
            let _path = directory.keep();
        }
    }

    /// Whether the directory will be there afterwards.
    pub fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Writes the files of a plan.
    pub fn write(&self, plan: &Plan) -> Result<(), HomeError> {
        write_files(&self.path, plan).map_err(|error| HomeError::Unusable(self.path.clone(), error))
    }

    /// Removes everything of a plan that is not used after all.
    pub fn clear(&self) -> Result<(), HomeError> {
        remove_files(&self.path).map_err(|error| HomeError::Unusable(self.path.clone(), error))
    }
}

fn remove_files(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write_files(directory: &Path, plan: &Plan) -> io::Result<()> {
    fs::create_dir(directory.join("logs"))?;
    for node in &plan.nodes {
        fs::create_dir(plan.node_directory(node))?;
        fs::write(plan.node_file(node), plan.node_text(node))?;
    }
    fs::write(plan.cluster_file(), plan.cluster_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_something_in_it_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("mine"), "x").unwrap();
        assert!(matches!(Home::open(Some(directory.path())), Err(HomeError::NotEmpty(_))));
        assert!(directory.path().join("mine").exists());
    }

    #[test]
    fn a_temporary_directory_goes_unless_it_is_kept() {
        let home = Home::open(None).unwrap();
        let path = home.path().to_owned();
        drop(home);
        assert!(!path.exists());

        let mut home = Home::open(None).unwrap();
        home.keep();
        let path = home.path().to_owned();
        drop(home);
        assert!(path.exists());
        fs::remove_dir(path).unwrap();
    }
}
