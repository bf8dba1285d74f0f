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

/// A key of XChaCha20-Poly1305. `Debug` shows its id alone.
#[derive(Clone, PartialEq, Eq)]
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

/// A ring was put together wrongly. It comes out of replicated state, so this is a fault of Stickler or of a
/// damaged backup; the operator restores another backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyRingError {
    /// Two keys have this id, so that a token doesn't say which of them opens it.
    #[error("two sealing keys have the id {0}")]
    Duplicate(SealingKeyId),
}

/// The keys that a node knows: all of them open tokens. The one that seals is the caller's choice, because a
/// key may seal only once the stable index has passed it: a token must not reach a node that can't open it.
/// The default is the empty ring, which opens nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<SealingKey>,
}

impl KeyRing {
    /// A ring of `keys`.
    ///
    /// # Errors
    /// When two keys share an id.
    pub fn new(keys: Vec<SealingKey>) -> Result<Self, KeyRingError> {
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyRingError::Duplicate(key.id));
            }
        }
        Ok(Self { keys })
    }

    /// The key called `id`.
    #[must_use]
    pub fn get(&self, id: SealingKeyId) -> Option<&SealingKey> {
        self.keys.iter().find(|key| key.id == id)
    }
}
