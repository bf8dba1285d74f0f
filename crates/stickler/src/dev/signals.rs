//! The signals by which a person, or whoever started it, ends `dev`.

use std::io;

use stickler_rt::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP, counted together.
pub(super) struct Signals {
    /// Given with the first of them: end everything in order.
    pub first: Shutdown,
    /// Given with the second: don't wait any longer.
    pub second: Shutdown,
}

impl Signals {
    /// Takes the signals over from the operating system's own reaction. Needs the runtime.
    pub fn listen() -> io::Result<Self> {
        let (first, second) = (Shutdown::new(), Shutdown::new());
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let given = [first.clone(), second.clone()];
        tokio::spawn(async move {
            for shutdown in given {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                    _ = hang_up.recv() => (),
                }
                shutdown.trigger();
            }
        });
        Ok(Self { first, second })
    }
}
