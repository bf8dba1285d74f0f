//! The envelope around everything that is kept on disk or sent to a peer, and the one place that knows how
//! the payload inside is encoded.
//!
//! Layout: one byte [`Kind`], two bytes version (little endian), payload. The version belongs to the kind,
//! so that one format can change without the others, and a payload encoding that has to be replaced is a new
//! version instead of a rewrite of every caller.

use bincode::error::DecodeError as PayloadError;
use serde::Serialize;
use serde::de::DeserializeOwned;

const ENVELOPE_BYTES: usize = 3;

/// The largest limit of any kind.
const HARD_LIMIT_BYTES: usize = 16 << 20;

/// What an encoded value is. The numbers are written to disk and to the wire: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A data directory's identity.
    Identity = 1,
    /// One entry of the replicated log.
    LogEntry = 2,
    /// The vote of this node.
    Vote = 3,
    /// The position of an entry in the log: committed, purged.
    LogPosition = 4,
    /// What a snapshot covers.
    SnapshotMeta = 5,
    /// A run of records of the state machine inside a snapshot.
    SnapshotRecords = 6,
    /// What a node asks of another one.
    PeerRequest = 7,
    /// What a node answers to another one.
    PeerAnswer = 8,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Identity,
        Self::LogEntry,
        Self::Vote,
        Self::LogPosition,
        Self::SnapshotMeta,
        Self::SnapshotRecords,
        Self::PeerRequest,
        Self::PeerAnswer,
    ];

    /// The version that this binary writes of this kind, and the newest that it reads.
    #[must_use]
    pub const fn version(self) -> u16 {
        match self {
            Self::Identity | Self::Vote | Self::LogPosition | Self::SnapshotMeta => 1,
            // 2: affinities with modes, scopes and ways to end; routes over several pools; sealing keys; marks.
            // 3: affinities that say what happens when they are full; conflicts.
            // 4: what checks say of answers; lives of backends; sessions that go home; what affinities do meanwhile.
            // 5: backends that leave, and those that a name leads to; bounds for a pool's load.
            Self::LogEntry | Self::SnapshotRecords | Self::PeerRequest | Self::PeerAnswer => 5,
        }
    }

    /// The largest envelope of this kind in bytes, written or read.
    #[must_use]
    pub const fn maximum_bytes(self) -> usize {
        match self {
            Self::Identity | Self::Vote | Self::LogPosition => 1 << 10,
            Self::SnapshotMeta => 1 << 20,
            Self::LogEntry => 4 << 20,
            Self::SnapshotRecords => 8 << 20,
            Self::PeerRequest | Self::PeerAnswer => HARD_LIMIT_BYTES,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Why a value could not be encoded. Both are limits or faults of this program, never of the disk.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The value is larger than its kind may be. The caller must refuse or split what it was asked for.
    #[error("a {kind:?} of {bytes} bytes is over the limit of {} bytes", .kind.maximum_bytes())]
    TooLarge {
        /// What the value is.
        kind: Kind,
        /// Its encoded size.
        bytes: usize,
    },
    /// The value's type can't be expressed in the payload encoding: a fault of this program.
    #[error("a {kind:?} can't be encoded: {reason}")]
    Unsupported {
        /// What the value is.
        kind: Kind,
        /// What the encoder said.
        reason: String,
    },
}

/// Why bytes are not a value. On disk, all but `NewerVersion` mean damage; from a peer, that it is no node of
/// this program.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The first byte names no kind that this binary knows.
    #[error("unknown kind {found} where a {expected:?} belongs")]
    UnknownKind {
        /// What was asked for.
        expected: Kind,
        /// The byte that was found.
        found: u8,
    },
    /// A known kind, but another one than belongs here.
    #[error("a {found:?} where a {expected:?} belongs")]
    WrongKind {
        /// What was asked for.
        expected: Kind,
        /// What was found.
        found: Kind,
    },
    /// A later release wrote this. An operator runs that release, or a newer one.
    #[error(
        "{kind:?} format version {found} is newer than version {} of this binary; run the release that wrote it",
        .kind.version()
    )]
    NewerVersion {
        /// What the value is.
        kind: Kind,
        /// The version that was found.
        found: u16,
    },
    /// A version that this binary no longer reads.
    #[error("{kind:?} format version {found} is no longer read; upgrade through an earlier release first")]
    OlderVersion {
        /// What the value is.
        kind: Kind,
        /// The version that was found.
        found: u16,
    },
    /// The bytes end too early, go on too long, or say nothing.
    #[error("malformed {kind:?}: {reason}")]
    Malformed {
        /// What was asked for.
        kind: Kind,
        /// What the decoder said.
        reason: String,
    },
    /// More bytes than the kind may have.
    #[error("a {kind:?} of {bytes} bytes is over the limit of {} bytes", .kind.maximum_bytes())]
    TooLarge {
        /// What was asked for.
        kind: Kind,
        /// How many bytes there are.
        bytes: usize,
    },
}

