//! The signal to stop, handed down from a node to everything that it started.

use tokio_util::sync::CancellationToken;

/// A signal that is given once and never taken back. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A signal that was not given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal, to the children as well. Again is nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether the signal was given.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when the signal is given; at once if it was. May be dropped and called again.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Like [`Shutdown::wait`], without a borrow, for tasks that outlive the caller.
    pub fn wait_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// A signal for a part: given with this one, or alone without touching this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }
}
