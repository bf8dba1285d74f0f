//! A value that one part of a node publishes and others watch. tokio has such a channel, but wakes those
//! who wait in an order that it draws by lot; here it is the order in which they began to wait, so that a
//! simulation repeats.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

struct Shared<T> {
    published: RwLock<Published<T>>,
    changed: Notify,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

struct Published<T> {
    version: u64,
    value: T,
}

/// Nobody publishes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody publishes any more")]
pub struct Closed;

/// Publishes a value. Clones publish the same one.
pub struct Sender<T>(Arc<Shared<T>>);

/// Watches a value. A clone goes on from where its original was.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that this receiver knows.
    known: u64,
}

/// A look at the value. While it is held, whoever publishes waits: keep it for a moment only.
pub struct Ref<'a, T>(RwLockReadGuard<'a, Published<T>>);

/// A sender of `value`, and a receiver that knows it.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, Published<T>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value; true wakes everybody.
    fn write<R>(&self, change: impl FnOnce(&mut T) -> (R, bool)) -> R {
        let (result, changed) = {
            let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
            let (result, changed) = change(&mut published.value);
            published.version += u64::from(changed);
            (result, changed)
        };
        if changed {
            self.changed.notify_waiters();
        }
        result
    }

    fn is_closed(&self) -> bool {
        self.senders.load(Ordering::Acquire) == 0
    }
}

impl<T> Sender<T> {
    /// A sender that nobody watches yet.
    #[must_use]
    pub fn new(value: T) -> Self {
        let published = RwLock::new(Published { version: 0, value });
        let (senders, receivers) = (AtomicUsize::new(1), AtomicUsize::new(0));
        Self(Arc::new(Shared { published, changed: Notify::new(), senders, receivers }))
    }

    /// A receiver that knows the value as it is now.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        let known = self.0.read().version;
        self.0.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver { shared: Arc::clone(&self.0), known }
    }

    /// The value as it is now.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.read())
    }

    /// Publishes `value` if anybody watches.
    ///
    /// # Errors
    /// Gives `value` back when nobody does, and publishes nothing.
    pub fn send(&self, value: T) -> Result<(), T> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(value);
        }
        self.send_replace(value);
        Ok(())
    }

    /// Publishes `value` and returns the one before it.
    pub fn send_replace(&self, value: T) -> T {
        self.0.write(|published| (std::mem::replace(published, value), true))
    }

    /// Publishes what `change` makes of the value.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.0.write(|published| (change(published), true));
    }

    /// Publishes what `change` makes of the value if it says that it did change it, and says so, too.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        self.0.write(|published| {
            let changed = change(published);
            (changed, changed)
        })
    }
}

impl<T> Receiver<T> {
    /// The value as it is now. [`Receiver::changed`] still tells of it if it was not known.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.read())
    }

    /// The value as it is now, which is known from here on.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let published = self.shared.read();
        self.known = published.version;
        Ref(published)
    }

    /// Waits for a value that is not known, which is known from here on. May be dropped and called again.
    ///
    /// # Errors
    /// [`Closed`] when there is none and never will be.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Made before the look, so that a change right after it is not missed.
            let changed = self.shared.changed.notified();
            let closed = self.shared.is_closed();
            let version = self.shared.read().version;
            if version != self.known {
                self.known = version;
                return Ok(());
            }
            if closed {
                return Err(Closed);
            }
            changed.await;
        }
    }

    /// Waits for a value that is as wanted; the one that is there may be.
    ///
    /// # Errors
    /// [`Closed`] when there is none and never will be.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        while !wanted(&self.borrow_and_update()) {
            self.changed().await?;
        }
        Ok(())
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::AcqRel);
        Self { shared: Arc::clone(&self.shared), known: self.known }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.0.read().value).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.shared.read().value).finish()
    }
}
