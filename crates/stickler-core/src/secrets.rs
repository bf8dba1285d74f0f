//! Secrets at rest: how the cluster's own secrets lie in its log, its snapshots and its backups.
//!
//! A cluster is founded with a secrets key, which its nodes have in a file of their own, or without one.
//! With it, the replicated state holds secrets only wrapped: sealed with XChaCha20-Poly1305 for this cluster
//! and one purpose. A copy of a data directory is then worth nothing without the file.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::ClusterId;

/// The key by which secrets are wrapped. It is never replicated, and `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretsKey([u8; 32]);

/// A text is no secrets key. The operator makes one with `stickler key new`, or copies that of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a secrets key is 64 hexadecimal digits on one line, as `stickler key new` writes them")]
pub struct NoSecretsKey;

impl SecretsKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads what [`SecretsKey::text`] writes.
    ///
    /// # Errors
    /// [`NoSecretsKey`].
    pub fn of_text(text: &str) -> Result<Self, NoSecretsKey> {
        let digits = text.strip_suffix('\n').unwrap_or(text).as_bytes();
        let (pairs, []) = digits.as_chunks::<2>() else { return Err(NoSecretsKey) };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NoSecretsKey)
    }

    /// The one line of its file. Whoever has it has the key.
    #[must_use]
    pub fn text(&self) -> String {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    }
}

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretsKey(redacted)")
    }
}

/// What a secret is for. It is under the seal, so that one can't be passed for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Key of the affinity-key hash.
    HashKey,
    /// Secret of a key of Stickler's cookie.
    SealingKey,
}

impl Purpose {
    /// Part of what is sealed, for ever: never renumber one.
    const fn number(self) -> u8 {
        match self {
            Self::HashKey => 1,
            Self::SealingKey => 2,
        }
    }
}

/// A secret as the log and the state hold it. `Debug` shows how, and nothing else.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeptSecret {
    /// As it is.
    Clear(Vec<u8>),
    /// Wrapped with the nodes' secrets key.
    Wrapped {
        /// Drawn for this wrapping alone.
        nonce: [u8; 24],
        /// The sealed bytes, with the tag at their end.
        sealed: Vec<u8>,
    },
}

impl fmt::Debug for KeptSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "KeptSecret(redacted)",
            Self::Wrapped { .. } => "KeptSecret(wrapped)",
        })
    }
}

/// Why a node can't use a secret of its cluster. It routes nothing until an operator has seen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretsError {
    /// The cluster's secrets are wrapped, and the node has no key.
    #[error(
        "the cluster's secrets are wrapped, and this node has no key for them: copy the file of another node, and \
         name it as `secrets_key_file` in the node file"
    )]
    NoKey,
    /// The node's key is another than the one with which they were wrapped.
    #[error(
        "the cluster's secrets were wrapped with another key than the one in this node's `secrets_key_file`: copy \
         the file of a node that works"
    )]
    OtherKey,
    /// The secret has another length than it should: the state is damaged. Restore a backup.
    #[error("a secret of the cluster is damaged: restore a backup")]
    Damaged,
}

impl KeptSecret {
    /// As it is, where no secrets key was given to the cluster.
    #[must_use]
    pub fn clear(secret: &[u8]) -> Self {
        Self::Clear(secret.to_vec())
    }

    /// Wrapped for one cluster and purpose. `nonce` is 24 fresh random bytes: so many that they never repeat
    /// by chance.
    #[must_use]
    pub fn wrap(
        secret: &[u8],
        key: &SecretsKey,
        nonce: [u8; 24],
        cluster: ClusterId,
        purpose: Purpose,
    ) -> Self {
        let payload = Payload { msg: secret, aad: &associated_data(cluster, purpose) };
        let sealed = cipher(key)
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is below the cipher's limit of 256 GiB");
        Self::Wrapped { nonce, sealed }
    }

    /// Whether it takes a key to read it.
    #[must_use]
    pub const fn is_wrapped(&self) -> bool {
        matches!(self, Self::Wrapped { .. })
    }

    /// The secret itself. `key` is the node's, if it has one.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn reveal<const LENGTH: usize>(
        &self,
        key: Option<&SecretsKey>,
        cluster: ClusterId,
        purpose: Purpose,
    ) -> Result<[u8; LENGTH], SecretsError> {
        let secret = match self {
            Self::Clear(secret) => secret.clone(),
            Self::Wrapped { nonce, sealed } => {
                let payload = Payload { msg: sealed, aad: &associated_data(cluster, purpose) };
                let opened = cipher(key.ok_or(SecretsError::NoKey)?).decrypt(&XNonce::from(*nonce), payload);
                opened.map_err(|_| SecretsError::OtherKey)?
            }
        };
        secret.try_into().map_err(|_| SecretsError::Damaged)
    }
}

fn cipher(key: &SecretsKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&key.0).into())
}

fn associated_data(cluster: ClusterId, purpose: Purpose) -> [u8; 17] {
    let mut data = [0; 17];
    data[..16].copy_from_slice(&cluster.0.to_be_bytes());
    data[16] = purpose.number();
    data
}
