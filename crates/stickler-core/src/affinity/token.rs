//! The sealed token: the value of Stickler's own cookie. It proves a binding by itself, reveals nothing,
//! and can't be forged or carried to another cluster or affinity.
//!
//! Format 1, all numbers big-endian, then base64url without padding (115 characters):
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format version, 1 |
//! | 4 | id of the sealing key |
//! | 24 | nonce |
//! | 41 | sealed: handle (16), backend (8), epoch (8), cluster time of issue in ms (8), flags (1) |
//! | 16 | tag |
//!
//! Sealed with XChaCha20-Poly1305; the associated data is version ‖ key id ‖ cluster id ‖ affinity id.
//! Bit 0 of the flags says that the binding is recorded; the others are zero.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use thiserror::Error;

use super::key::Handle;
use super::sealing::{KeyRing, SealingKey, SealingKeyId};
use crate::ids::{AffinityId, BackendId, ClusterId, Epoch};
use crate::time::ClusterTime;

/// Characters in a sealed token; a text of any other length is none.
pub const SEALED_LENGTH: usize = 115;

const FORMAT: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
const HEAD: usize = 1 + 4 + NONCE;
const PLAIN: usize = 16 + 8 + 8 + 8 + 1;
const RAW: usize = HEAD + PLAIN + TAG;
const RECORDED: u8 = 1;

const _: () = assert!(SEALED_LENGTH == (RAW * 4).div_ceil(3));

/// What a sealed token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The session's name; its key is [`KeyHasher::handle_key`](super::key::KeyHasher::handle_key) of it.
    pub handle: Handle,
    /// The backend of the binding.
    pub backend: BackendId,
    /// The epoch of the binding; 0 when it isn't recorded.
    pub epoch: Epoch,
    /// When the token was sealed, in cluster time.
    pub issued: ClusterTime,
    /// Whether the binding was in the replicated state when the token was sealed.
    pub recorded: bool,
}

/// A token that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub token: Token,
    /// The key that had sealed it.
    pub sealed_with: SealingKeyId,
}

/// A text was not opened as a token. The request is a new client's; each kind is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It isn't a token of a format that this build reads. Other software's cookie of the same name: give
    /// Stickler's another name. Or a downgrade from a build with a newer format.
    #[error("the cookie is no sealed token")]
    Malformed,
    /// No key of this id is in the ring. A node that is behind may not have the key yet, so it catches up
    /// before the token counts as forged. Otherwise the key was retired before its tokens had ended: many of
    /// these mean that `sealing.overlap` is too short.
    #[error("the cookie was sealed with the unknown key {0}")]
    UnknownKey(SealingKeyId),
    /// The seal doesn't hold: altered, made up, or of another cluster or affinity. Many of them are an
    /// attack, or two clusters that share a host name and a cookie name.
    #[error("the cookie's seal does not hold")]
    Forged,
}

impl SealingKey {
    /// Seals `token` for one cluster and affinity; [`SEALED_LENGTH`] characters, all of them allowed in a
    /// cookie. `nonce` is 24 fresh random bytes: so many that they never repeat by chance.
    #[must_use]
    pub fn seal(&self, cluster: ClusterId, affinity: AffinityId, token: &Token, nonce: [u8; 24]) -> String {
        let mut sealed = plaintext(token);
        let tag = self
            .cipher()
            .encrypt_in_place_detached(
                &XNonce::from(nonce),
                &associated_data(self.id(), cluster, affinity),
                &mut sealed,
            )
            .expect("41 bytes are below the cipher's limit of 256 GiB");
        let mut raw = Vec::with_capacity(RAW);
        raw.push(FORMAT);
        raw.extend_from_slice(&self.id().0.to_be_bytes());
        raw.extend_from_slice(&nonce);
        raw.extend_from_slice(&sealed);
        raw.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(raw)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.secret().into())
    }
}

impl KeyRing {
    /// Opens a token that was sealed for this cluster and affinity. Each token has exactly one text.
    ///
    /// # Errors
    /// See [`TokenError`]. Nothing is decoded unless the length is right.
    pub fn open(&self, cluster: ClusterId, affinity: AffinityId, text: &[u8]) -> Result<Opened, TokenError> {
        let mut raw = decode(text)?;
        let (head, rest) = raw.split_at_mut(HEAD);
        let (sealed, tag) = rest.split_at_mut(PLAIN);
        if head[0] != FORMAT {
            return Err(TokenError::Malformed);
        }
        let id = SealingKeyId(u32::from_be_bytes(part(&head[1..5])));
        let key = self.get(id).ok_or(TokenError::UnknownKey(id))?;
        let nonce: [u8; NONCE] = part(&head[5..]);
        let tag: [u8; TAG] = part(tag);
        key.cipher()
            .decrypt_in_place_detached(
                &XNonce::from(nonce),
                &associated_data(id, cluster, affinity),
                sealed,
                &Tag::from(tag),
            )
            .map_err(|_| TokenError::Forged)?;
        parse(sealed).map(|token| Opened { token, sealed_with: id })
    }
}

fn decode(text: &[u8]) -> Result<[u8; RAW], TokenError> {
    if text.len() != SEALED_LENGTH {
        return Err(TokenError::Malformed);
    }
    // The decoder wants room for its own estimate, which is a little above the true length. It refuses
    // padding and stray bits at the end, so that no second text means the same token.
    let mut buffer = [0; RAW + 3];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut buffer) {
        Ok(RAW) => Ok(part(&buffer[..RAW])),
        _ => Err(TokenError::Malformed),
    }
}

fn associated_data(key: SealingKeyId, cluster: ClusterId, affinity: AffinityId) -> [u8; 29] {
    let mut data = [0; 29];
    data[0] = FORMAT;
    data[1..5].copy_from_slice(&key.0.to_be_bytes());
    data[5..21].copy_from_slice(&cluster.0.to_be_bytes());
    data[21..].copy_from_slice(&affinity.0.to_be_bytes());
    data
}

fn plaintext(token: &Token) -> [u8; PLAIN] {
    let mut plain = [0; PLAIN];
    plain[..16].copy_from_slice(&token.handle.0);
    plain[16..24].copy_from_slice(&token.backend.0.to_be_bytes());
    plain[24..32].copy_from_slice(&token.epoch.0.to_be_bytes());
    plain[32..40].copy_from_slice(&token.issued.0.to_be_bytes());
    plain[40] = if token.recorded { RECORDED } else { 0 };
    plain
}

fn parse(plain: &[u8]) -> Result<Token, TokenError> {
    let number = |from: usize| u64::from_be_bytes(part(&plain[from..from + 8]));
    let recorded = match plain[40] {
        0 => false,
        RECORDED => true,
        // A newer build of this cluster said more than this one understands.
        _ => return Err(TokenError::Malformed),
    };
    Ok(Token {
        handle: Handle(part(&plain[..16])),
        backend: BackendId(number(16)),
        epoch: Epoch(number(24)),
        issued: ClusterTime(number(32)),
        recorded,
    })
}

/// Only ever called with a slice cut to the length of the array.
fn part<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    bytes.try_into().expect("the slice was cut to this length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_this_build_does_not_know_are_refused_not_ignored() {
        let mut plain = plaintext(&Token {
            handle: Handle([1; 16]),
            backend: BackendId(2),
            epoch: Epoch(3),
            issued: ClusterTime(4),
            recorded: true,
        });
        assert!(parse(&plain).is_ok());
        plain[40] |= 2;
        assert_eq!(parse(&plain), Err(TokenError::Malformed));
    }
}
