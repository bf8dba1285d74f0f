//! A sealed token opens to what was sealed, for the cluster and affinity that it was sealed for. Any other text
//! opens to nothing.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stickler_core::affinity::key::Handle;
use stickler_core::affinity::sealing::{KeyRing, SealingKey, SealingKeyId};
use stickler_core::affinity::token::{Opened, SEALED_LENGTH, Token};
use stickler_core::ids::{AffinityId, BackendId, ClusterId, Epoch};
use stickler_core::time::ClusterTime;

#[derive(Arbitrary, Debug)]
struct Input {
    secret: [u8; 32],
    nonce: [u8; 24],
    handle: [u8; 16],
    numbers: [u64; 3],
    recorded: bool,
    cluster: u128,
    affinity: u64,
    edits: Vec<Edit>,
    text: Vec<u8>,
}

/// What somebody does to a token.
#[derive(Arbitrary, Debug)]
enum Edit {
    Flip { at: u8, bit: u8 },
    Put { at: u8, byte: u8 },
    Swap { one: u8, other: u8 },
    Remove { at: u8 },
    Insert { at: u8, byte: u8 },
}

fuzz_target!(|input: Input| {
    let Input {
        secret, nonce, handle, numbers: [backend, epoch, issued], recorded, cluster, affinity, ..
    } = input;
    let (cluster, affinity) = (ClusterId(cluster), AffinityId(affinity));
    let id = SealingKeyId(1);
    let ring = KeyRing::new(vec![SealingKey::new(id, secret)]).expect("one key is a ring");
    let token = Token {
        handle: Handle(handle),
        backend: BackendId(backend),
        epoch: Epoch(epoch),
        issued: ClusterTime(issued),
        recorded,
    };
    let key = ring.get(id).expect("it was put in");
    let sealed = key.seal(cluster, affinity, &token, nonce).into_bytes();
    assert_eq!(sealed.len(), SEALED_LENGTH);
    assert_eq!(ring.open(cluster, affinity, &sealed), Ok(Opened { token, sealed_with: id }));
    assert!(ring.open(ClusterId(cluster.0 ^ 1), affinity, &sealed).is_err());
    assert!(ring.open(cluster, AffinityId(affinity.0 ^ 1), &sealed).is_err());

    let mut edited = sealed.clone();
    input.edits.iter().for_each(|change| change.make(&mut edited));
    for text in [&edited, &input.text] {
        let opened = ring.open(cluster, affinity, text);
        assert_eq!(opened.is_ok(), *text == sealed, "a text that was not sealed: {opened:?}");
    }
});

impl Edit {
    fn make(&self, text: &mut Vec<u8>) {
        let length = text.len().max(1);
        let place = |at: u8| usize::from(at) % length;
        match *self {
            Self::Insert { at, byte } => text.insert(place(at).min(text.len()), byte),
            _ if text.is_empty() => {}
            Self::Flip { at, bit } => text[place(at)] ^= 1 << (bit % 8),
            Self::Put { at, byte } => text[place(at)] = byte,
            Self::Swap { one, other } => text.swap(place(one), place(other)),
            Self::Remove { at } => drop(text.remove(place(at))),
        }
    }
}
