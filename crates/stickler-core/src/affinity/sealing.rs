//! The keys that seal tokens, and the ring of those that still open them.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names a sealing key within its cluster; it stands in every token in the clear. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealingKeyId(pub u32);

impl fmt::Display for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key of XChaCha20-Poly1305. `Debug` shows its id alone; `Serialize` writes the secret, for the
/// replicated state and its backups and nothing else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealingKey {
    id: SealingKeyId,
    secret: [u8; 32],
}

impl SealingKey {
    /// A key with a secret of 32 random bytes.
    #[must_use]
    pub const fn new(id: SealingKeyId, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// The name that tokens sealed with it carry.
    #[must_use]
    pub const fn id(&self) -> SealingKeyId {
        self.id
    }

    pub(super) const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A ring was put together wrongly. It comes out of replicated state, so either is a fault of Stickler or
/// of a damaged backup; the operator restores another backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyRingError {
    /// Two keys have this id, so that a token doesn't say which of them opens it.
    #[error("two sealing keys have the id {0}")]
    Duplicate(SealingKeyId),
    /// The key that should seal isn't among the keys.
    #[error("the sealing key {0}, said to be the current one, is not in the ring")]
    NoSuchKey(SealingKeyId),
}

/// The keys that a node knows: all of them open tokens, at most one seals. The one that seals is the
/// caller's choice, because a key may seal only once the stable index has passed it: a token must not
/// reach a node that can't open it. The default is the empty ring, which opens nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<SealingKey>,
    current: Option<usize>,
}

impl KeyRing {
    /// A ring of `keys`, of which `current` seals; with `None` nothing can be sealed yet.
    ///
    /// # Errors
    /// When two keys share an id, or when `current` isn't among them.
    pub fn new(keys: Vec<SealingKey>, current: Option<SealingKeyId>) -> Result<Self, KeyRingError> {
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyRingError::Duplicate(key.id));
            }
        }
        let current = current
            .map(|id| keys.iter().position(|key| key.id == id).ok_or(KeyRingError::NoSuchKey(id)))
            .transpose()?;
        Ok(Self { keys, current })
    }

    /// The key that seals; `None` while there is none.
    #[must_use]
    pub fn current(&self) -> Option<&SealingKey> {
        self.current.map(|index| &self.keys[index])
    }

    /// The key called `id`, to open with.
    #[must_use]
    pub fn get(&self, id: SealingKeyId) -> Option<&SealingKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}
