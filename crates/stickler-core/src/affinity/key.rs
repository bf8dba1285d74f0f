//! From an identifier to the affinity key that the cluster keeps: a keyed hash, so that a copy of the state
//! holds nobody's session id, address or bearer token.

use std::fmt;
use std::hash::Hasher as _;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use thiserror::Error;

use super::source::MaskedAddress;
use crate::ids::{AffinityId, KeyHash, PoolId};

/// The longest identifier, in bytes, that becomes a key. Browsers keep cookies of up to 4 KiB, name
/// included, so that no cookie a browser sends is above it.
pub const MAX_IDENTIFIER: usize = 4096;

/// The random 128 bits that name a session inside Stickler's own cookie. No client ever sees them: they
/// travel sealed. `Debug` shows none of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub [u8; 16]);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(redacted)")
    }
}

/// What a client shows to be recognised by. It is the client's own, so `Debug` shows its kind alone.
#[derive(Clone, Copy)]
pub enum Identifier<'a> {
    /// The handle out of a token that was opened, or one freshly minted.
    Handle(Handle),
    /// The value of the application's cookie.
    ApplicationCookie {
        /// The cookie's name, as configured.
        name: &'a str,
        /// Its value, without the quotes that may stand around it.
        value: &'a [u8],
    },
    /// The value of a header.
    Header {
        /// The header's name, in any case.
        name: &'a str,
        /// Its whole value.
        value: &'a [u8],
    },
    /// What stands behind the scheme `Bearer` in a header.
    Bearer {
        /// The header's name, in any case.
        name: &'a str,
        /// The token, without its scheme.
        token: &'a [u8],
    },
    /// The network that the client's address is in.
    Source(MaskedAddress),
    /// A parameter of the query.
    Query {
        /// The parameter's name.
        name: &'a str,
        /// Its value, decoded.
        value: &'a [u8],
    },
    /// A claim of a JSON Web Token, whichever header the token is in.
    Claim {
        /// The claim's name.
        name: &'a str,
        /// Its value.
        value: &'a [u8],
    },
}

impl fmt::Debug for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handle(_) => "Handle(redacted)",
            Self::ApplicationCookie { .. } => "ApplicationCookie(redacted)",
            Self::Header { .. } => "Header(redacted)",
            Self::Bearer { .. } => "Bearer(redacted)",
            Self::Source(_) => "Source(redacted)",
            Self::Query { .. } => "Query(redacted)",
            Self::Claim { .. } => "Claim(redacted)",
        })
    }
}

/// An identifier of more than [`MAX_IDENTIFIER`] bytes was refused. Nothing for an operator to do about a
/// single one; many of them mean that the application puts more than an identifier there, and another
/// cookie or header has to be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an identifier of {length} bytes is longer than {MAX_IDENTIFIER} bytes")]
pub struct OversizeIdentifier {
    /// How long it was, in bytes.
    pub length: usize,
}

/// Makes keys of identifiers. The hash key is fixed at the cluster's birth: with another one every session
/// would be a stranger. `Debug` shows none of it; `Serialize` writes it, for the replicated state alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHasher {
    hash_key: [u8; 16],
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(redacted)")
    }
}

/// One for each variant of `Identifier`. They are part of the key for ever: never renumber or reuse one.
#[derive(Clone, Copy)]
#[repr(u8)]
enum MethodTag {
    Handle = 1,
    ApplicationCookie = 2,
    Header = 3,
    Bearer = 4,
    Source = 5,
    Query = 6,
    Claim = 7,
}

impl KeyHasher {
    /// A hasher with the cluster's hash key.
    #[must_use]
    pub const fn new(hash_key: [u8; 16]) -> Self {
        Self { hash_key }
    }

    /// A hasher whose keys are other ones than those of this hasher and of every other pool.
    #[must_use]
    pub fn scoped(&self, pool: PoolId) -> Self {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(b"pool");
        hasher.write(&pool.0.to_le_bytes());
        Self { hash_key: hasher.finish128().as_bytes() }
    }

    /// The key of `identifier` under an affinity. Identifiers of two affinities, two methods, or two names
    /// of cookies or headers never share a key, whatever their bytes.
    ///
    /// # Errors
    /// When the identifier is longer than [`MAX_IDENTIFIER`].
    pub fn key(
        &self,
        affinity: AffinityId,
        identifier: &Identifier<'_>,
    ) -> Result<KeyHash, OversizeIdentifier> {
        let (tag, name, bytes) = match *identifier {
            Identifier::Handle(handle) => return Ok(self.handle_key(affinity, handle)),
            Identifier::Source(network) => {
                return Ok(self.hash(affinity, MethodTag::Source, b"", network.identifier().as_slice()));
            }
            Identifier::ApplicationCookie { name, value } => (MethodTag::ApplicationCookie, name, value),
            Identifier::Header { name, value } => (MethodTag::Header, name, value),
            Identifier::Bearer { name, token } => (MethodTag::Bearer, name, token),
            Identifier::Query { name, value } => (MethodTag::Query, name, value),
            Identifier::Claim { name, value } => (MethodTag::Claim, name, value),
        };
        if bytes.len() > MAX_IDENTIFIER {
            return Err(OversizeIdentifier { length: bytes.len() });
        }
        // A header's name in another case is the same header, and editing the case in the document must
        // not make strangers of everybody.
        if matches!(tag, MethodTag::Header | MethodTag::Bearer) {
            return Ok(self.hash(affinity, tag, name.to_ascii_lowercase().as_bytes(), bytes));
        }
        Ok(self.hash(affinity, tag, name.as_bytes(), bytes))
    }

    /// The key of a handle; it has a fixed length, so nothing can be wrong with it.
    #[must_use]
    pub fn handle_key(&self, affinity: AffinityId, handle: Handle) -> KeyHash {
        self.hash(affinity, MethodTag::Handle, b"", &handle.0)
    }

    /// Lengths stand before everything of variable length, so that no two inputs make the same bytes.
    fn hash(&self, affinity: AffinityId, tag: MethodTag, name: &[u8], identifier: &[u8]) -> KeyHash {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(&affinity.0.to_le_bytes());
        hasher.write(&[tag as u8]);
        hasher.write(&(name.len() as u64).to_le_bytes());
        hasher.write(name);
        hasher.write(&(identifier.len() as u64).to_le_bytes());
        hasher.write(identifier);
        KeyHash(hasher.finish128().as_u128())
    }
}
