//! Formats that sessions outlive a release by. The expected values were computed by an independent
//! implementation, itself checked against the published vectors of SipHash-2-4-128 and XChaCha20-Poly1305.
//! A value in here never changes: a new format gets a new version and new values beside these.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use stickler_core::affinity::key::{Handle, Identifier, KeyHasher};
use stickler_core::affinity::sealing::{KeyRing, SealingKey, SealingKeyId};
use stickler_core::affinity::source::MaskedAddress;
use stickler_core::affinity::token::{Opened, Token};
use stickler_core::ids::{AffinityId, BackendId, ClusterId, Epoch};
use stickler_core::time::ClusterTime;

const AFFINITY: AffinityId = AffinityId(7);
const CLUSTER: ClusterId = ClusterId(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
const RECORDED: &str = "AQECAwRgYWJjZGVmZ2hpamtsbW5vcHFyc3R1dne1X9FGVzfFDNWaHVF27_PE_Ceptv1h5kzhb_vLl1BfAL4GAC4bJH_vcw1NRmDsyVff6wpySujdb50";
const UNRECORDED: &str = "AQECAwRgYWJjZGVmZ2hpamtsbW5vcHFyc3R1dne1X9FGVzfFDNWaHVF27_PE_Ceptv1h5kzhb_vKl1BfAr4GAC4bJH_vcjffs698ZmPf4Mx3eZ3d_xo";

/// `LENGTH` bytes that count up.
fn counting<const LENGTH: usize>(first: u8) -> [u8; LENGTH] {
    std::array::from_fn(|index| first + u8::try_from(index).unwrap())
}

#[test]
fn keys_of_identifiers_stay_what_they_are() {
    let hasher = KeyHasher::new(counting(0));
    let source = |address: &str| Identifier::Source(MaskedAddress::of(address.parse().unwrap(), 24, 64));
    let app = |name| Identifier::ApplicationCookie { name, value: b"abc123" };
    for (identifier, expected) in [
        (Identifier::Handle(Handle(counting(0x20))), "02192f8d7cd85a4b807349dad2bbf562"),
        (app("JSESSIONID"), "81475eb2f7e37cf7c263d00fa2609b56"),
        (Identifier::Header { name: "X-Session", value: b"abc123" }, "f7469ad35ba1a77cff7d2fa1b4b1308a"),
        (Identifier::Bearer { name: "Authorization", token: b"abc123" }, "84651c35ebe5c4323fdfb8388bb0592b"),
        (source("192.0.2.201"), "6ab584a68fc4222a718dcbc31eaae6d2"),
        (source("::ffff:192.0.2.1"), "6ab584a68fc4222a718dcbc31eaae6d2"),
        (source("2001:db8:1:2::99"), "1bbc180cd763510ca1787273bf101ef8"),
    ] {
        assert_eq!(hasher.key(AFFINITY, &identifier).unwrap().to_string(), expected, "{identifier:?}");
    }
}

#[test]
fn tokens_of_format_one_keep_opening() {
    let key = SealingKey::new(SealingKeyId(0x0102_0304), counting(0x40));
    let ring = KeyRing::new(vec![key.clone()]).unwrap();
    for (text, epoch, recorded) in [(RECORDED, Epoch(0x1_0000_0002), true), (UNRECORDED, Epoch(0), false)] {
        let token = Token {
            handle: Handle(counting(0x20)),
            backend: BackendId(11),
            epoch,
            issued: ClusterTime(1_234_567_890),
            recorded,
        };
        let opened = ring.open(CLUSTER, AFFINITY, text.as_bytes());
        assert_eq!(opened, Ok(Opened { token, sealed_with: key.id() }));
        assert_eq!(key.seal(CLUSTER, AFFINITY, &token, counting(0x60)), text);
    }
}
