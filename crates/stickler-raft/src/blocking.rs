//! Where work that blocks is done.

use std::io;

/// Beside the async runtime in a real process; in place in a simulation, where a second thread would make
/// the order of events its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// On tokio's threads for blocking work.
    Beside,
    /// Right here.
    InPlace,
}

impl Blocking {
    /// Does `work`.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Beside => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::InPlace => Ok(work()),
        }
    }
}
