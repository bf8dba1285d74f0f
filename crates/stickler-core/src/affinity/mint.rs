//! A new identity for a session that has none.

use super::key::{Handle, KeyHasher};
use crate::document::cluster::{Affinity, CookieAttributes, Method};
use crate::ids::{AffinityId, KeyHash};

/// A session that Stickler named itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minted {
    /// Goes into the token.
    pub handle: Handle,
    /// What the binding is kept under.
    pub key: KeyHash,
}

/// Names a new session; `random` is 16 fresh random bytes.
#[must_use]
pub fn mint(affinity_id: AffinityId, hasher: &KeyHasher, random: [u8; 16]) -> Minted {
    let handle = Handle(random);
    Minted { handle, key: hasher.handle_key(affinity_id, handle) }
}

/// The affinity's first method by which Stickler itself makes an identifier, with its index in
/// `Affinity::methods`; `None` when it has none and nothing can be minted.
#[must_use]
pub fn own_cookie(affinity: &Affinity) -> Option<(usize, &CookieAttributes)> {
    affinity.methods.iter().enumerate().find_map(|(index, method)| match method {
        Method::Cookie(attributes) => Some((index, attributes)),
        _ => None,
    })
}
