//! How a process gets its workers: threads with a runtime each in production, tasks on one thread in a
//! simulation.

use std::{io, thread};

use futures::future::LocalBoxFuture;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// What a worker runs: called on the worker's own thread, so that what it makes need not be `Send`. Inside,
/// `tokio::task::spawn_local` works. The worker ends when the future does, and its tasks are dropped then.
pub type WorkerMain = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// Starts workers.
pub trait Spawner: Send + Sync + 'static {
    /// Starts `main` as the worker `name`. Fails when the operating system gives no thread or no runtime.
    fn spawn_worker(&self, name: &str, main: WorkerMain) -> io::Result<WorkerHandle>;
}

/// One thread for each worker, with a single-threaded runtime of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadSpawner;

impl Spawner for ThreadSpawner {
    fn spawn_worker(&self, name: &str, main: WorkerMain) -> io::Result<WorkerHandle> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (done, ended) = oneshot::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async { main().await });
            // The runtime goes first, so that whoever joins finds the worker's sockets closed.
            drop(runtime);
            let _ = done.send(());
        })?;
        Ok(WorkerHandle { name: name.to_owned(), ended })
    }
}

/// One local task for each worker, on the caller's thread. Only inside a `LocalSet`, which is where
/// turmoil runs its hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskSpawner;

impl Spawner for TaskSpawner {
    fn spawn_worker(&self, name: &str, main: WorkerMain) -> io::Result<WorkerHandle> {
        let (done, ended) = oneshot::channel();
        tokio::task::spawn_local(async move {
            main().await;
            let _ = done.send(());
        });
        Ok(WorkerHandle { name: name.to_owned(), ended })
    }
}

/// A started worker. Dropping the handle leaves the worker running.
#[derive(Debug)]
pub struct WorkerHandle {
    name: String,
    ended: oneshot::Receiver<()>,
}

/// A worker ended by a panic, or with the runtime under it. The panic's own message went to the log; the
/// node should stop and be started again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("worker {name} ended by a panic")]
pub struct WorkerPanicked {
    /// The worker's name.
    pub name: String,
}

impl WorkerHandle {
    /// The name that the worker was started with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the worker has ended.
    pub async fn join(self) -> Result<(), WorkerPanicked> {
        self.ended.await.map_err(|_closed| WorkerPanicked { name: self.name })
    }
}
