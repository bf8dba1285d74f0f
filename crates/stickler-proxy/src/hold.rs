//! What an exchange keeps as long as it lasts, and what can end it early.

use std::any::Any;
use std::fmt;

use stickler_rt::Shutdown;

/// Goes with a response's body or an upgraded connection until its very end, so that an open stream counts
/// as use of its session, and can be closed once the session's epoch has ended.
#[derive(Default)]
pub struct Hold {
    guards: Vec<Box<dyn Any>>,
    close: Option<Shutdown>,
}

impl Hold {
    /// Holds nothing and is closed by nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `guard`, too, until the exchange, its body or its tunnel ends; it is dropped on the worker.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// Ends the body or tunnel, however much is left of it, when `close` is triggered.
    #[must_use]
    pub fn with_close(mut self, close: Shutdown) -> Self {
        self.close = Some(close);
        self
    }

    /// The signal to end, if anyone may give it.
    #[must_use]
    pub fn close(&self) -> Option<&Shutdown> {
        self.close.as_ref()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("guards", &self.guards.len())
            .field("close", &self.close.is_some())
            .finish()
    }
}
