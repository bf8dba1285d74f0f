//! Sessions between two visits: whoever wants one takes it, and puts it back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::Rng;

use crate::identifier::Door;

/// Sessions that are kept; others are forgotten by their clients.
const ROOM: usize = 4000;

/// A session as its client holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// How it is recognised.
    pub door: Door,
    /// Its name in the history, which stays.
    pub session: String,
    /// What the client shows; Stickler's cookie changes.
    pub value: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Board {
    sessions: Mutex<Vec<Held>>,
}

impl Board {
    /// Takes one of the sessions, whichever.
    pub(crate) fn take(&self, random: &mut impl Rng) -> Option<Held> {
        let mut sessions = self.sessions();
        let count = sessions.len();
        (count > 0).then(|| sessions.swap_remove(random.random_range(0..count)))
    }

    /// Puts a session there, in the place of another when there is no room.
    pub(crate) fn put(&self, held: Held, random: &mut impl Rng) {
        let mut sessions = self.sessions();
        if sessions.len() < ROOM {
            sessions.push(held);
        } else {
            let place = random.random_range(0..ROOM);
            sessions[place] = held;
        }
    }

    /// All that are there.
    pub(crate) fn all(&self) -> Vec<Held> {
        self.sessions().clone()
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Held>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
