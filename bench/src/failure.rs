//! Why a benchmark has no result.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a benchmark has no result. Every process that was started has ended when it is shown.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A program is not there: install or build it, as the message says.
    #[error("{program} is missing: {way_out}")]
    Missing {
        /// The program.
        program: String,
        /// What to do.
        way_out: String,
    },
    /// The operating system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What it said.
        error: io::Error,
    },
    /// A process ended, or was never able to begin; its log says why.
    #[error("{process} ended ({status}); the end of its log:\n{log}")]
    Ended {
        /// The process.
        process: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// Something did not happen in time.
    #[error("waited {patience:?} for {what}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        patience: Duration,
    },
    /// The directory for the data is not on a disk, so that figures of durable writes would mean nothing.
    #[error("{} is held in memory, not on a disk: name another directory with --directory", .0.display())]
    NotADisk(PathBuf),
    /// A call failed that should not have.
    #[error("{what}: {message}")]
    Call {
        /// Which.
        what: String,
        /// What was answered.
        message: String,
    },
    /// The measured thing does not do what it should, so that its speed means nothing.
    #[error("the result is void: {0}")]
    Void(String),
}

impl Failure {
    /// For `map_err` on what the operating system refuses.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }

    /// For `map_err` on calls.
    pub fn call<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::Call { what, message: error.to_string() }
    }
}
