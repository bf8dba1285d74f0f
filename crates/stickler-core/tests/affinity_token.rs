//! The sealed token: only what this cluster sealed for this affinity opens, and nothing secret is shown.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use proptest::prelude::*;
use stickler_core::affinity::key::{Handle, Identifier, KeyHasher, MAX_IDENTIFIER, OversizeIdentifier};
use stickler_core::affinity::mint::mint;
use stickler_core::affinity::sealing::{KeyRing, KeyRingError, SealingKey, SealingKeyId};
use stickler_core::affinity::set_cookie::Learned;
use stickler_core::affinity::token::{Opened, SEALED_LENGTH, Token, TokenError};
use stickler_core::ids::{AffinityId, BackendId, ClusterId, Epoch};
use stickler_core::time::ClusterTime;

fn token() -> impl Strategy<Value = Token> {
    (any::<[u8; 16]>(), any::<[u64; 3]>(), any::<bool>()).prop_map(
        |(handle, [backend, epoch, issued], recorded)| Token {
            handle: Handle(handle),
            backend: BackendId(backend),
            epoch: Epoch(epoch),
            issued: ClusterTime(issued),
            recorded,
        },
    )
}

/// Three keys; two of them share a secret, as no cluster's would, to show that the id is under the seal.
fn ring(secret: [u8; 32]) -> KeyRing {
    let other = secret.map(|byte| !byte);
    let keys = vec![
        SealingKey::new(SealingKeyId(4), secret),
        SealingKey::new(SealingKeyId(5), secret),
        SealingKey::new(SealingKeyId(6), other),
    ];
    KeyRing::new(keys).unwrap()
}

fn seal(ring: &KeyRing, cluster: u128, affinity: u64, token: &Token, nonce: [u8; 24]) -> String {
    ring.get(SealingKeyId(4)).unwrap().seal(ClusterId(cluster), AffinityId(affinity), token, nonce)
}

proptest! {
    // Each case opens 920 altered tokens.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_token_with_any_bit_flipped_never_opens(
        token in token(), secret: [u8; 32], nonce: [u8; 24], cluster: u128, affinity: u64,
    ) {
        let ring = ring(secret);
        let text = seal(&ring, cluster, affinity, &token, nonce);
        for bit in 0..text.len() * 8 {
            let mut altered = text.clone().into_bytes();
            altered[bit / 8] ^= 1 << (bit % 8);
            let opened = ring.open(ClusterId(cluster), AffinityId(affinity), &altered);
            prop_assert!(opened.is_err(), "bit {} of the text", bit);
        }
    }
}

proptest! {
    #[test]
    fn what_was_sealed_opens_again(
        token in token(), secret: [u8; 32], nonce: [u8; 24], cluster: u128, affinity: u64,
    ) {
        let ring = ring(secret);
        let text = seal(&ring, cluster, affinity, &token, nonce);
        prop_assert_eq!(text.len(), SEALED_LENGTH);
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
        let opened = ring.open(ClusterId(cluster), AffinityId(affinity), text.as_bytes());
        prop_assert_eq!(opened, Ok(Opened { token, sealed_with: SealingKeyId(4) }));
    }

    #[test]
    fn a_token_of_another_cluster_affinity_or_key_is_forged(
        token in token(), secret: [u8; 32], nonce: [u8; 24], cluster: u128, affinity: u64, bit: u8,
    ) {
        let ring = ring(secret);
        let text = seal(&ring, cluster, affinity, &token, nonce);
        let (other_cluster, other_affinity) = (cluster ^ (1 << (bit % 128)), affinity ^ (1 << (bit % 64)));
        let open = |ring: &KeyRing, cluster, affinity| {
            ring.open(ClusterId(cluster), AffinityId(affinity), text.as_bytes())
        };
        prop_assert_eq!(open(&ring, other_cluster, affinity), Err(TokenError::Forged));
        prop_assert_eq!(open(&ring, cluster, other_affinity), Err(TokenError::Forged));

        let mut other_secret = secret;
        other_secret[usize::from(bit) % 32] ^= 1;
        let impostor = KeyRing::new(vec![SealingKey::new(SealingKeyId(4), other_secret)]).unwrap();
        prop_assert_eq!(open(&impostor, cluster, affinity), Err(TokenError::Forged));

        let stranger = KeyRing::new(vec![SealingKey::new(SealingKeyId(9), secret)]).unwrap();
        prop_assert_eq!(open(&stranger, cluster, affinity), Err(TokenError::UnknownKey(SealingKeyId(4))));
    }

    #[test]
    fn arbitrary_bytes_neither_open_nor_panic(bytes: Vec<u8>, text in "[A-Za-z0-9_-]{115}") {
        let ring = ring([7; 32]);
        for text in [bytes.as_slice(), text.as_bytes()] {
            prop_assert!(ring.open(ClusterId(1), AffinityId(1), text).is_err());
        }
    }

    #[test]
    fn a_token_cut_short_or_made_longer_is_malformed(token in token(), nonce: [u8; 24], more in "[A-Za-z=]{1,4}") {
        let ring = ring([7; 32]);
        let text = seal(&ring, 1, 1, &token, nonce);
        for length in 0..text.len() {
            let opened = ring.open(ClusterId(1), AffinityId(1), &text.as_bytes()[..length]);
            prop_assert_eq!(opened, Err(TokenError::Malformed));
        }
        let longer = ring.open(ClusterId(1), AffinityId(1), (text + &more).as_bytes());
        prop_assert_eq!(longer, Err(TokenError::Malformed));
    }

    #[test]
    fn identifiers_of_different_methods_names_or_affinities_never_share_a_key(
        hash_key: [u8; 16], affinity: u64, handle: [u8; 16], name in "[a-z]{1,8}",
    ) {
        let hasher = KeyHasher::new(hash_key);
        let longer = format!("{name}{}", char::from(b'a' + handle[0] % 26));
        let split = longer.as_bytes().last_chunk::<1>().unwrap();
        // The last two would be the same bytes if lengths were left out.
        let identifiers = [
            Identifier::Handle(Handle(handle)),
            Identifier::ApplicationCookie { name: &name, value: &handle },
            Identifier::ApplicationCookie { name: &longer, value: &handle },
            Identifier::Header { name: &name, value: &handle },
            Identifier::Bearer { name: &name, token: &handle },
            Identifier::Header { name: &name, value: split },
            Identifier::Header { name: &longer, value: b"" },
        ];
        let mut keys: Vec<_> = [affinity, affinity ^ 1]
            .iter()
            .flat_map(|&affinity| identifiers.iter().map(move |identifier| (affinity, identifier)))
            .map(|(affinity, identifier)| hasher.key(AffinityId(affinity), identifier).unwrap())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        prop_assert_eq!(keys.len(), 2 * identifiers.len());
    }
}

