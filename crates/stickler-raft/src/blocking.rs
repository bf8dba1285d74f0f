//! Where work that blocks is done.

use std::{io, thread};

use tokio::sync::oneshot;

/// How much less than others a thread in the background gets of a busy processor, as `nice` has it: about a
/// tenth. Not the least there is, since it takes a lock now and then that `apply` takes, too.
const NICENESS: i32 = 10;

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

    /// Does `work` that takes seconds, on a thread of its own that stands back for all others.
    pub(crate) async fn run_in_background<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        if self == Self::InPlace {
            return Ok(work());
        }
        let (answer, answered) = oneshot::channel();
        thread::Builder::new().name("background".to_owned()).spawn(move || {
            stand_back();
            // Nobody may wait for it any more; that is no concern of the work.
            drop(answer.send(work()));
        })?;
        answered.await.map_err(io::Error::other)
    }
}

/// Lowers the priority of the calling thread; on Linux, priorities belong to threads. Without it the work is
/// done all the same, and others are slower meanwhile.
fn stand_back() {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        tracing::debug!(%error, "work in the background has the priority of everything else");
    }
}
