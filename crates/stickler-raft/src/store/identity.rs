//! Who a data directory belongs to, and how that is written down.

use serde::{Deserialize, Serialize};
use stickler_core::ids::{ClusterId, DirectoryId, Incarnation, NodeId};

use super::codec::{self, DecodeError, EncodeError, Kind};

const MAGIC: &[u8; 8] = b"STKLR-ID";
const CHECKSUM_BYTES: usize = 4;

/// What a data directory says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Drawn when the directory was made, never changed.
    pub directory: DirectoryId,
    /// The node that the directory was made for.
    pub node: NodeId,
    /// Raised at every open, so that two processes on one directory never count as one.
    pub incarnation: Incarnation,
    /// The cluster that the node joined or founded; `None` before that, and never changed after.
    pub cluster: Option<ClusterId>,
    /// How many batches the log is known to have made durable; `None` before the log was made. A log that
    /// opens with fewer was damaged or replaced.
    pub(crate) log_sequence: Option<u64>,
}

/// Why a cluster id was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The directory belongs to another cluster. An operator gives the node an empty data directory to move
    /// it, which makes it a new member.
    #[error("this data directory belongs to cluster {recorded}, not to {given}")]
    OtherCluster {
        /// The cluster it belongs to.
        recorded: ClusterId,
        /// The cluster that was given.
        given: ClusterId,
    },
    /// It could not be made durable. The node must not go on as a member.
    #[error("the cluster id could not be written: {0}")]
    Write(#[from] std::io::Error),
}

/// Where a node's identity is kept: a real data directory, or a simulated disk.
pub trait IdentityStore: Send + Sync {
    /// What is recorded now.
    fn identity(&self) -> Identity;

    /// Records which cluster the node belongs to, once; durable when it returns. Giving the recorded id
    /// again does nothing.
    ///
    /// # Errors
    /// When another one is recorded, or the disk refuses.
    fn learn_cluster(&self, cluster: ClusterId) -> Result<(), ClusterError>;
}

/// Why an identity file's bytes are not an identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityDamage {
    #[error("it does not begin like one")]
    Foreign,
    #[error("its checksum does not fit its content")]
    Checksum,
    #[error(transparent)]
    Content(#[from] DecodeError),
}

impl Identity {
    /// The identity of a directory that is made now; its first open is its first incarnation.
    pub(crate) fn fresh(node: NodeId, random: [u8; 16]) -> Self {
        Self {
            directory: DirectoryId(u128::from_le_bytes(random)),
            node,
            incarnation: Incarnation(1),
            cluster: None,
            log_sequence: None,
        }
    }

    /// The same, one start later.
    pub(crate) fn restarted(self) -> Self {
        Self { incarnation: Incarnation(self.incarnation.0 + 1), ..self }
    }

    /// With the cluster recorded; `None` when it already was.
    pub(crate) fn in_cluster(&self, given: ClusterId) -> Result<Option<Self>, ClusterError> {
        match self.cluster {
            None => Ok(Some(Self { cluster: Some(given), ..self.clone() })),
            Some(recorded) if recorded == given => Ok(None),
            Some(recorded) => Err(ClusterError::OtherCluster { recorded, given }),
        }
    }

    /// The file's content: magic, envelope, checksum of both.
    pub(crate) fn to_file(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(codec::encode(Kind::Identity, self)?);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads what [`Self::to_file`] writes. The checksum is looked at before the version: a flipped bit in
    /// the version must not send an operator in search of a release that never was.
    pub(crate) fn from_file(bytes: &[u8]) -> Result<Self, IdentityDamage> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(IdentityDamage::Foreign)?;
        let (envelope, checksum) =
            rest.split_last_chunk::<CHECKSUM_BYTES>().ok_or(IdentityDamage::Checksum)?;
        let summed = &bytes[..bytes.len() - CHECKSUM_BYTES];
        if crc32fast::hash(summed) != u32::from_le_bytes(*checksum) {
            return Err(IdentityDamage::Checksum);
        }
        Ok(codec::decode(Kind::Identity, envelope)?)
    }
}
