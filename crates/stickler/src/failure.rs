//! How a command ends when it does not end well, and what its exit code says of that.

use std::io;
use std::process::ExitCode;

/// Why a command did not do what it was asked to. Each kind has its own exit code, so that a script knows
/// whether to try again.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The cluster or this machine refused; the message says what to do. Nothing has happened. Exit code 1.
    #[error("{0}")]
    Refused(String),
    /// The command line or a file that it names is wrong. Nothing has happened. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// No node could be asked, or none of them could ask a leader. Nothing has happened. Exit code 3.
    #[error("{0}")]
    Unreachable(String),
    /// The change may have happened, or may still: look before trying again. Exit code 4.
    #[error("{0}")]
    Unknown(String),
    /// The change has happened, but not all nodes that were to be waited for have said so in time; the message
    /// names them. Exit code 5.
    #[error("{0}")]
    NotEverywhere(String),
    /// What was to be printed could not be: the terminal or the pipe is gone, or the disk behind it full.
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            // Whoever closed the pipe has read what they wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Unknown(_) => 4,
            Self::NotEverywhere(_) => 5,
        })
    }

    /// Whether there is something to tell the user.
    #[must_use]
    pub fn is_worth_telling(&self) -> bool {
        !matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