#[test]
fn an_identifier_of_four_kibibytes_is_kept_and_a_longer_one_is_refused() {
    let hasher = KeyHasher::new([3; 16]);
    let bytes = vec![b'x'; MAX_IDENTIFIER + 1];
    let key = |value| hasher.key(AffinityId(1), &Identifier::ApplicationCookie { name: "SID", value });
    assert!(key(&bytes[1..]).is_ok());
    assert_eq!(key(&bytes), Err(OversizeIdentifier { length: MAX_IDENTIFIER + 1 }));
}

#[test]
fn a_headers_name_has_no_case_and_a_cookies_name_has() {
    let hasher = KeyHasher::new([3; 16]);
    let key = |identifier| hasher.key(AffinityId(1), &identifier).unwrap();
    let header = |name| key(Identifier::Header { name, value: b"v" });
    let bearer = |name| key(Identifier::Bearer { name, token: b"v" });
    let cookie = |name| key(Identifier::ApplicationCookie { name, value: b"v" });
    assert_eq!(header("X-Id"), header("x-iD"));
    assert_eq!(bearer("X-Id"), bearer("x-iD"));
    assert_ne!(cookie("sid"), cookie("SID"));
    let query = |name| key(Identifier::Query { name, value: b"v" });
    let claim = |name| key(Identifier::Claim { name, value: b"v" });
    assert_ne!(query("sid"), query("SID"));
    assert_ne!(claim("sid"), claim("SID"));
    assert_ne!(query("sid"), claim("sid"));
}

#[test]
fn a_ring_names_its_mistakes_and_an_empty_one_has_no_key() {
    let key = |id| SealingKey::new(SealingKeyId(id), [1; 32]);
    let id = SealingKeyId;
    assert_eq!(KeyRing::new(vec![key(1), key(2), key(1)]), Err(KeyRingError::Duplicate(id(1))));
    assert_eq!(KeyRing::new(vec![key(1), key(2)]).unwrap().get(id(2)), Some(&key(2)));
    assert_eq!(KeyRing::default().get(id(1)), None);
}

#[test]
fn debug_output_of_secrets_and_identifiers_is_the_same_whatever_they_are() {
    let shown = |byte: u8| {
        let hasher = KeyHasher::new([byte; 16]);
        let value = [byte; 16];
        let key = SealingKey::new(SealingKeyId(1), [byte; 32]);
        let ring = KeyRing::new(vec![key.clone()]).unwrap();
        let token = Token {
            handle: Handle(value),
            backend: BackendId(1),
            epoch: Epoch(1),
            issued: ClusterTime(1),
            recorded: true,
        };
        let identifiers = [
            Identifier::Handle(Handle(value)),
            Identifier::ApplicationCookie { name: "a", value: &value },
            Identifier::Header { name: "a", value: &value },
            Identifier::Bearer { name: "a", token: &value },
        ];
        let handle = mint(AffinityId(1), &KeyHasher::new([1; 16]), value).handle;
        format!(
            "{hasher:?} {key:?} {ring:?} {token:?} {identifiers:?} {handle:?} {:?}",
            Learned::Value(&value)
        )
    };
    assert_eq!(shown(0xa5), shown(0x3c));
    for secret in ["165", "a5", "A5"] {
        assert!(!shown(0xa5).contains(secret), "{}", shown(0xa5));
    }
}

#[test]
fn a_minted_session_is_found_again_by_the_handle_in_its_token() {
    let hasher = KeyHasher::new([9; 16]);
    let minted = mint(AffinityId(2), &hasher, [4; 16]);
    assert_eq!(minted.key, hasher.key(AffinityId(2), &Identifier::Handle(minted.handle)).unwrap());
    assert_ne!(minted.key, mint(AffinityId(2), &hasher, [5; 16]).key);
}
