//! Secrets at rest: only the right key, cluster and purpose bring them back, and nothing prints them.

use proptest::prelude::*;
use stickler_core::ids::ClusterId;
use stickler_core::secrets::{KeptSecret, NoSecretsKey, Purpose, SecretsError, SecretsKey};

const CLUSTER: ClusterId = ClusterId(7);

proptest! {
    #[test]
    fn what_was_wrapped_comes_back_for_its_key_cluster_and_purpose_alone(
        secret: [u8; 32], key: [u8; 32], nonce: [u8; 24], bit in 0..256_usize,
    ) {
        let wrapped = KeptSecret::wrap(&secret, &SecretsKey::new(key), nonce, CLUSTER, Purpose::SealingKey);
        let reveal = |key: Option<[u8; 32]>, cluster, purpose| {
            wrapped.reveal::<32>(key.map(SecretsKey::new).as_ref(), cluster, purpose)
        };
        prop_assert_eq!(reveal(Some(key), CLUSTER, Purpose::SealingKey), Ok(secret));
        let mut other = key;
        other[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(reveal(Some(other), CLUSTER, Purpose::SealingKey), Err(SecretsError::OtherKey));
        prop_assert_eq!(reveal(Some(key), ClusterId(8), Purpose::SealingKey), Err(SecretsError::OtherKey));
        prop_assert_eq!(reveal(Some(key), CLUSTER, Purpose::HashKey), Err(SecretsError::OtherKey));
        prop_assert_eq!(reveal(None, CLUSTER, Purpose::SealingKey), Err(SecretsError::NoKey));
        let short = wrapped.reveal::<16>(Some(&SecretsKey::new(key)), CLUSTER, Purpose::SealingKey);
        prop_assert_eq!(short, Err(SecretsError::Damaged));
    }

    #[test]
    fn a_key_is_what_its_file_says(bytes: [u8; 32]) {
        let key = SecretsKey::new(bytes);
        prop_assert_eq!(SecretsKey::of_text(&key.text()), Ok(key.clone()));
        prop_assert_eq!(SecretsKey::of_text(key.text().trim_end()), Ok(key));
    }

    #[test]
    fn no_other_text_is_a_key(text in "[0-9a-fA-F]{0,63}|[0-9a-f]{65,70}|[0-9a-f]{63}[g-z é+]|\\PC*") {
        prop_assert!(SecretsKey::of_text(&text) == Err(NoSecretsKey) || text.len() == 64);
    }
}

#[test]
fn a_secret_in_the_clear_needs_no_key() {
    let kept = KeptSecret::clear(&[5; 16]);
    assert!(!kept.is_wrapped());
    assert_eq!(kept.reveal(None, CLUSTER, Purpose::HashKey), Ok([5; 16]));
    assert_eq!(kept.reveal::<32>(None, CLUSTER, Purpose::HashKey), Err(SecretsError::Damaged));
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let shown = |byte: u8| {
        let key = SecretsKey::new([byte; 32]);
        let wrapped = KeptSecret::wrap(&[byte; 16], &key, [byte; 24], CLUSTER, Purpose::HashKey);
        format!("{key:?} {wrapped:?} {:?}", KeptSecret::clear(&[byte; 16]))
    };
    assert_eq!(shown(1), shown(213));
}
