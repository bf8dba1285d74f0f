//! Randomness from one root: every generator of a node is a named child of it, so that a simulation's seed
//! reproduces a whole run.

use std::fmt;

use hmac::{Hmac, Mac};
use rand::rngs::{OsRng, StdRng};
use rand::{RngCore, SeedableRng, TryRngCore};
use sha2::Sha256;

/// 256 bits from which generators and further seeds are derived. Keys are drawn from it, so it is never
/// shown.
#[derive(Clone)]
pub struct Seed([u8; 32]);

/// The operating system gave no randomness. A node can't start without it: look for a sandbox that hides
/// `getrandom` or `/dev/urandom`.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct SeedError(String);

impl Seed {
    /// A root that nobody can guess, from the operating system. What production uses, once per process.
    pub fn from_system() -> Result<Self, SeedError> {
        let mut bytes = [0; 32];
        OsRng.try_fill_bytes(&mut bytes).map_err(|error| SeedError(error.to_string()))?;
        Ok(Self(bytes))
    }

    /// The root that belongs to a simulation's number. Not secret.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes).child("number")
    }

    /// The seed of this name under this one. The same name gives the same child, another name an unrelated
    /// one, and no child tells anything about its parent.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(name.as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// A cryptographically strong generator. Two calls on one seed give the same sequence: give each user a
    /// child of its own.
    #[must_use]
    pub fn rng(&self) -> StdRng {
        StdRng::from_seed(self.0)
    }

    /// Fills `bytes` with the beginning of what [`Seed::rng`] draws.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.rng().fill_bytes(bytes);
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(redacted)")
    }
}