/// Encodes a value of a kind in that kind's current version.
///
/// # Errors
/// When it is larger than [`Kind::maximum_bytes`], or of a type that the encoding doesn't know.
pub fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(kind as u8);
    bytes.extend_from_slice(&kind.version().to_le_bytes());
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|error| EncodeError::Unsupported { kind, reason: error.to_string() })?;
    if bytes.len() > kind.maximum_bytes() {
        return Err(EncodeError::TooLarge { kind, bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Decodes a value of a kind. Every byte must belong to it.
///
/// # Errors
/// One of [`DecodeError`]; nothing is ever guessed.
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    let payload = open_envelope(kind, bytes)?;
    let malformed = |reason: String| DecodeError::Malformed { kind, reason };
    let (value, read) = decode_payload(payload).map_err(|error| {
        malformed(match error {
            PayloadError::UnexpectedEnd { .. } => "it ends too early".to_owned(),
            other => other.to_string(),
        })
    })?;
    if read != payload.len() {
        return Err(malformed(format!("{} bytes follow after its end", payload.len() - read)));
    }
    Ok(value)
}

/// The payload decoder adds up what it is about to read, and refuses what is over its limit before it reserves
/// memory for it. A number counts with its full width, sixteen bytes at most, even where it takes one byte; so
/// the limit is sixteen times the payload, and a length that a stranger wrote reserves no more than the next
/// step above that.
fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<(T, usize), PayloadError> {
    const MOST: usize = 16 * HARD_LIMIT_BYTES;
    match 16 * payload.len() {
        0..=0x1000 => decode_within::<T, 0x1000>(payload),
        0x1001..=0x8000 => decode_within::<T, 0x8000>(payload),
        0x8001..=0x4_0000 => decode_within::<T, 0x4_0000>(payload),
        0x4_0001..=0x20_0000 => decode_within::<T, 0x20_0000>(payload),
        0x20_0001..=0x100_0000 => decode_within::<T, 0x100_0000>(payload),
        0x100_0001..=0x800_0000 => decode_within::<T, 0x800_0000>(payload),
        _ => decode_within::<T, MOST>(payload),
    }
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(
    payload: &[u8],
) -> Result<(T, usize), PayloadError> {
    bincode::serde::decode_from_slice(payload, bincode::config::standard().with_limit::<LIMIT>())
}

fn open_envelope(expected: Kind, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    if bytes.len() > expected.maximum_bytes() {
        return Err(DecodeError::TooLarge { kind: expected, bytes: bytes.len() });
    }
    let Some((&[kind, low, high], payload)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(DecodeError::Malformed { kind: expected, reason: "it ends too early".to_owned() });
    };
    match Kind::of(kind) {
        None => return Err(DecodeError::UnknownKind { expected, found: kind }),
        Some(found) if found != expected => return Err(DecodeError::WrongKind { expected, found }),
        Some(_) => {}
    }
    let version = u16::from_le_bytes([low, high]);
    if version > expected.version() {
        return Err(DecodeError::NewerVersion { kind: expected, found: version });
    }
    if version < expected.version() {
        return Err(DecodeError::OlderVersion { kind: expected, found: version });
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Value = (u64, String, Option<Vec<u8>>);

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(value: Value, kind in 0..Kind::ALL.len()) {
            let kind = Kind::ALL[kind];
            if let Ok(bytes) = encode(kind, &value) {
                prop_assert_eq!(decode::<Value>(kind, &bytes), Ok(value));
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, kind in 0..Kind::ALL.len()) {
            let kind = Kind::ALL[kind];
            let _ = decode::<Value>(kind, &bytes);
            let [low, high] = kind.version().to_le_bytes();
            let mut enveloped = vec![kind as u8, low, high];
            enveloped.extend(bytes);
            let _ = decode::<Value>(kind, &enveloped);
        }

        #[test]
        fn a_cut_or_lengthened_value_is_malformed(value: Value, cut in 0_usize..64) {
            let bytes = encode(Kind::LogEntry, &value).unwrap();
            let shorter = &bytes[..bytes.len() - 1 - cut % (bytes.len() - 1)];
            let found = decode::<Value>(Kind::LogEntry, shorter);
            prop_assert!(matches!(found, Err(DecodeError::Malformed { .. })), "{found:?}");
            let longer = [&bytes[..], &[0]].concat();
            let found = decode::<Value>(Kind::LogEntry, &longer);
            prop_assert!(matches!(found, Err(DecodeError::Malformed { .. })), "{found:?}");
        }
    }

    /// Networks are encoded by a crate of their own, in one way for people and another for machines.
    #[test]
    fn a_document_comes_back_with_the_networks_of_its_listeners() {
        let text = "version = 1\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\nproxy_protocol = true\n\
            client_address = \"forwarded\"\ntrusted_proxies = [\"10.0.0.0/8\", \"192.0.2.7\", \"2001:db8::/32\"]\n";
        let document = stickler_core::document::check_cluster("cluster.toml", text).unwrap();
        let bytes = encode(Kind::LogEntry, &document).unwrap();
        assert_eq!(decode(Kind::LogEntry, &bytes), Ok(document.clone()));
        let bytes = encode(Kind::LogEntry, &document.listeners[0].trusted_proxies[..2].to_vec()).unwrap();
        assert_eq!(bytes, [2, 5, 0, 2, 0, 10, 0, 0, 0, 8, 0, 192, 0, 2, 7, 32]);
    }

    #[test]
    fn each_refusal_has_its_name() {
        let mut bytes = encode(Kind::Vote, &7_u64).unwrap();
        assert_eq!(
            decode::<u64>(Kind::LogEntry, &bytes),
            Err(DecodeError::WrongKind { expected: Kind::LogEntry, found: Kind::Vote })
        );
        bytes[1] = 2;
        assert_eq!(
            decode::<u64>(Kind::Vote, &bytes),
            Err(DecodeError::NewerVersion { kind: Kind::Vote, found: 2 })
        );
        bytes[1] = 0;
        assert_eq!(
            decode::<u64>(Kind::Vote, &bytes),
            Err(DecodeError::OlderVersion { kind: Kind::Vote, found: 0 })
        );
        bytes[0] = 200;
        assert_eq!(
            decode::<u64>(Kind::Vote, &bytes),
            Err(DecodeError::UnknownKind { expected: Kind::Vote, found: 200 })
        );
        let large = vec![0_u8; Kind::Vote.maximum_bytes() + 1];
        assert_eq!(
            decode::<u64>(Kind::Vote, &large),
            Err(DecodeError::TooLarge { kind: Kind::Vote, bytes: large.len() })
        );
        assert!(matches!(encode(Kind::Vote, &large), Err(EncodeError::TooLarge { .. })));
    }

    /// A length that a stranger wrote must not reserve memory for what isn't there.
    #[test]
    fn a_forged_length_is_refused() {
        let forged = [Kind::PeerRequest as u8, 5, 0, 253, 255, 255, 255, 255, 255, 255, 255, 127];
        assert!(matches!(decode::<Vec<u64>>(Kind::PeerRequest, &forged), Err(DecodeError::Malformed { .. })));
    }

    /// A text is made as long as it says before its bytes are read, so its length is refused before.
    #[test]
    fn a_text_that_says_it_is_far_longer_than_the_message_is_refused_for_its_length() {
        let length = u32::try_from(HARD_LIMIT_BYTES - 1024).unwrap().to_le_bytes();
        let forged = [&[Kind::PeerRequest as u8, 5, 0, 252], &length[..], b"short"].concat();
        let found = decode::<String>(Kind::PeerRequest, &forged);
        let Err(DecodeError::Malformed { reason, .. }) = found else { panic!("{found:?}") };
        assert!(reason.contains("LimitExceeded"), "{reason}");
    }

    /// Numbers that are small take a byte each, and more than that in memory.
    #[test]
    fn many_small_numbers_come_back_from_the_largest_envelope() {
        let numbers = vec![7_u64; Kind::LogEntry.maximum_bytes() - 16];
        let encoded = encode(Kind::LogEntry, &numbers).unwrap();
        assert!(decode::<Vec<u64>>(Kind::LogEntry, &encoded) == Ok(numbers));
    }

    /// Written down so that a change of the encoding can't pass unnoticed.
    #[test]
    fn the_encoding_is_the_one_on_disk() {
        let value: Value = (300, "ab".to_owned(), Some(vec![9]));
        assert_eq!(encode(Kind::LogEntry, &value).unwrap(), [2, 5, 0, 251, 44, 1, 2, b'a', b'b', 1, 1, 9]);
    }
}
